-- old insert
INSERT INTO orders (id, n, customer) VALUES ($1, $2, $1 % 100 + 1);
-- old upsert
INSERT INTO orders (id, n, customer) VALUES ($1, $2, $1 % 100 + 1) ON CONFLICT (id) DO UPDATE SET n = EXCLUDED.n;
-- old update
UPDATE orders SET n = $2 WHERE id = $1;
-- old delete
DELETE FROM orders WHERE id = $1;
-- old read
SELECT n FROM orders WHERE id = $1 AND customer = id % 100 + 1;
-- new insert
INSERT INTO orders (id, n, client) VALUES ($1, $2, $1 % 100 + 1);
-- new upsert
INSERT INTO orders (id, n, client) VALUES ($1, $2, $1 % 100 + 1) ON CONFLICT (id) DO UPDATE SET n = EXCLUDED.n;
-- new update
UPDATE orders SET n = $2 WHERE id = $1;
-- new delete
DELETE FROM orders WHERE id = $1;
-- new read
SELECT n FROM orders WHERE id = $1 AND client = id % 100 + 1;
-- final read
SELECT id, CASE WHEN client = id % 100 + 1 THEN n END FROM orders;
