CREATE TABLE t (id int, v int);
CREATE STATISTICS st ON id, v FROM t;
