-- old insert
INSERT INTO orders (id, paid) VALUES ($1, $2::int);
-- old upsert
INSERT INTO orders (id, paid) VALUES ($1, $2::int) ON CONFLICT (id) DO UPDATE SET paid = EXCLUDED.paid;
-- old update
UPDATE orders SET paid = $2::int WHERE id = $1;
-- old delete
DELETE FROM orders WHERE id = $1;
-- old read
SELECT paid::bigint FROM orders WHERE id = $1;
-- new insert
INSERT INTO orders (id, state) VALUES ($1, 'p' || $2);
-- new upsert
INSERT INTO orders (id, state) VALUES ($1, 'p' || $2) ON CONFLICT (id) DO UPDATE SET state = EXCLUDED.state;
-- new update
UPDATE orders SET state = 'p' || $2 WHERE id = $1;
-- new delete
DELETE FROM orders WHERE id = $1;
-- new read
SELECT substr(state, 2)::bigint FROM orders WHERE id = $1;
-- final read
SELECT id, substr(state, 2)::bigint FROM orders;
