INSERT INTO t SELECT i, nummultirange(numrange(i, i + 5)) FROM generate_series(1, 50) i
