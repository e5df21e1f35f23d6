CREATE TABLE t (id int PRIMARY KEY, r numrange, n int, EXCLUDE USING gist (int4range(id, id, '[]') WITH &&));
