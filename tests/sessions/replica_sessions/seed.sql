INSERT INTO people (id, name, qty, data, home, code) SELECT g, 'n' || g, g, '{"a": 1}', ROW('s' || g, NULL)::place, 'c' || g FROM generate_series(1, :rows) g;
SELECT setval(pg_get_serial_sequence('people', 'id'), :rows);
