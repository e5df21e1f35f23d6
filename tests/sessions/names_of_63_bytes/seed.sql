INSERT INTO a_very_long_name_of_a_table_that_fills_all_of_the_sixty_three_b (id, qty) SELECT g, g FROM generate_series(1, :rows) g;
INSERT INTO a_b (id) SELECT g FROM generate_series(1, :rows) g;
INSERT INTO a (id) SELECT g FROM generate_series(1, :rows) g;
SELECT setval(pg_get_serial_sequence('a', 'id'), :rows), setval(pg_get_serial_sequence('a_b', 'id'), :rows), setval(pg_get_serial_sequence('a_very_long_name_of_a_table_that_fills_all_of_the_sixty_three_b', 'id'), :rows);
