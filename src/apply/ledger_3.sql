-- Format 3: plans that are rolled back.
ALTER TABLE schema_ledger.plans DROP CONSTRAINT plans_state_check;
ALTER TABLE schema_ledger.plans ADD CONSTRAINT plans_state_check
    CHECK (state IN ('running', 'waiting', 'done', 'failed', 'rolling-back', 'rolled-back'));

-- Parts of the step's undo that are committed; the step is 'undone' with the last one.
ALTER TABLE schema_ledger.steps ADD COLUMN undone integer NOT NULL DEFAULT 0;

CREATE OR REPLACE VIEW schema_ledger.stages (plan, stage, state, at) AS
SELECT s.plan, s.stage,
       CASE WHEN p.state IN ('rolling-back', 'rolled-back') THEN p.state
            WHEN bool_and(s.state = 'done') THEN 'done'
            WHEN bool_or(s.state = 'failed') THEN 'failed'
            WHEN bool_or(s.state IN ('done', 'running')) THEN 'running'
            WHEN p.state = 'waiting' THEN 'waiting'
            ELSE 'pending' END,
       CASE WHEN bool_and(s.state = 'done') THEN max(s.ended) ELSE max(s.started) END
FROM schema_ledger.steps s JOIN schema_ledger.plans p ON p.name = s.plan
GROUP BY s.plan, s.stage, p.state
