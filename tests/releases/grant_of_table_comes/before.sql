CREATE TABLE t (id int PRIMARY KEY, b text); GRANT INSERT (b) ON t TO pg_monitor;
