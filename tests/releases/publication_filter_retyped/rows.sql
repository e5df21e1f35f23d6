INSERT INTO t SELECT g, 'n' || g, g FROM generate_series(1, 50) g;
