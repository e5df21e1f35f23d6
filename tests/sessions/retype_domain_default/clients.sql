-- old work
INSERT INTO marks (a, b) VALUES (77, 78);
-- new work
INSERT INTO marks (a, b) VALUES (87, 88);
-- check end
SELECT * FROM marks WHERE id <= 2000 AND (a IS DISTINCT FROM id % 100 OR b <> id % 7) OR id > 2000 AND (a, b) NOT IN ((77, 78), (87, 88));
