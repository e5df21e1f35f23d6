INSERT INTO people SELECT g, NULLIF(g / 2, 0), 'p' || g FROM generate_series(1, 30) g;
