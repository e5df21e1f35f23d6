INSERT INTO s2.u (v) VALUES ('next')
