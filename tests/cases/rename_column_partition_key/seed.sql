INSERT INTO events SELECT date '2026-01-01' + i % 365, 'n' || i FROM generate_series(1, 300) i;
