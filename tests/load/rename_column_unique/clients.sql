-- old insert
INSERT INTO orders (id, code) VALUES ($1, $1::text || '-' || $2);
-- old upsert
INSERT INTO orders (id, code) VALUES ($1, $1::text || '-' || $2) ON CONFLICT (id) DO UPDATE SET code = EXCLUDED.code;
-- old update
UPDATE orders SET code = $1::text || '-' || $2 WHERE id = $1;
-- old delete
DELETE FROM orders WHERE id = $1;
-- old read
SELECT split_part(code, '-', 2)::bigint FROM orders WHERE id = $1;
-- new insert
INSERT INTO orders (id, reference) VALUES ($1, $1::text || '-' || $2);
-- new upsert
INSERT INTO orders (id, reference) VALUES ($1, $1::text || '-' || $2) ON CONFLICT (id) DO UPDATE SET reference = EXCLUDED.reference;
-- new update
UPDATE orders SET reference = $1::text || '-' || $2 WHERE id = $1;
-- new delete
DELETE FROM orders WHERE id = $1;
-- new read
SELECT split_part(reference, '-', 2)::bigint FROM orders WHERE id = $1;
-- final read
SELECT id, split_part(reference, '-', 2)::bigint FROM orders;
