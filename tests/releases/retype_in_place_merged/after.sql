CREATE TABLE t (id int PRIMARY KEY, r numrange, EXCLUDE USING gist (int4range(id, id, '[]') WITH &&));
