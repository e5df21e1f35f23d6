INSERT INTO events (at, seconds, millis) SELECT date '2025-12-01' + g, g, CASE WHEN g % 5 > 0 THEN g END FROM generate_series(1, 55) g;
