INSERT INTO orders (id, digits, last) SELECT g, string_to_array(lpad((g % 1000)::text, 3, '0'), NULL)::digit[], (g % 10)::text::digit FROM generate_series(1, :rows) g;
