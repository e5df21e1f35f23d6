INSERT INTO orders (code, paid) SELECT 'c' || g, CASE WHEN g % 3 > 0 THEN g END FROM generate_series(1, 30) g;
