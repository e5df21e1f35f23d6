INSERT INTO users (first_name, last_name) SELECT 'First' || g, CASE WHEN g % 5 > 0 THEN 'Last' || g END FROM generate_series(1, 55) g;
