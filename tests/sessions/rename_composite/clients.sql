-- old work
INSERT INTO users (home, work) VALUES (ROW('old', NULL), ROW(NULL, 'old'));
UPDATE users SET home = ROW('changed', NULL) WHERE id = 1;
-- new work
INSERT INTO users (lives, works) VALUES (ROW('new', NULL), ROW(NULL, 'new'));
-- check switch
SELECT * FROM users WHERE ROW(home)::record *<> ROW(lives)::record OR ROW(work)::record *<> ROW(works)::record;
-- check end
SELECT * FROM users WHERE works IS NOT DISTINCT FROM NULL OR id > 2000 AND lives IS NOT DISTINCT FROM NULL OR id BETWEEN 4 AND 2000 AND id % 3 = 1 AND (lives).street IS DISTINCT FROM 's' || id;
