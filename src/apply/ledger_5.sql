-- Format 5: to the end of which stage a plan is rolled back; NULL: to where it began.
ALTER TABLE schema_ledger.plans ADD COLUMN back_to text
