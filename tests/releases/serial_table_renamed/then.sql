INSERT INTO t9 (v) VALUES ('next')
