INSERT INTO events_0 SELECT i FROM generate_series(1, 300) i;
