INSERT INTO orders (note) SELECT 'note ' || g FROM generate_series(1, 30) g;
