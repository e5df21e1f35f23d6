INSERT INTO orders (id, note) SELECT g, 'n' || g FROM generate_series(1, :rows) g;
SELECT setval(pg_get_serial_sequence('orders', 'id'), :rows);
CREATE ROLE keeper; CREATE ROLE reader; CREATE ROLE "Odd writer";
GRANT CREATE, USAGE ON SCHEMA public TO keeper;
ALTER TABLE orders OWNER TO keeper;
GRANT SELECT (id, note) ON orders TO reader;
GRANT SELECT, INSERT, UPDATE (note) ON orders TO "Odd writer";
