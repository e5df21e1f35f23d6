INSERT INTO orders (id, cents) SELECT g, g FROM generate_series(1, :rows) g;
SELECT setval(pg_get_serial_sequence('orders', 'id'), :rows);
