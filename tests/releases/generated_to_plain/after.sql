CREATE TABLE t (id int PRIMARY KEY, a int, h text);
CREATE INDEX ON t (h);
