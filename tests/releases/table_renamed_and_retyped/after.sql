CREATE TABLE t9 (id int PRIMARY KEY, aa bigint, b text, c int);
