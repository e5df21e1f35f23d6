INSERT INTO users (id, first_name, last_name) SELECT g, 'f' || g % 1000, 'l' || g % 1000 FROM generate_series(1, :rows) g;
