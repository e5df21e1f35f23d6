CREATE TYPE c AS (a int); CREATE TYPE cc AS (x c); CREATE TABLE t (id int PRIMARY KEY, w cc);
