INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c'); INSERT INTO u SELECT * FROM t
