CREATE TABLE t (id int PRIMARY KEY, aa int, b text);
