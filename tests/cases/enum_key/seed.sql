INSERT INTO levels SELECT level, level::text FROM unnest(enum_range('low'::level, 'middle')) level;
INSERT INTO alerts (level, allowed) SELECT (ARRAY['low', 'high', 'middle'])[1 + i % 3]::level, '{low,high}' FROM generate_series(1, 300) i;
REFRESH MATERIALIZED VIEW counted;
