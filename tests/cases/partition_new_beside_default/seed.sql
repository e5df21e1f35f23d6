INSERT INTO events SELECT date '2024-01-01' + i % 700, 'n' || i FROM generate_series(1, 600) i;
