CREATE TABLE t9 (id int, v int);
CREATE STATISTICS st ON id, v FROM t9;
