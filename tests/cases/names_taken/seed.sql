INSERT INTO orders (code, code_key, total) SELECT 'c' || g, 'k', g FROM generate_series(1, 30) g;
