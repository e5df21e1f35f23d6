-- old session
SET TimeZone = 'Asia/Tokyo'; SET DateStyle = 'SQL, DMY'; SET bytea_output = 'escape'; SET standard_conforming_strings = off; SET search_path = '';
-- old work
INSERT INTO public.events (at, day, raw) VALUES ('2024-07-01 12:00:00+00', '03/02/2024', decode('deadbeef', 'hex'));
-- new session
SET TimeZone = 'America/New_York';
-- new work
INSERT INTO events (local, said, hex) VALUES ('2024-07-01 14:00:00', '2024-02-03', '\xdeadbeef');
-- check switch
SELECT * FROM events WHERE at <> '2024-07-01 12:00:00+00' OR day <> '2024-02-03' OR raw <> '\xdeadbeef';
-- check end
SELECT * FROM events WHERE said <> '2024-02-03' OR hex <> '\xdeadbeef' OR local <> '2024-07-01 14:00:00';
