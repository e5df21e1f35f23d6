CREATE TYPE mood AS ENUM ('a','b','c'); CREATE TABLE t (id int, m mood, PRIMARY KEY (id,m)); CREATE TABLE k (kid int PRIMARY KEY, tid int, tm mood, FOREIGN KEY (tid,tm) REFERENCES t);
