INSERT INTO people (mood) SELECT (ARRAY['sad', 'ok', 'happy'])[1 + i % 3]::public.mood FROM generate_series(1, 300) i;
