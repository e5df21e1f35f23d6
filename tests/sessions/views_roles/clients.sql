-- old work
SET ROLE reader2; SELECT * FROM big LIMIT 1; SELECT count FROM bigger LIMIT 1; SELECT total FROM totals;
SET ROLE keeper2; SELECT * FROM big LIMIT 1;
-- new work
SET ROLE reader2; SELECT * FROM big LIMIT 1; SELECT count FROM bigger LIMIT 1; SELECT total FROM totals;
-- check end
SELECT relname FROM pg_class WHERE relname = 'big' AND relowner <> 'keeper2'::regrole;
