-- Format 6: how often the clock of a gate began again, because counters were emptied.
ALTER TABLE schema_ledger.gates ADD COLUMN restarts integer NOT NULL DEFAULT 0
