INSERT INTO p1 SELECT i,i FROM generate_series(1,50) i; INSERT INTO p2 SELECT i,i FROM generate_series(101,150) i;
