//! The cases of `tests/cases` applied and rolled back on a real server.
//!
//! Every case is applied through each stage before contract and rolled back; then the database is what it was at the
//! start: `pg_dump` equal, columns in order, every row as it was, nothing left over. Where a step cannot be undone the
//! rollback says so and touches nothing. One case of each recipe is besides stopped after every step, and killed in
//! the middle of its rollback.

#[path = "support/back.rs"]
mod back;
#[path = "support/case.rs"]
mod case;
#[allow(dead_code, reason = "the harness of the way forward uses all of it")]
#[path = "support/live.rs"]
mod live;
#[path = "support/seed.rs"]
mod seed;

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use back::{Picture, can, undo};
use libtest_mimic::{Arguments, Trial};
use live::{Live, Result, failed, options, run};
use schema::apply::{ApplyError, Event, Options, Outcome};
use schema::pg::Target;
use schema::plan::Plan;
use schema::plan::plan::{StageName, Undo};

/// Where a child connects, the plan that it rolls back, and whether it applies it instead.
const TARGET: &str = "SCHEMA_CASE_TARGET";
const PLAN: &str = "SCHEMA_CASE_PLAN";
const FORWARD: &str = "SCHEMA_CASE_FORWARD";

/// Cases that hold a step before contract which cannot be undone, and why.
const NO_WAY_BACK: &[(&str, &str)] = &[
    ("direct_mode", "a column goes at once"),
    ("table_split_direct", "a column goes at once"),
    ("enum_add_value_end", "PostgreSQL cannot take a value out of an enum"),
    ("enum_add_value_middle_default", "PostgreSQL cannot take a value out of an enum"),
    ("enum_key", "a primary key and a foreign key are over the enum"),
    ("enum_remove_generated", "a function carries the type in its name"),
    ("enum_remove_rename_add", "rows may hold a value that the old type has not"),
    ("enum_remove_small", "one value became another"),
    ("enum_remove_domain", "composite types are made anew through their columns"),
    ("column_type_rewrite_large", "a bigint need not be an int again"),
    ("column_type_widen_indexed", "a text need not fit into a varchar(10)"),
    ("retype_beside_fill", "a bigint need not be an int again"),
    ("retype_foreign_key_child", "a bigint need not be an int again"),
    ("retype_indexed", "a bigint need not be an int again"),
    ("retype_key_with_children", "a bigint need not be an int again"),
    ("retype_not_null_default", "a bigint need not be an int again"),
    ("retype_parent_only", "a bigint need not be an int again"),
    ("retype_plain", "a bigint need not be an int again"),
    ("retype_policy_trigger", "a bigint need not be an int again"),
    ("retype_primary_key", "a bigint need not be an int again"),
    ("retype_published", "a bigint need not be an int again"),
    ("retype_serial_key", "a bigint need not be an int again"),
    ("retype_view", "a bigint need not be an int again"),
    ("release_mixed", "it adds a value to an enum"),
    ("table_partition_direct", "the old form goes at once"),
];

/// One case of each recipe, to be stopped after every step and killed on the way back.
const EVERYWHERE: &[&str] = &[
    "column_add_identity",
    "column_add_not_null_backfill",
    "column_set_not_null_backfill",
    "column_drop_not_null_column",
    "column_drop_with_index",
    "rename_column_unique",
    "rename_column_own_trigger",
    "column_split_own_trigger",
    "table_split",
    "rename_table",
    "index_replace_large",
    "check_replace",
    "fk_replace_cascade",
    "fk_and_key_replace",
    "unique_replace",
    "primary_key_replace",
    "view_change_with_dependants",
    "domain_check_add",
    "function_body_under_index",
    "retype_unique",
    "retype_author",
    "storage_parameters",
    "table_partition_hash",
    "table_partition_attach",
    "partition_key_replace",
];

/// Cases that go back to the end of a stage and forward again: what a switch used up must be there once more.
const TO_A_STAGE: &[&str] = &[
    "rename_column_not_null",
    "column_set_not_null_backfill",
    "unique_add_large",
    "primary_key_replace",
    "check_replace",
    "fk_replace_cascade",
    "fk_and_key_replace",
    "fk_key_again",
    "table_partition_hash",
    "table_partition_other_key",
    "table_partition_attach",
    "partition_key_replace_sub",
];

/// What clients of both releases write between the switch and contract, and what each side then holds.
struct Written {
    case: &'static str,
    statements: &'static [&'static str],
    /// A query of the new side, asked at once, and its answer.
    new: (&'static str, &'static str),
    /// A query of the old side, asked after the rollback, and its answer.
    old: (&'static str, &'static str),
}

const WRITTEN: &[Written] = &[
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

fn main() -> ExitCode {
    if std::env::var_os(TARGET).is_some() {
        child();
        return ExitCode::SUCCESS;
    }
    let mut trials: Vec<Trial> = case::names()
        .into_iter()
        .map(|name| {
            let ignored = case::is_newer_than_here(&name);
            Trial::test(name.clone(), move || block_on(from_each_stage(&name))).with_kind("rolled back").with_ignored_flag(ignored)
        })
        .collect();
    for name in EVERYWHERE {
        trials.push(Trial::test(*name, || block_on(from_each_step(name))).with_kind("rolled back from each step"));
        trials.push(Trial::test(*name, || block_on(killed(name))).with_kind("killed while rolled back"));
    }
    for name in ["fk_and_key_replace", "fk_key_again", "fk_key_again_small", "fk_key_of_small"] {
        trials.push(Trial::test(name, || block_on(guarded(name))).with_kind("guarded after each step"));
    }
    for name in TO_A_STAGE {
        trials.push(Trial::test(*name, || block_on(to_a_stage(name))).with_kind("rolled back to a stage"));
    }
    for name in ["rename_column_own_trigger", "column_set_not_null_backfill", "column_add_volatile_default", "table_partition_range"] {
        trials.push(Trial::test(name, || block_on(from_a_half_backfill(name))).with_kind("rolled back from a half backfill"));
    }
    trials.push(Trial::test("index_create_large", || block_on(from_an_invalid_index())).with_kind("rolled back over an invalid index"));
    trials.push(Trial::test("check_replace", || block_on(from_a_failed_step())).with_kind("rolled back behind a failed step"));
    for written in WRITTEN {
        trials.push(Trial::test(written.case, || block_on(keeps_what_new_clients_wrote(written))).with_kind("written to by new clients"));
    }
    trials.push(Trial::test("table_partition_range", || block_on(divided_keeps_what_was_written())).with_kind("written to by all clients"));
    trials.push(Trial::test("table_partition_range", || block_on(divided_keeps_rights())).with_kind("owned by another"));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn block_on(work: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(failed("runtime"))?.block_on(work)
}

fn forward() -> Options {
    Options { again: true, ..options() }
}

/// Applied through each stage before contract, and back.
async fn from_each_stage(name: &str) -> Result<()> {
    let live = Box::pin(Live::start(name)).await?;
    live.copy("changed").await?;
    let start = Picture::take(&live, "changed").await?;
    let expected = NO_WAY_BACK.iter().any(|(case, _)| *case == name);
    let mut refused = false;
    for stage in &live.plan.stages {
        let last = stage.steps.last().map_or(0, |step| step.number);
        let outcome = run(&live.target("changed"), &live.plan, &Options { through: stage.name, ..forward() }, &mut |_| {}).await;
        outcome.map_err(failed("apply"))?;
        let (possible, rows) = can(&live.plan, last);
        if possible {
            return_to(&live, "changed", &start, rows).await.map_err(|error| at(stage.name.name(), &error))?;
            continue;
        }
        let there = Picture::take(&live, "changed").await?;
        match undo(&live.target("changed"), &live.plan, None, &options(), &mut |_| {}).await {
            Err(ApplyError::NoWayBack { .. }) => refused |= stage.name < StageName::Contract,
            other => return Err(format!("a step cannot be undone, and yet it ends as {other:?}").into()),
        }
        if let Some(differs) = there.differs(&Picture::take(&live, "changed").await?, true) {
            return Err(format!("a refused rollback touched the database:\n{differs}").into());
        }
        live.copy("changed").await?;
    }
    if refused != expected {
        let steps: Vec<_> = live.plan.steps().filter(|(_, step)| step.undo == Undo::Impossible).map(|(_, step)| &step.title).collect();
        return Err(format!("refused: {refused}, expected: {expected}; cannot be undone: {steps:?}").into());
    }
    live.end().await;
    Ok(())
}

fn at(place: &str, error: &libtest_mimic::Failed) -> libtest_mimic::Failed {
    format!("{place}: {}", error.message().unwrap_or_default()).into()
}

/// Rolls back and compares.
async fn return_to(live: &Live, name: &str, start: &Picture, rows: bool) -> Result<()> {
    let outcome = undo(&live.target(name), &live.plan, None, &options(), &mut |_| {}).await.map_err(failed("rollback"))?;
    if outcome != Outcome::Done {
        return Err(format!("the rollback ends as {outcome:?}").into());
    }
    match start.differs(&Picture::take(live, name).await?, rows) {
        Some(differs) => Err(format!("not as it was:\n{differs}").into()),
        None => Ok(()),
    }
}

/// Through the switch, back to the end of each stage before it, and through contract.
async fn to_a_stage(name: &str) -> Result<()> {
    let live = Box::pin(Live::start(name)).await?;
    for stage in [StageName::Backfill, StageName::Expand] {
        live.copy("changed").await?;
        let target = live.target("changed");
        run(&target, &live.plan, &Options { through: StageName::Switch, ..forward() }, &mut |_| {}).await.map_err(failed("apply"))?;
        let outcome = undo(&target, &live.plan, Some(stage), &options(), &mut |_| {}).await.map_err(failed("rollback"))?;
        if outcome != Outcome::Done {
            return Err(format!("the rollback ends as {outcome:?}").into());
        }
        let outcome = run(&target, &live.plan, &options(), &mut |_| {}).await.map_err(failed("forward once more"))?;
        if outcome != Outcome::Done {
            return Err(format!("forward once more ends as {outcome:?}").into());
        }
        live.check("changed").await.map_err(|error| at(stage.name(), &error))?;
    }
    live.end().await;
    Ok(())
}

/// What came through the new columns is in the old ones when the new ones are gone.
async fn keeps_what_new_clients_wrote(written: &Written) -> Result<()> {
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
async fn divided_keeps_what_was_written() -> Result<()> {
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
async fn divided_keeps_rights() -> Result<()> {
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

/// Stopped after each step, and back; where a step lost rows' values, from a new copy.
async fn from_each_step(name: &str) -> Result<()> {
    let live = Box::pin(Live::start(name)).await?;
    live.copy("changed").await?;
    let start = Picture::take(&live, "changed").await?;
    let before_contract = live.plan.steps().filter(|(stage, _)| *stage < StageName::Contract);
    for (stage, step) in before_contract {
        stop_after(&live, "changed", step.number, stage).await?;
        let (possible, rows) = can(&live.plan, step.number);
        if !possible {
            return Err(format!("step {} cannot be undone", step.number).into());
        }
        return_to(&live, "changed", &start, rows).await.map_err(|error| at(&format!("after step {}", step.number), &error))?;
        if !rows {
            live.copy("changed").await?;
        }
    }
    live.end().await;
    Ok(())
}

/// A row that refers to nothing is refused after every step.
async fn guarded(name: &str) -> Result<()> {
    let live = Box::pin(Live::start(name)).await?;
    live.copy("changed").await?;
    let session = schema::pg::connect(&live.target("changed")).await.map_err(failed("connect"))?;
    for (stage, step) in live.plan.steps() {
        stop_after(&live, "changed", step.number, stage).await?;
        let said = session.client().batch_execute("INSERT INTO orders (customer, region) VALUES ('nobody', 'r1')").await;
        if said.as_ref().err().and_then(tokio_postgres::Error::code) != Some(&tokio_postgres::error::SqlState::FOREIGN_KEY_VIOLATION) {
            return Err(format!("after step {}: {said:?}", step.number).into());
        }
    }
    session.close().await;
    live.end().await;
    Ok(())
}

/// Applies up to and with one step.
async fn stop_after(live: &Live, name: &str, last: u32, through: StageName) -> Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    let mut tell = move |event: Event| {
        if matches!(event, Event::StepDone { number, .. } if number == last) {
            flag.store(true, Ordering::Relaxed);
        }
    };
    run(&live.target(name), &live.plan, &Options { stop, through, ..forward() }, &mut tell).await.map(drop).map_err(failed("apply"))
}

/// Killed at every point of the way back from the last stage before contract, and resumed.
async fn killed(name: &str) -> Result<()> {
    let live = Box::pin(Live::start(name)).await?;
    live.copy("changed").await?;
    let start = Picture::take(&live, "changed").await?;
    let steps: Vec<u32> = live.plan.steps().filter(|(stage, _)| *stage < StageName::Contract).map(|(_, step)| step.number).collect();
    let rows = can(&live.plan, steps.last().copied().unwrap_or_default()).1;
    for number in steps.iter().rev() {
        for moment in ["before", "middle", "after"] {
            let outcome = run(&live.target("changed"), &live.plan, &Options { through: StageName::Switch, ..forward() }, &mut |_| {}).await;
            outcome.map_err(failed("apply"))?;
            let point = format!("step:{number}:{moment}");
            let output = child_of(&live, false).env("SCHEMA_CRASH_AT", &point).output().map_err(failed("child"))?;
            if output.status.signal().is_none() {
                return Err(format!("{point}: the child was not killed: {}", String::from_utf8_lossy(&output.stderr)).into());
            }
            return_to(&live, "changed", &start, rows).await.map_err(|error| at(&point, &error))?;
        }
    }
    live.end().await;
    Ok(())
}

/// Killed in the middle of a backfill.
async fn from_a_half_backfill(name: &str) -> Result<()> {
    let live = Box::pin(Live::start(name)).await?;
    live.copy("changed").await?;
    let start = Picture::take(&live, "changed").await?;
    for point in ["batch:1:before", "batch:3:before", "batch:3:after"] {
        let output = child_of(&live, true).env("SCHEMA_CRASH_AT", point).output().map_err(failed("child"))?;
        if output.status.signal().is_none() {
            return Err(format!("{point}: the child was not killed: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        let rows = can(&live.plan, live.plan.steps().last().map_or(0, |(_, step)| step.number)).1;
        return_to(&live, "changed", &start, rows).await.map_err(|error| at(point, &error))?;
        if !rows {
            live.copy("changed").await?;
        }
    }
    live.end().await;
    Ok(())
}

/// kill -9 while CREATE INDEX CONCURRENTLY waits for somebody's transaction: what it leaves is invalid.
async fn from_an_invalid_index() -> Result<()> {
    let live = Box::pin(Live::start("index_create_large")).await?;
    live.copy("changed").await?;
    let start = Picture::take(&live, "changed").await?;
    let blocker = schema::pg::connect(&live.target("changed")).await.map_err(failed("connect"))?;
    blocker.client().batch_execute("BEGIN; LOCK TABLE orders IN ROW EXCLUSIVE MODE").await.map_err(failed("lock"))?;
    let mut child = child_of(&live, true).spawn().map_err(failed("child"))?;
    let watcher = schema::pg::connect(&live.target("changed")).await.map_err(failed("connect"))?;
    let waiting = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX CONCURRENTLY%' AND wait_event_type = 'Lock'";
    let begun = std::time::Instant::now();
    let pid: i32 = loop {
        if let Some(row) = watcher.client().query_opt(waiting, &[]).await.map_err(failed("watch"))? {
            break row.get(0);
        }
        if begun.elapsed() > std::time::Duration::from_secs(30) {
            return Err("the build never waited".into());
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    child.kill().map_err(failed("kill"))?;
    child.wait().map_err(failed("wait"))?;
    // Else the server goes on alone and the index becomes valid.
    watcher.client().query_one("SELECT pg_terminate_backend($1)", &[&pid]).await.map_err(failed("end"))?;
    blocker.client().batch_execute("COMMIT").await.map_err(failed("release"))?;
    let invalid = "SELECT count(*) FROM pg_index WHERE NOT indisvalid";
    let count: i64 = watcher.client().query_one(invalid, &[]).await.map_err(failed(invalid))?.get(0);
    if count != 1 {
        return Err(format!("{count} indexes are invalid").into());
    }
    return_to(&live, "changed", &start, true).await?;
    watcher.close().await;
    blocker.close().await;
    live.end().await;
    Ok(())
}

/// A step of a later stage fails: it does not get its lock.
async fn from_a_failed_step() -> Result<()> {
    let live = Box::pin(Live::start("check_replace")).await?;
    live.copy("changed").await?;
    let start = Picture::take(&live, "changed").await?;
    let target = live.target("changed");
    run(&target, &live.plan, &Options { through: StageName::Backfill, ..forward() }, &mut |_| {}).await.map_err(failed("apply"))?;
    let blocker = schema::pg::connect(&target).await.map_err(failed("connect"))?;
    blocker.client().batch_execute("BEGIN; LOCK TABLE orders IN ROW EXCLUSIVE MODE").await.map_err(failed("lock"))?;
    let hasty = Options { through: StageName::Switch, retry_for: std::time::Duration::from_millis(300), ..forward() };
    match run(&target, &live.plan, &hasty, &mut |_| {}).await {
        Err(ApplyError::Step(_)) => {}
        other => return Err(format!("the step gets its lock: {other:?}").into()),
    }
    blocker.close().await;
    return_to(&live, "changed", &start, true).await?;
    live.end().await;
    Ok(())
}

/// This program as a child that rolls back, or applies.
fn child_of(live: &Live, applies: bool) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("it has a path"));
    command
        .env(TARGET, live.address("changed"))
        .env(PLAN, serde_json::to_string(&live.plan).expect("plain data"))
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    if applies {
        command.env(FORWARD, "1");
    }
    command
}

fn child() {
    let target = Target::parse(&std::env::var(TARGET).expect("is set")).expect("parses");
    let plan: Plan = serde_json::from_str(&std::env::var(PLAN).expect("is set")).expect("parses");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    if std::env::var_os(FORWARD).is_some() {
        runtime.block_on(run(&target, &plan, &forward(), &mut |_| {})).expect("applies");
    } else {
        runtime.block_on(undo(&target, &plan, None, &options(), &mut |_| {})).expect("rolls back");
    }
}
