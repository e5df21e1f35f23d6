INSERT INTO "My Schema"."User" SELECT g, 'F' || g || ' L' || g FROM generate_series(1, :rows) g;
INSERT INTO "My Schema"."Order" ("Id", "select", "User") SELECT g, 's' || g, g FROM generate_series(1, :rows) g;
SELECT setval(pg_get_serial_sequence('"My Schema"."Order"', 'Id'), :rows);
