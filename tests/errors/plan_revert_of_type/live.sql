CREATE SCHEMA app; CREATE TABLE app.users (id bigint PRIMARY KEY, age int NOT NULL); INSERT INTO app.users VALUES (1, 40);
