CREATE TABLE q (qix bigint PRIMARY KEY);
CREATE TABLE p (id int PRIMARY KEY, main bigint REFERENCES q);
