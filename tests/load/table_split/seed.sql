INSERT INTO users (id, bio, avatar) SELECT g, 'b' || g % 1000, 'a' || g % 1000 FROM generate_series(1, :rows) g;
