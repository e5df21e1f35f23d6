INSERT INTO marks (id, a, b) SELECT g, g % 100, g % 7 FROM generate_series(1, :rows) g;
SELECT setval(pg_get_serial_sequence('marks', 'id'), :rows);
