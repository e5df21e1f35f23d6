//! The cases of `tests/cases` on a real server, with rows.
//!
//! Every case is built, seeded (by `seed.sql` in its folder, or by a generator), planned with its
//! proof, and applied through contract, stopped and resumed after each step. At the end the database
//! is what a fresh one with the desired state is (by our own reading and by `pg_dump`), every row of
//! a table that stays is there with the values that it had, and a second plan is empty.
//!
//! One case of each recipe is besides killed before, in and after every step, in its backfill, and
//! in CREATE INDEX CONCURRENTLY.

#[path = "support/case.rs"]
mod case;
#[path = "support/live.rs"]
mod live;
#[path = "support/seed.rs"]
mod seed;

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Trial};
use live::{Live, Result, failed, options, run};
use schema::apply::{Event, Options, Outcome};
use schema::pg::{Target, connect};
use schema::plan::plan::{Plan, Work};

/// Where a child connects, and the plan that it applies.
const TARGET: &str = "SCHEMA_CASE_TARGET";
const PLAN: &str = "SCHEMA_CASE_PLAN";

/// Cases that do not pass yet, with the reason; shown as ignored.
const PENDING: &[(&str, &str)] = &[];

/// One case of each recipe, to be killed everywhere.
const KILLED: &[&str] = &[
    "column_add_identity",
    "column_add_not_null_backfill",
    "column_add_volatile_default",
    "column_set_not_null_backfill",
    "column_drop_with_index",
    "rename_column_unique",
    "rename_column_retyped",
    "rename_table",
    "index_replace_large",
    "check_replace",
    "fk_replace_cascade",
    "fk_add_large",
    "unique_replace",
    "primary_key_add",
    "view_change_with_dependants",
    "enum_add_value_middle_default",
    "table_drop_cycle",
    "domain_check_add",
    "function_body_under_index",
    "partition_attach_beside_default",
    "partition_detach",
    "partition_key_add",
    "partition_fk_add",
    "materialized_view_change",
];

fn main() -> ExitCode {
    if std::env::var_os(TARGET).is_some() {
        child();
        return ExitCode::SUCCESS;
    }
    let pending = |name: &str| PENDING.iter().any(|(case, _)| *case == name);
    let mut trials: Vec<Trial> = case::names()
        .into_iter()
        .map(|name| {
            let ignored = pending(&name);
            Trial::test(name.clone(), move || block_on(resumed(&name))).with_kind("resumed").with_ignored_flag(ignored)
        })
        .collect();
    for name in KILLED {
        trials.push(Trial::test(*name, || block_on(killed(name))).with_kind("killed").with_ignored_flag(pending(name)));
    }
    trials.push(Trial::test("index_create_large", || block_on(killed_while_building())).with_kind("killed while building"));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn block_on(work: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(failed("runtime"))?.block_on(work)
}

/// Stopped after each step and resumed.
async fn resumed(name: &str) -> Result<()> {
    let mut live = Box::pin(Live::start(name)).await?;
    live.copy("changed").await?;
    let target = live.target("changed");
    let steps = live.plan.steps().count();
    for _ in 0..=steps {
        if steps == 0 {
            break;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let mut tell = move |event: Event| {
            if matches!(event, Event::StepDone { .. }) {
                flag.store(true, Ordering::Relaxed);
            }
        };
        let outcome = run(&target, &live.plan, &Options { stop, ..options() }, &mut tell).await.map_err(failed("apply"))?;
        if outcome == Outcome::Done {
            break;
        }
    }
    live.check("changed").await?;
    live.check_plan("changed").await?;
    live.end().await;
    Ok(())
}

/// Killed at every point and resumed.
async fn killed(name: &str) -> Result<()> {
    let live = Box::pin(Live::start(name)).await?;
    for point in points(&live.plan) {
        live.copy("changed").await?;
        let output = spawn(&live, "changed", Some(&point))?.wait_with_output().map_err(failed("child"))?;
        if output.status.signal().is_none() {
            return Err(format!("{point}: the child was not killed: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        resume(&live, "changed").await.map_err(|error| format!("{point}: {}", error.message().unwrap_or_default()))?;
    }
    live.end().await;
    Ok(())
}

async fn resume(live: &Live, name: &str) -> Result<()> {
    let outcome = run(&live.target(name), &live.plan, &options(), &mut |_| {}).await.map_err(failed("resumes"))?;
    if outcome != Outcome::Done {
        return Err(format!("it ends as {outcome:?}").into());
    }
    live.check(name).await
}

/// Every boundary of every step; within steps; within the first backfill.
fn points(plan: &Plan) -> Vec<String> {
    let mut points = Vec::new();
    let mut fills = false;
    for (_, step) in plan.steps() {
        let backfill = matches!(step.work, Work::Backfill(_));
        // Behind a step is before the next one.
        if step.number == 1 {
            points.push("step:1:before".to_owned());
        }
        if !backfill {
            points.push(format!("step:{}:middle", step.number));
        }
        points.push(format!("step:{}:after", step.number));
        fills |= backfill;
    }
    if fills {
        points.extend(["batch:1:before", "batch:3:before", "batch:3:after"].map(str::to_owned));
    }
    points
}

/// kill -9 while CREATE INDEX CONCURRENTLY waits for somebody's transaction.
async fn killed_while_building() -> Result<()> {
    let live = Box::pin(Live::start("index_create_large")).await?;
    live.copy("changed").await?;
    let blocker = connect(&live.target("changed")).await.map_err(failed("connect"))?;
    blocker.client().batch_execute("BEGIN; LOCK TABLE orders IN ROW EXCLUSIVE MODE").await.map_err(failed("lock"))?;
    let mut child = spawn(&live, "changed", None)?;
    let watcher = connect(&live.target("changed")).await.map_err(failed("connect"))?;
    let begun = Instant::now();
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX CONCURRENTLY%' AND wait_event_type = 'Lock'";
    while watcher.client().query_one(waiting, &[]).await.map_err(failed("watch"))?.get::<_, i64>(0) == 0 {
        if begun.elapsed() > Duration::from_secs(30) {
            return Err("the build never waited".into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    child.kill().map_err(failed("kill"))?;
    child.wait().map_err(failed("wait"))?;
    let release = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        blocker.client().batch_execute("COMMIT").await
    });
    resume(&live, "changed").await?;
    release.await.map_err(failed("release"))?.map_err(failed("release"))?;
    watcher.close().await;
    live.end().await;
    Ok(())
}

fn spawn(live: &Live, name: &str, point: Option<&str>) -> Result<Child> {
    let mut command = Command::new(std::env::current_exe().map_err(failed("own path"))?);
    command
        .env(TARGET, live.address(name))
        .env(PLAN, serde_json::to_string(&live.plan).map_err(failed("plan"))?)
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    if let Some(point) = point {
        command.env("SCHEMA_CRASH_AT", point);
    }
    command.spawn().map_err(failed("child"))
}

fn child() {
    let target = Target::parse(&std::env::var(TARGET).expect("is set")).expect("parses");
    let plan: Plan = serde_json::from_str(&std::env::var(PLAN).expect("is set")).expect("parses");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(run(&target, &plan, &options(), &mut |_| {})).expect("applies");
}
