-- old work
INSERT INTO items (found, tg_op, new) VALUES (true, 'x', 1), (false, NULL, 2);
UPDATE items SET new = new + 1 WHERE id < 5;
-- new work
INSERT INTO items (found, kind, new, state) VALUES (true, 'y', 1, 'mine');
-- check end
SELECT * FROM items WHERE kind IS NULL OR state IS NULL;
