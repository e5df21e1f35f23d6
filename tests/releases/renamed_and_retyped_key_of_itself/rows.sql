INSERT INTO q SELECT i, i FROM generate_series(1, 60) i
