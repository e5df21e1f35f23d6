-- old session
SET search_path = ''; SET TimeZone = 'Asia/Tokyo'; SET DateStyle = 'SQL, DMY';
-- old work
SET ROLE teller4; INSERT INTO public.events (at, note, qty) VALUES ('03/02/2024', 'old', 5), ('03/02/2031', 'far', 6);
UPDATE public.events SET note = 'changed' WHERE id = 9; DELETE FROM public.events WHERE id = (SELECT max(id) FROM public.events); SELECT id FROM public.seen LIMIT 1;
SET ROLE keeper4; UPDATE public.events SET at = '04/02/2024' WHERE id = 10; INSERT INTO public.events (at) VALUES ('05/02/2024');
-- new work
SET ROLE teller4; INSERT INTO events (at, note, qty) VALUES ('2025-02-03', 'new', 5); SELECT * FROM seen LIMIT 1;
SET ROLE keeper4; DELETE FROM events WHERE id = 11; ALTER TABLE events ALTER note SET STATISTICS 200;
-- check end
SELECT id FROM events WHERE id BETWEEN 12 AND 2000 AND (note <> 'n' || id OR qty <> id OR at <> date '2024-01-01' + (id % 500)::int) UNION ALL SELECT 0 WHERE (SELECT count(*) FROM events WHERE id BETWEEN 12 AND 2000) <> 1989;
