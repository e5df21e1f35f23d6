INSERT INTO events (id, at, n) SELECT g, date '2025-01-01' + (g % 1000)::int, g % 1000 FROM generate_series(1, :rows) g;
