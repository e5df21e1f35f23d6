INSERT INTO people (feeling, feelings) SELECT (ARRAY['sad', 'ok', 'happy'])[1 + i % 3]::public.mood, '{happy,sad}' FROM generate_series(1, 300) i;
