INSERT INTO users (id, home, work) SELECT g, CASE g % 3 WHEN 0 THEN NULL WHEN 1 THEN ROW('s' || g, NULL)::place ELSE ROW(NULL, NULL)::place END, ROW('w' || g, NULL)::place FROM generate_series(1, :rows) g;
SELECT setval(pg_get_serial_sequence('users', 'id'), :rows);
