INSERT INTO orders (id, n) SELECT g, g % 1000 FROM generate_series(1, :rows) g;
INSERT INTO lines SELECT id FROM orders;
