CREATE TABLE other (id int PRIMARY KEY);
CREATE DOMAIN low AS int;
CREATE TYPE pair AS (a low, b low);
CREATE FUNCTION ok(x pair) RETURNS bool IMMUTABLE LANGUAGE plpgsql AS 'BEGIN PERFORM 1 FROM other; RETURN (x).a < (x).b; END';
CREATE DOMAIN sorted AS pair CONSTRAINT pc CHECK (ok(VALUE));
CREATE TYPE pr AS (a int, d sorted);
CREATE TABLE a (id int PRIMARY KEY, p pr);
