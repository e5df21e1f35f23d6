INSERT INTO events (id, at, day, raw) SELECT g, '2024-07-01 12:00:00+00', '2024-02-03', '\xdeadbeef' FROM generate_series(1, :rows) g;
SELECT setval(pg_get_serial_sequence('events', 'id'), :rows);
DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET TimeZone = %L', current_database(), 'Europe/Berlin'); END $$;
