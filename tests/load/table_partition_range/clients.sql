-- old insert
INSERT INTO events (id, at, n) VALUES ($1, date '2025-01-01' + ($2 % 1000)::int, $2);
-- old update
UPDATE events SET n = $2, at = date '2025-01-01' + ($2 % 1000)::int WHERE id = $1;
-- old delete
DELETE FROM events WHERE id = $1;
-- old read
SELECT n::bigint FROM events WHERE id = $1;
-- new insert
INSERT INTO events (id, at, n) VALUES ($1, date '2025-01-01' + ($2 % 1000)::int, $2);
-- new update
UPDATE events SET n = $2, at = date '2025-01-01' + ($2 % 1000)::int WHERE id = $1;
-- new delete
DELETE FROM events WHERE id = $1;
-- new read
SELECT n::bigint FROM events WHERE id = $1;
-- final read
SELECT id, CASE WHEN at = date '2025-01-01' + (n % 1000)::int THEN n END FROM events;
