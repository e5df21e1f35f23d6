-- old insert
INSERT INTO users (id, first_name, last_name) VALUES ($1, 'f' || $2, 'l' || $2);
-- old upsert
INSERT INTO users (id, first_name, last_name) VALUES ($1, 'f' || $2, 'l' || $2) ON CONFLICT (id) DO UPDATE SET first_name = EXCLUDED.first_name, last_name = EXCLUDED.last_name;
-- old update
UPDATE users SET first_name = 'f' || $2, last_name = 'l' || $2 WHERE id = $1;
-- old delete
DELETE FROM users WHERE id = $1;
-- old read
SELECT CASE WHEN last_name = 'l' || n THEN n END FROM (SELECT last_name, substr(first_name, 2)::bigint AS n FROM users WHERE id = $1) own;
-- new insert
INSERT INTO users (id, full_name) VALUES ($1, 'f' || $2 || ' l' || $2);
-- new upsert
INSERT INTO users (id, full_name) VALUES ($1, 'f' || $2 || ' l' || $2) ON CONFLICT (id) DO UPDATE SET full_name = EXCLUDED.full_name;
-- new update
UPDATE users SET full_name = 'f' || $2 || ' l' || $2 WHERE id = $1;
-- new delete
DELETE FROM users WHERE id = $1;
-- new read
SELECT CASE WHEN full_name = 'f' || n || ' l' || n THEN n END FROM (SELECT full_name, substr(split_part(full_name, ' ', 1), 2)::bigint AS n FROM users WHERE id = $1) own;
-- final read
SELECT id, CASE WHEN full_name = 'f' || n || ' l' || n THEN n END FROM (SELECT id, full_name, substr(split_part(full_name, ' ', 1), 2)::bigint AS n FROM users) own;
