INSERT INTO log (a, b, d) SELECT g % 3, 'b', '2024-06-30 23:00:00+00' FROM generate_series(1, :rows) g;
DO $r$ BEGIN CREATE ROLE teller5; EXCEPTION WHEN duplicate_object THEN NULL; END $r$; GRANT SELECT, INSERT, UPDATE, DELETE ON log TO teller5; GRANT SELECT ON shown TO teller5;
