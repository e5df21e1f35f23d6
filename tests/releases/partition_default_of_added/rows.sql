INSERT INTO r SELECT i FROM generate_series(1, 50) i
