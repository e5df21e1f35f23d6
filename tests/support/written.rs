//! What clients write while a plan is under way, and what a rollback makes of it.

use schema::apply::Options;
use schema::pg::Target;
use schema::plan::plan::StageName;

use crate::back::undo;
use crate::forward;
use crate::live::{Live, Result, failed, options, run};

/// What clients of both releases write between the switch and contract, and what each side then holds.
pub struct Written {
    /// Which case it goes through.
    pub case: &'static str,
    statements: &'static [&'static str],
    /// A query of the new side, asked at once, and its answer.
    new: (&'static str, &'static str),
    /// A query of the old side, asked after the rollback, and its answer.
    old: (&'static str, &'static str),
}

/// All of them.
pub const WRITTEN: &[Written] = &[
    Written {
        case: "rename_column_plain",
        statements: &[
            "DELETE FROM orders WHERE id > 3",
            "INSERT INTO orders (remark) VALUES ('new')",
            "UPDATE orders SET remark = 'changed' WHERE id = (SELECT min(id) FROM orders)",
        ],
        new: ("SELECT string_agg(remark, ' ' ORDER BY remark) FROM orders WHERE remark IN ('new', 'changed')", "changed new"),
        old: ("SELECT string_agg(note, ' ' ORDER BY note) FROM orders WHERE note IN ('new', 'changed')", "changed new"),
    },
    // The way there and back does not give the same: nobody's own words are computed anew. Both given: the new ones win.
    Written {
        case: "column_split",
        statements: &[
            "DELETE FROM users WHERE id > 4",
            "UPDATE users SET last_name = 'Smith' WHERE id = 1",
            "UPDATE users SET full_name = 'Old Wins', first_name = 'New' WHERE id = 2",
            "UPDATE users SET full_name = 'Ann  Lee' WHERE id = 3",
            "UPDATE users SET id = DEFAULT WHERE id = 4",
            "INSERT INTO users (first_name, last_name) VALUES ('Ann Marie', 'Lee'), ('Cher', NULL)",
            "INSERT INTO users (full_name) VALUES ('Bo Van Dam')",
            "INSERT INTO users (full_name, first_name) VALUES ('Old Wins', 'New')",
        ],
        new: (
            "SELECT string_agg(concat_ws('|', first_name, last_name), ' / ' ORDER BY id) FROM users",
            "First1|Smith / New|Last2 / Ann| Lee / First4|Last4 / Ann Marie|Lee / Cher / Bo|Van Dam / New",
        ),
        old: (
            "SELECT string_agg(full_name, ' / ' ORDER BY id) FROM users",
            "First1 Smith / New Last2 / Ann  Lee / First4 Last4 / Ann Marie Lee / Cher / Bo Van Dam / New",
        ),
    },
    // The table's own trigger writes small letters, into the new columns from the switch on. What an old client wrote
    // stays as it wrote it.
    Written {
        case: "column_split_own_trigger",
        statements: &[
            "DELETE FROM users WHERE id > 2",
            "UPDATE users SET last_name = 'SMITH' WHERE id = 1",
            "UPDATE users SET full_name = 'ANN  LEE' WHERE id = 2",
            "INSERT INTO users (first_name, last_name) VALUES ('ann marie', 'lee')",
            "INSERT INTO users (full_name) VALUES ('bo van dam')",
        ],
        new: (
            "SELECT string_agg(concat_ws('|', first_name, last_name), ' / ' ORDER BY id) FROM users",
            "first1|smith / ann| / ann marie|lee / bo|van",
        ),
        old: ("SELECT string_agg(full_name, ' / ' ORDER BY id) FROM users", "first1 smith / ANN  LEE / ann marie lee / bo van dam"),
    },
    // A user of the new release alone has no profile until it is given one; one that goes takes the values along.
    Written {
        case: "table_split",
        statements: &[
            "DELETE FROM users WHERE id > 4",
            "UPDATE user_profiles SET about = 'new' WHERE user_id = 1",
            "DELETE FROM user_profiles WHERE user_id = 2",
            "UPDATE users SET avatar = 'old' WHERE id = 3",
            "UPDATE users SET bio = NULL, avatar = NULL WHERE id = 4",
            "INSERT INTO users (name) VALUES ('none')",
            "INSERT INTO users (name) VALUES ('two'); INSERT INTO user_profiles (user_id, about) VALUES (currval('users_id_seq'), 'two')",
            "WITH own AS (INSERT INTO users (name) VALUES ('one') RETURNING id) INSERT INTO user_profiles (user_id, avatar) SELECT id, 'one' FROM own",
            "INSERT INTO users (name, bio) VALUES ('old', 'bold')",
            "UPDATE user_profiles SET user_id = 2 WHERE user_id = 4",
        ],
        new: (
            "SELECT string_agg(concat_ws('|', user_id, about, avatar), ' / ' ORDER BY user_id) FROM user_profiles",
            "1|new|a1 / 2 / 3|old / 62|two / 63|one / 64|bold",
        ),
        old: (
            "SELECT string_agg(concat_ws('|', id, bio, avatar), ' / ' ORDER BY id) FROM users",
            "1|new|a1 / 2 / 3|old / 4 / 61 / 62|two / 63|one / 64|bold",
        ),
    },
    // Nothing gives the old column back: it stays as it was.
    Written {
        case: "column_merge_partitioned",
        statements: &[
            "DELETE FROM events WHERE seconds > 2",
            "UPDATE events SET duration = 9500 WHERE seconds = 1",
            "INSERT INTO events (at, duration) VALUES ('2026-02-02', 7007)",
            "INSERT INTO events (at, seconds) VALUES ('2026-02-03', 5)",
        ],
        new: ("SELECT string_agg(duration::text, ' / ' ORDER BY at) FROM events", "9500 / 2002 / 7007 / 5000"),
        old: ("SELECT string_agg(concat_ws('.', seconds, millis), ' / ' ORDER BY at) FROM events", "9.1 / 2.2 / 7 / 5"),
    },
];

/// What came through the new columns is in the old ones when the new ones are gone.
pub async fn keeps_what_new_clients_wrote(written: &Written) -> Result<()> {
    let live = Box::pin(Live::start(written.case)).await?;
    live.copy("changed").await?;
    let target = live.target("changed");
    run(&target, &live.plan, &Options { through: StageName::Switch, ..forward() }, &mut |_| {}).await.map_err(failed("apply"))?;
    let session = schema::pg::connect(&target).await.map_err(failed("connect"))?;
    let differs = |side: &str, found: &str, expected: &str| format!("the {side} side holds `{found}`, not `{expected}`");
    for sql in written.statements {
        session.client().batch_execute(sql).await.map_err(failed(sql))?;
    }
    let new: String = session.client().query_one(written.new.0, &[]).await.map_err(failed(written.new.0))?.get(0);
    if new != written.new.1 {
        return Err(differs("new", &new, written.new.1).into());
    }
    undo(&target, &live.plan, None, &options(), &mut |_| {}).await.map_err(failed("rollback"))?;
    let old: String = session.client().query_one(written.old.0, &[]).await.map_err(failed(written.old.0))?.get(0);
    if old != written.old.1 {
        return Err(differs("old", &old, written.old.1).into());
    }
    session.close().await;
    live.end().await;
    Ok(())
}

/// What is written before, between and after the copying is in both forms of a table that is divided, and in the old one
/// when the new one is gone.
pub async fn divided_keeps_what_was_written() -> Result<()> {
    let live = Box::pin(Live::start("table_partition_range")).await?;
    live.copy("changed").await?;
    let target = live.target("changed");
    let through = |stage| Options { through: stage, ..forward() };
    let session = schema::pg::connect(&target).await.map_err(failed("connect"))?;
    let client = session.client();
    let say = async |sql: &'static str| client.batch_execute(sql).await.map_err(|error| format!("{sql}: {}", schema::pg::explain(&error)));
    run(&target, &live.plan, &through(StageName::Expand), &mut |_| {}).await.map_err(failed("expand"))?;
    say("INSERT INTO events VALUES (1001, '2024-01-01', 'old'); UPDATE events SET at = '2030-01-01' WHERE id = 7; UPDATE events SET id = 1008 WHERE id = 8; DELETE FROM events WHERE id = 9").await?;
    // A statement after which a row stands where another one stood, and one that changes a row twice.
    say("DELETE FROM events WHERE id = 10; INSERT INTO events VALUES (10, '2025-03-03', 'again') ON CONFLICT (id) DO UPDATE SET note = 'twice'").await?;
    // Rows that are copied behind the snapshot of a transaction: it fails, and is tried again, or is right.
    say("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM events").await?;
    run(&target, &live.plan, &through(StageName::Backfill), &mut |_| {}).await.map_err(failed("backfill"))?;
    let told = client.batch_execute("DELETE FROM events WHERE id = 11").await.err().and_then(|error| error.code().cloned());
    if told != Some(tokio_postgres::error::SqlState::T_R_SERIALIZATION_FAILURE) {
        return Err(format!("a row that was copied behind a snapshot is deleted with {told:?}").into());
    }
    say("ROLLBACK").await?;
    say("DELETE FROM events WHERE id = 11; UPDATE events SET note = 'filled' WHERE id = 12").await?;
    run(&target, &live.plan, &through(StageName::Switch), &mut |_| {}).await.map_err(failed("switch"))?;
    say("INSERT INTO events VALUES (1002, '2025-02-02', 'new'); UPDATE events SET at = '2031-01-01' WHERE id = 13; DELETE FROM events WHERE id = 14; UPDATE events_2025 SET note = 'by part' WHERE id = 15").await?;
    let twice = client.batch_execute("INSERT INTO events VALUES (1002, '2029-02-02', 'new')").await.err();
    if twice.and_then(|error| error.code().cloned()) != Some(tokio_postgres::error::SqlState::UNIQUE_VIOLATION) {
        return Err("the new form takes a row that the old one could not hold".into());
    }
    let sum = "SELECT count(*) || ' ' || sum(hashtextextended(ROW(id, at, note)::text, 0)::numeric) FROM ";
    let of = async |table: &str| client.query_one(&format!("{sum}{table}"), &[]).await.map(|row| row.get::<_, String>(0));
    let new = of("events").await.map_err(failed("new"))?;
    let old = of("schema_beside_public_events_old.events").await.map_err(failed("old"))?;
    if new != old {
        return Err(format!("the new form holds {new}, the old one {old}").into());
    }
    undo(&target, &live.plan, None, &options(), &mut |_| {}).await.map_err(failed("rollback"))?;
    let back = of("events").await.map_err(failed("back"))?;
    if back != new {
        return Err(format!("{new} became {back}").into());
    }
    session.close().await;
    live.end().await;
    Ok(())
}

/// Owner and privileges go along, and who has no right to the other form writes to the table all the same; who applies is
/// no superuser, only a member of the owner.
pub async fn divided_keeps_rights() -> Result<()> {
    let live = Box::pin(Live::start("table_partition_range")).await?;
    live.copy("changed").await?;
    let session = schema::pg::connect(&live.target("changed")).await.map_err(failed("connect"))?;
    let client = session.client();
    let say = async |sql: &str| client.batch_execute(sql).await.map_err(|error| format!("{sql}: {}", schema::pg::explain(&error)));
    say("DROP ROLE IF EXISTS divide_applier; DROP ROLE IF EXISTS divide_owner; DROP ROLE IF EXISTS divide_clerk").await?;
    say("CREATE ROLE divide_owner; CREATE ROLE divide_clerk; CREATE ROLE divide_applier LOGIN IN ROLE divide_owner, pg_monitor").await?;
    say("ALTER TABLE events OWNER TO divide_owner; GRANT ALL ON SCHEMA public TO divide_owner, divide_applier; GRANT CREATE ON DATABASE changed TO divide_applier").await?;
    say("GRANT SELECT, INSERT ON events TO divide_clerk WITH GRANT OPTION; GRANT UPDATE (note) ON events TO divide_clerk; GRANT SELECT ON events TO PUBLIC").await?;
    let rights = "SELECT pg_get_userbyid(relowner) || ' ' || (SELECT array_agg(x::text ORDER BY x::text)::text FROM unnest(relacl) x) || ' ' \
                  || (SELECT string_agg(attname || attacl::text, ' ') FROM pg_attribute WHERE attrelid = c.oid AND attacl IS NOT NULL) \
                  FROM pg_class c WHERE oid = 'public.events'::regclass";
    let held = async || client.query_one(rights, &[]).await.map(|row| row.get::<_, String>(0)).map_err(failed("rights"));
    let before = held().await?;
    let target = Target::parse(&live.address("changed").replace("user=postgres", "user=divide_applier")).map_err(failed("target"))?;
    for (at, stage) in [StageName::Expand, StageName::Backfill, StageName::Switch].into_iter().enumerate() {
        run(&target, &live.plan, &Options { through: stage, ..forward() }, &mut |_| {}).await.map_err(failed(stage.name()))?;
        say(&format!(
            "SET ROLE divide_clerk; INSERT INTO events VALUES ({0}, '2025-02-02', 'clerk'); UPDATE events SET note = 'clerk' WHERE id = {0}; RESET ROLE",
            5000 + at
        ))
        .await?;
        let now = held().await?;
        if now != before {
            return Err(format!("{}: the rights were {before} and are {now}", stage.name()).into());
        }
    }
    undo(&target, &live.plan, None, &options(), &mut |_| {}).await.map_err(failed("rollback"))?;
    let now = held().await?;
    let rows: i64 = client.query_one("SELECT count(*) FROM events WHERE note = 'clerk'", &[]).await.map_err(failed("rows"))?.get(0);
    if now != before || rows != 3 {
        return Err(format!("rolled back, the rights were {before} and are {now}; {rows} of 3 rows are there").into());
    }
    say("REASSIGN OWNED BY divide_owner, divide_applier TO postgres; DROP OWNED BY divide_owner, divide_applier, divide_clerk").await?;
    say("DROP ROLE divide_applier; DROP ROLE divide_owner; DROP ROLE divide_clerk").await?;
    session.close().await;
    live.end().await;
    Ok(())
}
