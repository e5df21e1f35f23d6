INSERT INTO countries SELECT 'c' || g FROM generate_series(1, 30) g; INSERT INTO orders (country) SELECT 'c' || g FROM generate_series(1, 30) g;
