INSERT INTO orders (id, qty) SELECT g, 1 FROM generate_series(1, :rows) g;
SELECT setval(pg_get_serial_sequence('orders', 'id'), :rows);
