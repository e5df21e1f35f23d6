INSERT INTO t (x) SELECT i FROM generate_series(1, 50) i
