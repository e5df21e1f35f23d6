INSERT INTO orders (code, kind) SELECT 'c' || g, NULL FROM generate_series(1, 1) g; INSERT INTO orders (code, kind) SELECT 'c' || g, g FROM generate_series(2, 30) g;
