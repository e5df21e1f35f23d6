INSERT INTO orders (state) SELECT (ARRAY['new', 'paid', 'sent'])[1 + i % 3] FROM generate_series(1, 300) i;
