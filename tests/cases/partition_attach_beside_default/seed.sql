INSERT INTO events SELECT date '2026-01-01' + i % 365, 'n' || i FROM generate_series(1, 300) i;
INSERT INTO events_2025 SELECT date '2025-01-01' + i % 365, 'm' || i FROM generate_series(1, 300) i;
