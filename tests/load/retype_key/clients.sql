-- old insert
INSERT INTO orders (id, n, customer) VALUES ($1, $2, $1 % 100 + 1);
-- old upsert
INSERT INTO orders (id, n, customer) VALUES ($1, $2, $1 % 100 + 1) ON CONFLICT (id) DO UPDATE SET n = EXCLUDED.n;
-- old update
UPDATE orders SET n = $2 WHERE id = $1;
-- old delete
DELETE FROM orders WHERE id = $1;
-- old read
SELECT o.n FROM orders o JOIN customers c ON c.id = o.customer WHERE o.id = $1;
-- new insert
INSERT INTO orders (id, n, customer) VALUES ($1, $2, $1 % 100 + 1);
-- new upsert
INSERT INTO orders (id, n, customer) VALUES ($1, $2, $1 % 100 + 1) ON CONFLICT (id) DO UPDATE SET n = EXCLUDED.n;
-- new update
UPDATE orders SET n = $2 WHERE id = $1;
-- new delete
DELETE FROM orders WHERE id = $1;
-- new read
SELECT o.n FROM orders o JOIN customers c ON c.id = o.customer WHERE o.id = $1 AND o.customer = o.id % 100 + 1;
-- final read
SELECT id, CASE WHEN customer = id % 100 + 1 THEN n END FROM orders;
