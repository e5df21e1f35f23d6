-- old work
INSERT INTO marks (a, b) VALUES (77, 78);
UPDATE marks SET a = 79 WHERE id = 3;
-- new work
INSERT INTO marks (c, d) VALUES (87, 88);
UPDATE marks SET d = 89 WHERE id = 4;
-- check switch
SELECT * FROM marks WHERE a IS DISTINCT FROM c OR b IS DISTINCT FROM d;
-- check end
SELECT * FROM marks WHERE id BETWEEN 5 AND 2000 AND (c <> id % 100 OR d <> id % 7) OR id > 2000 AND (c, d) NOT IN ((77, 78), (87, 88));
