-- old work
INSERT INTO orders (cents) VALUES (7);
UPDATE orders SET cents = 8 WHERE id = 8;
UPDATE orders SET note = 'old' WHERE id = 11;
SELECT price FROM orders WHERE id = 9;
-- new work
INSERT INTO orders (cents, price, note) VALUES (9, 1, 'new');
UPDATE orders SET price = 2, note = 'new' WHERE id = 10;
-- check switch
SELECT id FROM orders WHERE price IS DISTINCT FROM CASE WHEN note <> 'new' OR note IS NULL THEN cents / 100.0 WHEN id = 10 THEN 2 ELSE 1 END;
-- check end
SELECT id FROM orders WHERE price IS DISTINCT FROM CASE WHEN note <> 'new' OR note IS NULL THEN cents / 100.0 WHEN id = 10 THEN 2 ELSE 1 END;
