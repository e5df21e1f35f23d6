INSERT INTO t SELECT g,g FROM generate_series(1,19) g; INSERT INTO t SELECT g,g FROM generate_series(31,50) g;
