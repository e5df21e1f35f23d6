-- old session
SET search_path = "My Schema"; SET standard_conforming_strings = off; SET backslash_quote = off;
-- old work
INSERT INTO "Order" ("select", "User", "Group") VALUES ('old', 4, NULL), ('old', 5, 'mine');
UPDATE "Order" SET "select" = 'changed', "User" = 7 WHERE "Id" = 9;
UPDATE "User" SET "Full Name" = 'Ada Lovelace' WHERE "Id" = 3;
-- new session
SET search_path = "My Schema";
-- new work
INSERT INTO "Order" ("From", "User", "Group", "a.b""c") VALUES ('new', 6, 'new', 'new');
UPDATE "User" SET "First Name" = 'Grace', "Last Name" = 'Hopper' WHERE "Id" = 4;
-- check switch
SELECT "Id"::text FROM "My Schema"."Order" WHERE "select" IS DISTINCT FROM "From" UNION ALL SELECT "Id"::text FROM "My Schema"."User" WHERE "Full Name" <> "First Name" || ' ' || "Last Name";
-- check end
SELECT "Id"::text FROM "My Schema"."Order" WHERE "From" IS NULL OR "a.b""c" NOT IN (E'it''s \\', 'new') UNION ALL SELECT "Id"::text FROM "My Schema"."User" WHERE "Id" = 3 AND "Last Name" <> 'Lovelace';
