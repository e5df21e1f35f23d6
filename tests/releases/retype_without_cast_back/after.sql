CREATE TABLE t (id int PRIMARY KEY, r nummultirange, n text, EXCLUDE USING gist (int4range(id, id, '[]') WITH &&));
