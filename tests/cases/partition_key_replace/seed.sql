INSERT INTO events SELECT i, date '2025-01-01' + i % 700, 'n' || i FROM generate_series(1, 600) i;
