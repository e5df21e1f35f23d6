-- old session
SET session_replication_role = replica;
-- old work
INSERT INTO people (name, email, qty, data, home, code) VALUES ('old', NULL, 5, '{"b" : 2}', ROW('os', 'oz'), 'x'), (NULL, 'e', NULL, NULL, NULL, NULL);
UPDATE people SET data = '{"a":  1}', qty = 8, home = ROW(NULL, 'z') WHERE id = 8;
-- new session
SET session_replication_role = replica;
-- new work
INSERT INTO people (label, email, qty, payload, street, zip) VALUES ('new', 'm', 3000000, '[]', 'ns', NULL);
UPDATE people SET payload = '"9"', street = 'nine' WHERE id = 9;
-- check switch
SELECT id FROM people WHERE name IS DISTINCT FROM label OR data::text IS DISTINCT FROM payload::text OR (home).street IS DISTINCT FROM street OR (home).zip IS DISTINCT FROM zip;
-- check end
SELECT id FROM people WHERE email IS NULL OR id = 9 AND (payload::text <> '"9"' OR street <> 'nine') OR id BETWEEN 10 AND 2000 AND (street <> 's' || id OR qty <> id OR label <> 'n' || id);
