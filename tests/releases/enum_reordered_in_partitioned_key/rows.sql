INSERT INTO t SELECT i, (array['a','b']::mood[])[1+i%2] FROM generate_series(1,50) i; INSERT INTO k SELECT i,i, (array['a','b']::mood[])[1+i%2] FROM generate_series(1,50) i
