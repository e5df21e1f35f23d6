INSERT INTO users (id, full_name) SELECT g, 'f' || g % 1000 || ' l' || g % 1000 FROM generate_series(1, :rows) g;
