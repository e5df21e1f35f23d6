-- old insert
INSERT INTO orders (id, amount) VALUES ($1, $2);
-- old upsert
INSERT INTO orders (id, amount) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET amount = EXCLUDED.amount;
-- old update
UPDATE orders SET amount = $2 WHERE id = $1;
-- old delete
DELETE FROM orders WHERE id = $1;
-- old read
SELECT amount FROM orders WHERE id = $1;
-- new insert
INSERT INTO orders (id, total) VALUES ($1, $2);
-- new upsert
INSERT INTO orders (id, total) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET total = EXCLUDED.total;
-- new update
UPDATE orders SET total = $2 WHERE id = $1;
-- new delete
DELETE FROM orders WHERE id = $1;
-- new read
SELECT total FROM orders WHERE id = $1;
-- final read
SELECT id, total FROM orders;
