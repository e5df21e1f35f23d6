INSERT INTO q SELECT i FROM generate_series(1, 60) i; INSERT INTO p VALUES (1, 1)
