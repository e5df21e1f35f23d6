-- old session
SET ROLE teller;
-- old work
INSERT INTO users (full_name, street, town) VALUES ('Old Client', 'Long Street', 'York');
UPDATE users SET full_name = 'Changed Name', street = 'Short Street' WHERE id = 7;
SELECT full_name, street, town FROM users WHERE id = 8;
SET ROLE postman;
UPDATE users SET street = 'Back Street', town = 'Leeds' WHERE id = 9;
SELECT street, town FROM users WHERE id = 9;
SET ROLE teller;
-- new session
SET ROLE teller;
-- new work
INSERT INTO users (first_name, last_name, address) VALUES ('New', 'Client', 'High Street, Bath');
UPDATE users SET first_name = 'Changed', last_name = 'Too' WHERE id = 10;
SELECT first_name, last_name, address FROM users WHERE id = 8;
SET ROLE postman;
UPDATE users SET address = 'Low Street, Hull' WHERE id = 11;
SELECT address FROM users WHERE id = 11;
SET ROLE teller;
-- check switch
SELECT id, full_name, street, town FROM users WHERE (full_name, street || ', ' || town) IS DISTINCT FROM (concat_ws(' ', first_name, last_name), address);
-- check end
SELECT attname, x FROM (SELECT attname, string_agg(concat_ws(' ', x.grantee::regrole, x.privilege_type, nullif(x.is_grantable, false)), ', ' ORDER BY x.grantee::regrole::text, x.privilege_type) AS x FROM pg_attribute, aclexplode(attacl) x WHERE attrelid = 'users'::regclass AND NOT attisdropped GROUP BY attname) held
WHERE (attname::text, x) NOT IN (('id', 'postman SELECT, teller SELECT t'), ('first_name', 'teller INSERT t, teller SELECT t, teller UPDATE t'), ('last_name', 'teller INSERT t, teller SELECT t, teller UPDATE t'), ('address', 'postman SELECT, postman UPDATE, teller INSERT t, teller SELECT t'));
