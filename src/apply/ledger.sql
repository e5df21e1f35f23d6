-- Format 1 of the ledger. Never edited once released: a change is a further script.
CREATE SCHEMA IF NOT EXISTS schema_ledger;
COMMENT ON SCHEMA schema_ledger IS 'Which plans `schema apply` executed on this database. Not part of any diff.';

CREATE TABLE schema_ledger.format (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    format   integer NOT NULL
);
INSERT INTO schema_ledger.format (format) VALUES (0);

-- The applier in office. Every transaction of an applier locks this row and compares the epoch.
CREATE TABLE schema_ledger.applier (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    epoch    bigint NOT NULL,
    pid      integer,
    who      text,
    since    timestamptz
);
INSERT INTO schema_ledger.applier (epoch) VALUES (0);

CREATE TABLE schema_ledger.plans (
    name       text PRIMARY KEY,
    -- The order in which plans came.
    entered    bigint GENERATED ALWAYS AS IDENTITY,
    hash       text NOT NULL,
    -- The whole plan file: resume, rollback and status need nothing else.
    text       text NOT NULL,
    from_state text NOT NULL,
    to_state   text NOT NULL,
    state      text NOT NULL CHECK (state IN ('running', 'waiting', 'done', 'failed', 'rolled-back')),
    who        text NOT NULL,
    started    timestamptz NOT NULL,
    ended      timestamptz,
    -- The catalog after the plan, as compressed KDL.
    result     bytea
);

CREATE TABLE schema_ledger.steps (
    plan        text NOT NULL REFERENCES schema_ledger.plans ON DELETE CASCADE,
    number      integer NOT NULL,
    stage       text NOT NULL CHECK (stage IN ('expand', 'backfill', 'switch', 'contract')),
    title       text NOT NULL,
    transaction text NOT NULL CHECK (transaction IN ('inside', 'outside', 'batches')),
    state       text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'running', 'done', 'failed', 'undone')),
    attempt     integer NOT NULL DEFAULT 0,
    started     timestamptz,
    ended       timestamptz,
    -- Waited for locks, in milliseconds.
    waited_ms   bigint NOT NULL DEFAULT 0,
    error       text,
    PRIMARY KEY (plan, number)
);

CREATE TABLE schema_ledger.backfills (
    plan       text NOT NULL,
    step       integer NOT NULL,
    -- The key up to which the rows of this pass were looked at, as text.
    cursor     text[],
    pass       integer NOT NULL DEFAULT 1,
    rows_seen  bigint NOT NULL DEFAULT 0,
    rows_done  bigint NOT NULL DEFAULT 0,
    -- As the server estimated them when the backfill began.
    rows_total bigint,
    batch_rows integer NOT NULL,
    -- Rows looked at per second.
    rate       double precision,
    -- What another terminal wants: the applier looks between two batches.
    control    text NOT NULL DEFAULT 'run' CHECK (control IN ('run', 'pause', 'stop')),
    updated    timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (plan, step),
    FOREIGN KEY (plan, step) REFERENCES schema_ledger.steps ON DELETE CASCADE
);

CREATE TABLE schema_ledger.approvals (
    plan      text NOT NULL,
    hash      text NOT NULL,
    who       text NOT NULL,
    at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    signature text,
    PRIMARY KEY (plan, hash, who)
);

-- Stable: readiness probes may read it. `at`: when the stage reached this state.
CREATE VIEW schema_ledger.stages (plan, stage, state, at) AS
SELECT s.plan, s.stage,
       CASE WHEN p.state = 'rolled-back' THEN 'rolled-back'
            WHEN bool_and(s.state = 'done') THEN 'done'
            WHEN bool_or(s.state = 'failed') THEN 'failed'
            WHEN bool_or(s.state IN ('done', 'running')) THEN 'running'
            WHEN p.state = 'waiting' THEN 'waiting'
            ELSE 'pending' END,
       CASE WHEN bool_and(s.state = 'done') THEN max(s.ended) ELSE max(s.started) END
FROM schema_ledger.steps s JOIN schema_ledger.plans p ON p.name = s.plan
GROUP BY s.plan, s.stage, p.state
