-- Format 2 of the ledger: what gates were seen to wait for. Never edited once released.

-- When the gate of a plan was looked at: the first look, when the switch is done, starts its clock.
CREATE TABLE schema_ledger.gates (
    plan        text PRIMARY KEY REFERENCES schema_ledger.plans ON DELETE CASCADE,
    first_look  timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_look   timestamptz NOT NULL DEFAULT clock_timestamp(),
    looks       bigint NOT NULL DEFAULT 1,
    -- Entries that pg_stat_statements had thrown away by the first look, and when it was last emptied; NULL without it.
    deallocated bigint,
    emptied     timestamptz
);

-- Clients that a gate asks about, as they were last seen.
CREATE TABLE schema_ledger.sightings (
    plan        text NOT NULL REFERENCES schema_ledger.gates ON DELETE CASCADE,
    application text NOT NULL,
    username    text NOT NULL,
    -- Address of the client; empty on a Unix socket.
    client      text NOT NULL,
    pid         integer NOT NULL,
    seen        timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (plan, application, username, client)
);

-- How often statements that mention what contract takes away had been called by the first look.
CREATE TABLE schema_ledger.statements (
    plan    text NOT NULL REFERENCES schema_ledger.gates ON DELETE CASCADE,
    userid  oid NOT NULL,
    queryid bigint NOT NULL,
    calls   bigint NOT NULL,
    PRIMARY KEY (plan, userid, queryid)
)
