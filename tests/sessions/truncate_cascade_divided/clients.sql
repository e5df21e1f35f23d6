-- old work
BEGIN; TRUNCATE cust CASCADE; INSERT INTO cust VALUES (1, 'old'); INSERT INTO t (cust, note) SELECT 1, 'old' FROM generate_series(1, 2000); COMMIT;
-- new session
SET default_transaction_isolation = 'repeatable read';
-- new work
TRUNCATE t; INSERT INTO t (cust, note) VALUES (1, 'new'), (1, 'new');
-- check end
SELECT id FROM t WHERE note IS DISTINCT FROM 'new' UNION ALL SELECT 0 WHERE (SELECT count(*) FROM t) <> 2;
