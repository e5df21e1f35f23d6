INSERT INTO t SELECT i, ROW(ROW(i)::c)::cc FROM generate_series(1, 50) i
