CREATE TABLE t (id int PRIMARY KEY, a int, h text DEFAULT 'z');
