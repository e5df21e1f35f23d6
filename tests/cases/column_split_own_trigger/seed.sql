INSERT INTO users (full_name) SELECT 'First' || g || ' Last' || g FROM generate_series(1, 55) g;
