INSERT INTO people (feeling, note) SELECT (ARRAY['sad', 'ok'])[1 + i % 2]::public.mood, 'n' || i FROM generate_series(1, 300) i;
INSERT INTO rooms (feeling) SELECT (ARRAY['sad', 'ok', NULL])[1 + i % 3]::public.mood FROM generate_series(1, 5) i;
