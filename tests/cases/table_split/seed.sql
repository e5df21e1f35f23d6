INSERT INTO users (name, bio, avatar) SELECT 'n' || g, CASE WHEN g % 3 > 0 THEN 'b' || g END, CASE WHEN g % 2 > 0 THEN 'a' || g END FROM generate_series(1, 60) g;
