-- old work
INSERT INTO orders (cents) VALUES (7);
UPDATE orders SET cents = 8 WHERE id = 8;
SELECT price FROM orders WHERE id = 9;
-- new work
INSERT INTO orders (pennies) VALUES (9);
-- check switch
SELECT id FROM orders WHERE cents <> pennies OR price <> pennies / 100.0;
-- check end
SELECT id FROM orders WHERE price <> pennies / 100.0 OR id BETWEEN 10 AND 2000 AND pennies <> id;
