INSERT INTO orders (id, code) SELECT g, g::text || '-' || g % 1000 FROM generate_series(1, :rows) g;
