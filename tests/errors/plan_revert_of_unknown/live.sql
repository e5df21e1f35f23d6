CREATE SCHEMA app; CREATE TABLE app.users (id bigint PRIMARY KEY, full_name text NOT NULL); INSERT INTO app.users VALUES (1, 'Ann Lee');
