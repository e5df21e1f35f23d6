CREATE TABLE t (nr serial PRIMARY KEY, v text);
