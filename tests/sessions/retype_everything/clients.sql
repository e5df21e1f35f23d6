-- old session
SET ROLE teller3; SET TimeZone = 'Asia/Tokyo';
-- old work
INSERT INTO orders (parent, qty, note) VALUES (1, 11, 'old' || random());
UPDATE orders SET qty = qty + 1 WHERE id = 7;
DELETE FROM orders WHERE id = (SELECT max(id) FROM orders);
SELECT count FROM bigger LIMIT 1;
-- new work
INSERT INTO orders (parent, qty, note) VALUES (2, 3000000000, 'new' || random());
UPDATE orders SET qty = qty + 1 WHERE id = 8;
-- check end
SELECT id::text FROM orders WHERE id BETWEEN 10 AND 2000 AND (qty <> id OR parent <> id / 2)
UNION ALL SELECT text FROM log WHERE text NOT LIKE '% of 7' AND text NOT LIKE '% of 8'
UNION ALL SELECT 'log' WHERE (SELECT count(*) FROM log) <> 7;
