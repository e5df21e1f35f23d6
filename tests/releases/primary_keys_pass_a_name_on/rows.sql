INSERT INTO t SELECT i FROM generate_series(1, 60) i; INSERT INTO u SELECT i FROM generate_series(1, 60) i; INSERT INTO c SELECT i, i FROM generate_series(1, 60) i
