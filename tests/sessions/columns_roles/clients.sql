-- old session
SET ROLE teller; SET search_path = '';
-- old work
INSERT INTO public.orders (code, note, qty) VALUES ('old', 'x', 1);
UPDATE public.orders SET note = 'changed', qty = qty + 1 WHERE code = 'c7';
SELECT note FROM public.orders WHERE code = 'c8';
-- new session
SET ROLE teller;
-- new work
INSERT INTO orders (code, remark, qty) VALUES ('new', 'y', 3000000000 - 2147483648);
UPDATE orders SET remark = 'new too' WHERE code = 'c9';
SELECT remark, qty FROM orders WHERE code = 'c8';
-- check switch
SELECT * FROM orders WHERE note IS DISTINCT FROM remark;
-- check end
SELECT * FROM orders WHERE id IS NULL OR remark IS NULL;
