INSERT INTO orders (code, open) SELECT CASE WHEN g % 5 > 0 THEN 'Code' || g END, g % 2 = 0 FROM generate_series(1, 30) g;
