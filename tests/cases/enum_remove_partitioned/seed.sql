INSERT INTO events (at, mood) SELECT date '2025-06-01' + i, 'ok' FROM generate_series(1, 300) i;
