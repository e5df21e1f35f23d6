INSERT INTO orders (code, note, qty) SELECT 'c' || g, 'n' || g, g FROM generate_series(1, :rows) g;
DO $r$ BEGIN CREATE ROLE teller; EXCEPTION WHEN duplicate_object THEN NULL; END $r$; GRANT SELECT (code, note, qty), INSERT (code, note, qty), UPDATE (note, qty) ON orders TO teller;
