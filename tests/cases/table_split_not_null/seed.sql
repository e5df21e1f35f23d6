INSERT INTO shop.orders (region, no, address, note) SELECT 'r' || g % 3, g, 'a' || g, CASE WHEN g % 2 > 0 THEN 'n' || g END FROM generate_series(1, 60) g;
