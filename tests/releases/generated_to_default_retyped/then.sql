DO $$ BEGIN
    ASSERT (SELECT count(*) = 47 FROM t WHERE h = 'q' AND a > 3), 'what was computed stays';
    INSERT INTO t (id, a) VALUES (51, 51);
    ASSERT (SELECT h = 'z' FROM t WHERE id = 51), 'the default counts';
END $$
