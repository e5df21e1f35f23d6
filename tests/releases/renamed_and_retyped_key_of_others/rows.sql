INSERT INTO q SELECT i FROM generate_series(1, 60) i; INSERT INTO p SELECT i, i FROM generate_series(1, 60) i
