CREATE TABLE t1 (id serial PRIMARY KEY, v text);
