CREATE TABLE t (id int PRIMARY KEY, r nummultirange, EXCLUDE USING gist (int4range(id, id, '[]') WITH &&));
