INSERT INTO items (id, found, tg_op, new) SELECT g, g % 2 = 0, NULL, g FROM generate_series(1, :rows) g;
SELECT setval(pg_get_serial_sequence('items', 'id'), :rows);
