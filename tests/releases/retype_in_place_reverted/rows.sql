INSERT INTO t SELECT i, numrange(i, i + 5), i FROM generate_series(1, 50) i
