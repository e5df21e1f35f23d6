INSERT INTO t (v) SELECT i::text FROM generate_series(1, 60) i
