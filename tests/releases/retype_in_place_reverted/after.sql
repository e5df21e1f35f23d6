CREATE TABLE t (id int PRIMARY KEY, r nummultirange, n text);
