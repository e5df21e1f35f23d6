INSERT INTO s2.t (v) VALUES ('next')
