INSERT INTO people (mood, moods) SELECT (ARRAY['sad', 'ok', 'happy', 'glad'])[1 + i % 4]::public.mood, (ARRAY['{happy,NULL,sad}', '{{sad,glad},{ok,happy}}', '{}'])[1 + i % 3]::public.mood[] FROM generate_series(1, 300) i;
INSERT INTO people (mood) SELECT 'happy';
