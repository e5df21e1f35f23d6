INSERT INTO r SELECT i, i, i, i, i FROM generate_series(1, 50) i
