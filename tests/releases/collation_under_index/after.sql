CREATE TABLE t (id int PRIMARY KEY, d varchar(5) COLLATE "C"); CREATE INDEX i ON t (d COLLATE "C"); COMMENT ON INDEX i IS 'by bytes';
