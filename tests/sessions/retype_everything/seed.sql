INSERT INTO orders (parent, qty, note) SELECT NULLIF(g / 2, 0), g, 'n' || g FROM generate_series(1, :rows) g;
DO $r$ BEGIN CREATE ROLE teller3; EXCEPTION WHEN duplicate_object THEN NULL; END $r$; GRANT SELECT, INSERT, UPDATE, DELETE ON orders TO teller3; GRANT INSERT ON log TO teller3; GRANT SELECT ON bigger TO teller3;
