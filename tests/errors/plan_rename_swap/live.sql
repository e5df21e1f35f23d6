CREATE SCHEMA app; CREATE TABLE app.users (id bigint PRIMARY KEY, name text, nick text); INSERT INTO app.users VALUES (1, 'a', 'b');
