INSERT INTO events SELECT '2024-01-01'::timestamptz + g * interval '1 hour', g, CASE WHEN g % 3 > 0 THEN g END FROM generate_series(1, 300) g;
