CREATE TABLE a (id int PRIMARY KEY, span int4range, day bool);
