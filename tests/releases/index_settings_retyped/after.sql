CREATE TABLE t (id int, aa varchar(9)); CREATE INDEX ix ON t (md5(aa::text)) WITH (fillfactor=80); ALTER INDEX ix ALTER COLUMN 1 SET STATISTICS 80;
