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
#[path = "support/written.rs"]
mod written;

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use back::{Picture, can, undo};
use libtest_mimic::{Arguments, Trial};
use live::{Live, Result, failed, options, run};
use schema::apply::rollback::way;
use schema::apply::{ApplyError, Event, Options, Outcome};
use schema::pg::Target;
use schema::plan::Plan;
use schema::plan::plan::{StageName, Undo};
use written::{WRITTEN, divided_keeps_rights, divided_keeps_what_was_written, keeps_what_new_clients_wrote};

/// Where a child connects, the plan that it rolls back, and whether it applies it instead.
const TARGET: &str = "SCHEMA_CASE_TARGET";
const PLAN: &str = "SCHEMA_CASE_PLAN";
const FORWARD: &str = "SCHEMA_CASE_FORWARD";

/// Cases that hold a step before contract which cannot be undone, and why.
const NO_WAY_BACK: &[(&str, &str)] = &[
    ("column_drop_expression", "no statement gives an expression back"),
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
    "column_add_not_null_backfill",
    "index_replace_large",
    "unique_replace",
    "release_mixed",
    "table_split",
    "rename_table_and_column",
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

/// Through the switch and through contract, back to the end of each stage before; from there to where it began, and
/// through contract once more.
async fn to_a_stage(name: &str) -> Result<()> {
    let live = Box::pin(Live::start(name)).await?;
    live.copy("changed").await?;
    let start = Picture::take(&live, "changed").await?;
    let last = live.plan.steps().map(|(stage, _)| stage).max().ok_or("an empty plan")?;
    let ways = [(StageName::Switch, StageName::Backfill), (StageName::Switch, StageName::Expand), (StageName::Contract, StageName::Switch)];
    for (through, stage) in ways.into_iter().filter(|(through, _)| *through <= last) {
        let there = |number: u32| {
            let applied = live.plan.steps().any(|(of, step)| step.number == number && of <= through);
            if applied { "done" } else { "pending" }.to_owned()
        };
        for forward_again in [false, true] {
            // What cannot be undone is refused.
            if !way(&live.plan, if forward_again { Some(stage) } else { None }, there).impossible.is_empty() {
                continue;
            }
            let place = |error: &libtest_mimic::Failed| at(&format!("through {} back to {}", through.name(), stage.name()), error);
            back_and_on(&live, through, stage, forward_again, &start).await.map_err(|error| place(&error))?;
        }
    }
    live.end().await;
    Ok(())
}

async fn back_and_on(live: &Live, through: StageName, stage: StageName, forward_again: bool, start: &Picture) -> Result<()> {
    live.copy("changed").await?;
    let target = live.target("changed");
    run(&target, &live.plan, &Options { through, ..forward() }, &mut |_| {}).await.map_err(failed("apply"))?;
    let outcome = undo(&target, &live.plan, Some(stage), &options(), &mut |_| {}).await.map_err(failed("rollback"))?;
    if outcome != Outcome::Done {
        return Err(format!("the rollback ends as {outcome:?}").into());
    }
    if !forward_again {
        let rows = way(&live.plan, None, |_| "done".to_owned()).loses.is_empty();
        return return_to(live, "changed", start, rows).await;
    }
    let outcome = run(&target, &live.plan, &options(), &mut |_| {}).await.map_err(failed("forward once more"))?;
    if outcome != Outcome::Done {
        return Err(format!("forward once more ends as {outcome:?}").into());
    }
    live.check("changed").await
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
