-- old work
UPDATE orders SET qty = DEFAULT, note = DEFAULT WHERE id = 3;
INSERT INTO orders (qty) VALUES (DEFAULT);
-- new work
UPDATE purchases SET qty = DEFAULT WHERE id = 5;
-- check switch
SELECT id FROM purchases WHERE note IS DISTINCT FROM 'none' OR qty <> CASE WHEN id IN (3, 5) OR id > 100 THEN 5 ELSE 1 END AND (id < 100 OR id > 1000000);
-- check end
SELECT id FROM purchases WHERE note IS DISTINCT FROM 'none' OR qty <> CASE WHEN id IN (3, 5) THEN 5 ELSE 1 END AND id < 100;
