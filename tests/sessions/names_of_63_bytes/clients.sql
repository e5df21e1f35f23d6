-- old work
INSERT INTO a_very_long_name_of_a_table_that_fills_all_of_the_sixty_three_b ("A very long name of a column, of sixty-three bytes, with spaces", qty) VALUES ('x', 1);
INSERT INTO a (b_c) VALUES (NULL);
INSERT INTO a_b (c) VALUES (NULL);
-- new work
INSERT INTO a_very_long_name_of_a_table_that_fills_all_of_the_sixty_three_b ("Another long name of a column, of sixty-three bytes, and spaces", qty) VALUES ('y', 1);
-- check switch
SELECT * FROM a_very_long_name_of_a_table_that_fills_all_of_the_sixty_three_b WHERE "A very long name of a column, of sixty-three bytes, with spaces" IS DISTINCT FROM "Another long name of a column, of sixty-three bytes, and spaces";
-- check end
SELECT id FROM a WHERE b_c IS DISTINCT FROM 'b_c' UNION ALL SELECT id FROM a_b WHERE c IS DISTINCT FROM 'c';
