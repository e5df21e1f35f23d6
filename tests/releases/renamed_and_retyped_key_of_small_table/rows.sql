INSERT INTO q VALUES (1); INSERT INTO p SELECT i, 1 FROM generate_series(1, 60) i
