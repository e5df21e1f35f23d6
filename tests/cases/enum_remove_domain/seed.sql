INSERT INTO people (mood, other, both) SELECT 'ok', 'sad', ROW('ok', i)::public.pair FROM generate_series(1, 300) i;
