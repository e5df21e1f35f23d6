CREATE TABLE u (aa bigint NOT NULL, v int, CONSTRAINT pkb PRIMARY KEY (aa));
