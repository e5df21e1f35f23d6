INSERT INTO orders (id, qty) SELECT g, g FROM generate_series(1, :rows) g;
SELECT setval(pg_get_serial_sequence('orders', 'id'), :rows);
DO $r$ BEGIN CREATE ROLE keeper2; EXCEPTION WHEN duplicate_object THEN NULL; END $r$; DO $r$ BEGIN CREATE ROLE reader2; EXCEPTION WHEN duplicate_object THEN NULL; END $r$;
GRANT CREATE, USAGE ON SCHEMA public TO keeper2;
ALTER VIEW big OWNER TO keeper2; GRANT SELECT ON orders TO keeper2; GRANT SELECT ON big TO reader2; GRANT SELECT (count) ON bigger TO reader2; GRANT SELECT ON totals TO PUBLIC;
