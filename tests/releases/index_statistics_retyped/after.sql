CREATE TABLE t (id int PRIMARY KEY, n varchar(9), x int); CREATE INDEX ex ON t (lower(n), (x + 1)); ALTER INDEX ex ALTER COLUMN 1 SET STATISTICS 300;
