INSERT INTO orders (code, note, qty) SELECT 'c' || g, 'n' || g, g FROM generate_series(1, :rows) g;
CREATE ROLE teller; GRANT SELECT (code, note, qty), INSERT (code, note, qty), UPDATE (note, qty) ON orders TO teller;
