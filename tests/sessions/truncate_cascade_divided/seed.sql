INSERT INTO cust SELECT g, 'c' || g FROM generate_series(1, 50) g;
INSERT INTO t (id, cust, note) SELECT g, 1 + g % 50, 'n' || g FROM generate_series(1, :rows) g;
SELECT setval(pg_get_serial_sequence('t', 'id'), :rows);
