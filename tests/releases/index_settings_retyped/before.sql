CREATE TABLE t (id int, aa varchar(50)); CREATE INDEX ix ON t (md5(aa::text)) WITH (fillfactor=70); ALTER INDEX ix ALTER COLUMN 1 SET STATISTICS 70;
