-- old session
SET ROLE teller5; SET TimeZone = 'Asia/Tokyo';
-- old work
INSERT INTO log (a, b, c, d) VALUES (7, 'old', NULL, '2024-06-30 23:00:00+00'), (8, NULL, 'x', NULL);
UPDATE log SET b = 'changed' WHERE a = 7; DELETE FROM log WHERE a = 8; SELECT b FROM shown WHERE a = 7;
-- new session
SET ROLE teller5;
-- new work
INSERT INTO log (a, e, c, d, day) VALUES (9, 'new', 'n', now(), '2024-06-30'); SELECT b FROM shown WHERE a = 9;
-- check switch
SELECT a FROM log WHERE b IS DISTINCT FROM e;
-- check end
SELECT a FROM log WHERE day NOT IN ('2024-06-30', 'epoch') OR n IS NULL UNION ALL SELECT 0 WHERE (SELECT count(*) FROM log WHERE a < 3) <> 2000;
