INSERT INTO people (mood, other, pair) SELECT 'ok', 'sad', ROW('ok', i)::public.pair FROM generate_series(1, 300) i;
