INSERT INTO p SELECT i, i, i FROM generate_series(1, 150) i
