INSERT INTO customers (name) SELECT 'c' || g FROM generate_series(1, 20000) g;
INSERT INTO orders (id, n, customer) SELECT g, g % 1000, g % 100 + 1 FROM generate_series(1, :rows) g;
