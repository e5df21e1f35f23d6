-- old insert
INSERT INTO users (id, full_name) VALUES ($1, 'f' || $2 || ' l' || $2);
-- old upsert
INSERT INTO users (id, full_name) VALUES ($1, 'f' || $2 || ' l' || $2) ON CONFLICT (id) DO UPDATE SET full_name = EXCLUDED.full_name;
-- old update
UPDATE users SET full_name = 'f' || $2 || ' l' || $2 WHERE id = $1;
-- old delete
DELETE FROM users WHERE id = $1;
-- old read
SELECT substr(split_part(full_name, ' ', 1), 2)::bigint FROM users WHERE id = $1;
-- new insert
INSERT INTO users (id, first_name) VALUES ($1, 'f' || $2 || ' of many names');
-- new upsert
INSERT INTO users (id, first_name) VALUES ($1, 'f' || $2 || ' of many names') ON CONFLICT (id) DO UPDATE SET first_name = EXCLUDED.first_name;
-- new update
UPDATE users SET first_name = 'f' || $2 || ' of many names' WHERE id = $1;
-- new delete
DELETE FROM users WHERE id = $1;
-- new read
SELECT substr(split_part(first_name, ' ', 1), 2)::bigint FROM users WHERE id = $1 AND (first_name LIKE '% of many names' OR last_name LIKE 'l%');
-- final read
SELECT id, substr(split_part(first_name, ' ', 1), 2)::bigint FROM users WHERE last_name = 'none' OR last_name LIKE 'l%';
