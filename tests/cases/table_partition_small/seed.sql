INSERT INTO events (id, at, note) SELECT i, date '2025-12-28' + i, 'v' || i FROM generate_series(1, 9) i;
