INSERT INTO events VALUES ('2025-02-03', 'a'), ('2026-02-03', 'b'); INSERT INTO events_2027 VALUES ('2027-02-03', 'c');
