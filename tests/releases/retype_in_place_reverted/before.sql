CREATE TABLE t (id int PRIMARY KEY, r numrange, n int);
