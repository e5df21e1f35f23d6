-- old insert
INSERT INTO users (id, bio, avatar) VALUES ($1, 'b' || $2, 'a' || $2);
-- old upsert
INSERT INTO users (id, bio, avatar) VALUES ($1, 'b' || $2, 'a' || $2) ON CONFLICT (id) DO UPDATE SET bio = EXCLUDED.bio, avatar = EXCLUDED.avatar;
-- old update
UPDATE users SET bio = 'b' || $2, avatar = 'a' || $2 WHERE id = $1;
-- old delete
DELETE FROM users WHERE id = $1;
-- old read
SELECT CASE WHEN avatar = 'a' || substr(bio, 2) THEN substr(bio, 2)::bigint END FROM users WHERE id = $1;
-- new insert
WITH own AS (INSERT INTO users (id) VALUES ($1) RETURNING id) INSERT INTO user_profiles (user_id, bio, avatar) SELECT id, 'b' || $2, 'a' || $2 FROM own;
-- new upsert
WITH own AS (INSERT INTO users (id) VALUES ($1) ON CONFLICT DO NOTHING) INSERT INTO user_profiles (user_id, bio, avatar) VALUES ($1, 'b' || $2, 'a' || $2) ON CONFLICT (user_id) DO UPDATE SET bio = EXCLUDED.bio, avatar = EXCLUDED.avatar;
-- new update
UPDATE user_profiles SET bio = 'b' || $2, avatar = 'a' || $2 WHERE user_id = $1;
-- new delete
DELETE FROM users WHERE id = $1;
-- new read
SELECT CASE WHEN avatar = 'a' || substr(bio, 2) THEN substr(bio, 2)::bigint END FROM user_profiles WHERE user_id = $1;
-- final read
SELECT id, CASE WHEN avatar = 'a' || substr(bio, 2) THEN substr(bio, 2)::bigint END FROM users JOIN user_profiles ON user_id = id;
