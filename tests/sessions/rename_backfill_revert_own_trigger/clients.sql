-- old work
INSERT INTO orders (cents) VALUES (4), (5);
UPDATE orders SET cents = cents + 1 WHERE id = 5;
-- new work
INSERT INTO orders (price) VALUES (-6.5);
UPDATE orders SET price = -7 WHERE id = 6;
-- check switch
SELECT * FROM orders WHERE cents <> round(price * 100);
-- check end
SELECT * FROM orders WHERE price < 0;
