INSERT INTO events (id, at, note, qty) SELECT g, date '2024-01-01' + (g % 500)::int, 'n' || g, g FROM generate_series(1, :rows) g;
SELECT setval(pg_get_serial_sequence('events', 'id'), :rows);
DO $r$ BEGIN CREATE ROLE keeper4; EXCEPTION WHEN duplicate_object THEN NULL; END $r$; DO $r$ BEGIN CREATE ROLE teller4; EXCEPTION WHEN duplicate_object THEN NULL; END $r$; GRANT CREATE, USAGE ON SCHEMA public TO keeper4; ALTER TABLE events OWNER TO keeper4;
GRANT SELECT, INSERT (at, note, qty), UPDATE (note, qty), DELETE ON events TO teller4; GRANT SELECT ON seen TO teller4;
