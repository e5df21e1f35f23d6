CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TABLE events (mood mood, at date) PARTITION BY LIST (mood);
CREATE TABLE events_sad PARTITION OF events FOR VALUES IN ('sad');
CREATE TABLE days (at date) PARTITION BY RANGE (at);
