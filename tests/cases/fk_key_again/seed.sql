INSERT INTO customers SELECT 'c' || g, 'r' || g % 3 FROM generate_series(1, 30) g;
INSERT INTO orders (customer, region) SELECT code, region FROM customers;
INSERT INTO returns (customer, region) SELECT code, region FROM customers;
