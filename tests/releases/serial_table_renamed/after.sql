CREATE TABLE t9 (id serial PRIMARY KEY, v text);
