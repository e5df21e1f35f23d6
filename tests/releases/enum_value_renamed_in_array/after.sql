CREATE TYPE mood AS ENUM ('a', 'b b'); CREATE TABLE t (id int PRIMARY KEY, m mood DEFAULT 'b b', ms mood[] DEFAULT '{"b b",a}');
