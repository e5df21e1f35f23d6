CREATE TABLE t (id int PRIMARY KEY, a bigint, h text DEFAULT 'z');
