INSERT INTO t (v) VALUES ('next')
