INSERT INTO people (mood) SELECT 'ok' FROM generate_series(1, 300) i; INSERT INTO rooms (mood) SELECT 'sad' FROM generate_series(1, 300) i;
