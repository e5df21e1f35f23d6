INSERT INTO words (begin, by, "if", while) SELECT g, CASE WHEN g % 3 > 0 THEN 'by ' || g END, 'if ' || g, 'while ' || g FROM generate_series(1, 30) g;
