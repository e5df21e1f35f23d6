CREATE TABLE t (id int PRIMARY KEY, a bigint, p int);
