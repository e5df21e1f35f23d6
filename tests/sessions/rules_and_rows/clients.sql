-- old work
INSERT INTO orders (note, qty) VALUES ('old', 1);
UPDATE orders SET note = 'changed' WHERE id = 5;
SELECT id FROM latest();
-- new work
INSERT INTO orders (remark, qty) VALUES ('new', 1);
UPDATE orders SET remark = 'renewed' WHERE id = 6;
-- check switch
SELECT id FROM orders WHERE note IS DISTINCT FROM remark;
-- check end
SELECT id FROM orders WHERE id BETWEEN 7 AND 2000 AND (remark <> 'n' || id OR qty <> id);
