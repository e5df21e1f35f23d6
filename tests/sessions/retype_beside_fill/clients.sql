-- old work
INSERT INTO orders (qty, code, note) VALUES (4, 'old', 'o'), (5, NULL, NULL);
UPDATE orders SET qty = qty + 1, note = 'u' WHERE id = 5;
-- new work
INSERT INTO orders (qty, code, remark, total) VALUES (6, 'a code of more than ten letters', 'n', 7);
UPDATE orders SET qty = qty + 1 WHERE id = 6;
-- check switch
SELECT * FROM orders WHERE note IS DISTINCT FROM remark;
-- check end
SELECT * FROM orders WHERE total IS NULL OR code IS NULL OR id <= 2000 AND id NOT IN (5, 6) AND (total <> id * 2 OR qty <> id);
