INSERT INTO people (feeling, size, old_feeling) SELECT (ARRAY['sad', 'ok', 'it''s'])[1 + i % 3]::app."Mood of all", (ARRAY['small', 'middle', 'large', NULL])[1 + i % 4]::app.size, 'happy' FROM generate_series(1, 300) i;
INSERT INTO diaries SELECT i, 'happy' FROM generate_series(1, 300) i;
