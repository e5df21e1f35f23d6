-- old insert
INSERT INTO orders (id, n) VALUES ($1, $2);
-- old upsert
INSERT INTO orders (id, n) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET n = EXCLUDED.n;
-- old update
UPDATE orders SET n = $2 WHERE id = $1;
-- old delete
DELETE FROM orders WHERE id = $1;
-- old read
SELECT n::bigint FROM orders WHERE id = $1;
-- new insert
INSERT INTO orders (id, n) VALUES ($1, $2);
-- new upsert
INSERT INTO orders (id, n) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET n = EXCLUDED.n;
-- new update
UPDATE orders SET n = $2 WHERE id = $1;
-- new delete
DELETE FROM orders WHERE id = $1;
-- new read
SELECT n::bigint FROM orders WHERE id = $1;
-- final read
WITH distinct_numbers AS (SELECT count(DISTINCT number) = count(*) AS all_differ FROM orders) SELECT id, CASE WHEN number > 0 AND all_differ THEN n END FROM orders, distinct_numbers;
