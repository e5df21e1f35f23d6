-- old insert
INSERT INTO orders (id, n) VALUES ($1, $2);
-- old upsert
INSERT INTO orders (id, n) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET n = EXCLUDED.n;
-- old update
UPDATE orders SET n = $2 WHERE id = $1;
-- old delete
DELETE FROM orders WHERE id = $1;
-- old read
SELECT CASE WHEN d.twice = 2 * o.n THEN o.n END FROM orders o JOIN doubled d USING (id) WHERE o.id = $1;
-- new insert
INSERT INTO orders (id, n) VALUES ($1, $2);
-- new upsert
INSERT INTO orders (id, n) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET n = EXCLUDED.n;
-- new update
UPDATE orders SET n = $2 WHERE id = $1;
-- new delete
DELETE FROM orders WHERE id = $1;
-- new read
SELECT CASE WHEN d.twice = 2 * o.n THEN o.n END FROM orders o JOIN doubled d USING (id) WHERE o.id = $1;
-- final read
SELECT id, CASE WHEN twice = 2 * n THEN n END FROM orders;
