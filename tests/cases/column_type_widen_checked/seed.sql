INSERT INTO orders (code, name) SELECT 'code' || g, CASE WHEN g % 2 = 0 THEN 'the name of ' || g END FROM generate_series(1, 30) g;
