INSERT INTO users (full_name) SELECT 'f' || g || ' l' || g FROM generate_series(1, 30) g;
