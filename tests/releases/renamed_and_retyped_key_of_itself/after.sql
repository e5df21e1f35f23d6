CREATE TABLE q (qix bigint PRIMARY KEY, up bigint REFERENCES q);
