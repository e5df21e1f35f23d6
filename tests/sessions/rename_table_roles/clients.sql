-- old work
SET ROLE keeper; INSERT INTO orders (note) VALUES ('k'); UPDATE orders SET note = 'k' WHERE id = 1; DELETE FROM orders WHERE id = 2;
SET ROLE reader; SELECT id, note FROM orders WHERE id = 1;
SET ROLE "Odd writer"; INSERT INTO orders (note) VALUES ('o'); UPDATE orders SET note = 'o' WHERE id = 3; SELECT * FROM orders WHERE id = 3;
-- new work
SET ROLE keeper; INSERT INTO purchases (note) VALUES ('k');
SET ROLE reader; SELECT id, note FROM purchases WHERE id = 1;
