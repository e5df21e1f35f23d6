INSERT INTO bookings (span) SELECT int4range(i * 10, i * 10 + 5) FROM generate_series(1, 300) i;
