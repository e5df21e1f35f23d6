INSERT INTO orders (id, note) SELECT g, 'n' || g FROM generate_series(1, :rows) g;
SELECT setval(pg_get_serial_sequence('orders', 'id'), :rows);
DO $r$ BEGIN CREATE ROLE keeper; EXCEPTION WHEN duplicate_object THEN NULL; END $r$; DO $r$ BEGIN CREATE ROLE reader; EXCEPTION WHEN duplicate_object THEN NULL; END $r$; DO $r$ BEGIN CREATE ROLE "Odd writer"; EXCEPTION WHEN duplicate_object THEN NULL; END $r$;
GRANT CREATE, USAGE ON SCHEMA public TO keeper;
ALTER TABLE orders OWNER TO keeper;
GRANT SELECT (id, note) ON orders TO reader;
GRANT SELECT, INSERT, UPDATE (note) ON orders TO "Odd writer";
