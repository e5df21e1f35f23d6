INSERT INTO people (mood, moods) SELECT 'sad', ARRAY['ok', 'sad']::public.mood[] FROM generate_series(1, 300) i;
