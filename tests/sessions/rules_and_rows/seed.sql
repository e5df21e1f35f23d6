INSERT INTO orders (id, note, qty) SELECT g, 'n' || g, g FROM generate_series(1, :rows) g;
INSERT INTO log (was) SELECT o FROM orders o WHERE id < 4;
SELECT setval(pg_get_serial_sequence('orders', 'id'), :rows);
