INSERT INTO events (at, qty) SELECT date '2025-06-01' + i, i FROM generate_series(1, 300) i;
