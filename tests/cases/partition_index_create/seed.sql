INSERT INTO events SELECT date '2025-01-01' + i, 'n' || i FROM generate_series(1, 600) i;
