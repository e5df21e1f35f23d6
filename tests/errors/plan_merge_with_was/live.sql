CREATE SCHEMA app; CREATE TABLE app.users (id bigint PRIMARY KEY, first_name text, last_name text); INSERT INTO app.users VALUES (1, 'Ann', 'Lee');
