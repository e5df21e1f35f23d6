CREATE TABLE t (id int, a int, b int); CREATE MATERIALIZED VIEW m AS SELECT id, a, b FROM t; CREATE INDEX mi ON m (id) INCLUDE (b);
