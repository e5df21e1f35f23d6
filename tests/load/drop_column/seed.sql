INSERT INTO orders (id, n, legacy) SELECT g, g % 1000, 'x' FROM generate_series(1, :rows) g;
