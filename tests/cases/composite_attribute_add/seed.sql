INSERT INTO orders (size) SELECT ROW(i)::public.pair FROM generate_series(1, 300) i;
