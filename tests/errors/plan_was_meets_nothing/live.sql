CREATE TABLE public.orders (id int PRIMARY KEY, amount int, note text); CREATE TABLE customers (id int);
