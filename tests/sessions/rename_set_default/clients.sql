-- old work
UPDATE orders SET qty = DEFAULT WHERE id = 3;
INSERT INTO orders (id, qty) VALUES (4, DEFAULT) ON CONFLICT (id) DO UPDATE SET qty = DEFAULT;
-- new work
UPDATE orders SET amount = DEFAULT WHERE id = 5;
INSERT INTO orders (id, amount) VALUES (6, DEFAULT) ON CONFLICT (id) DO UPDATE SET amount = DEFAULT;
-- check switch
SELECT id FROM orders WHERE amount <> qty OR amount <> CASE WHEN id BETWEEN 3 AND 6 THEN 5 ELSE 1 END AND id <= 100;
-- check end
SELECT id FROM orders WHERE amount <> CASE WHEN id BETWEEN 3 AND 6 THEN 5 ELSE 1 END AND id <= 100;
