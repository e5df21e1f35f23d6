INSERT INTO users (full_name, street, town) SELECT 'First' || g || ' Last' || g, 'Street ' || g, 'Town ' || g FROM generate_series(1, :rows) g;
DO $r$ BEGIN CREATE ROLE teller; EXCEPTION WHEN duplicate_object THEN NULL; END $r$;
DO $r$ BEGIN CREATE ROLE postman; EXCEPTION WHEN duplicate_object THEN NULL; END $r$;
GRANT SELECT (id, full_name, street, town), INSERT (full_name, street, town), UPDATE (full_name, street) ON users TO teller WITH GRANT OPTION;
GRANT SELECT (id), SELECT (street), UPDATE (street), UPDATE (town) ON users TO postman;
GRANT SELECT (town) ON users TO postman WITH GRANT OPTION;
