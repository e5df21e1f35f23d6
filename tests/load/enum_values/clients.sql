-- old insert
INSERT INTO orders (id, digits, last) VALUES ($1, string_to_array(lpad($2::text, 3, '0'), NULL)::digit[], right($2::text, 1)::digit);
-- old upsert
INSERT INTO orders (id, digits, last) VALUES ($1, string_to_array(lpad($2::text, 3, '0'), NULL)::digit[], right($2::text, 1)::digit) ON CONFLICT (id) DO UPDATE SET digits = EXCLUDED.digits, last = EXCLUDED.last;
-- old update
SELECT put($1, $2);
-- old delete
DELETE FROM orders WHERE id = $1;
-- old read
SELECT CASE WHEN last = digits[3] THEN array_to_string(digits, '')::bigint END FROM orders WHERE id = $1;
-- new insert
INSERT INTO orders (id, digits, last) VALUES ($1, string_to_array(lpad($2::text, 3, '0'), NULL)::digit[], right($2::text, 1)::digit);
-- new upsert
INSERT INTO orders (id, digits, last) VALUES ($1, string_to_array(lpad($2::text, 3, '0'), NULL)::digit[], right($2::text, 1)::digit) ON CONFLICT (id) DO UPDATE SET digits = EXCLUDED.digits, last = EXCLUDED.last;
-- new update
UPDATE orders SET digits = digits_of($2), last = right($2::text, 1)::digit WHERE id = $1;
-- new delete
DELETE FROM orders WHERE id = $1;
-- new read
SELECT CASE WHEN last = digits[3] THEN array_to_string(digits, '')::bigint END FROM numbers WHERE id = $1;
-- final read
SELECT id, CASE WHEN last = digits[3] THEN array_to_string(digits, '')::bigint END FROM orders;
