-- Format 4: which looks for rows that would make a step fail have passed, by their place in the step, and when.
ALTER TABLE schema_ledger.steps ADD COLUMN looks integer[] NOT NULL DEFAULT '{}';
ALTER TABLE schema_ledger.steps ADD COLUMN looked timestamptz
