//! A plan whose applier is killed over and over: each time in another process, at the next point.
//!
//! The points of one plan are gone through on one database: killed at the first, resumed until the
//! second and killed there, and so on to the end. What a kill leaves behind meets all that follows.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use schema::apply::Outcome;
use schema::pg::{Session, Target, connect};
use schema::plan::Transaction;
use schema::plan::plan::{Plan, Step, Work};

use super::live::{Live, Result, failed, options, run};

/// Where a child connects, and the plan that it applies.
const TARGET: &str = "SCHEMA_CASE_TARGET";
const PLAN: &str = "SCHEMA_CASE_PLAN";
/// The variable that says with which seed the random moments are drawn.
const SEED: &str = "SCHEMA_CASE_SEED";

/// The database that it happens in.
const NAME: &str = "killed";
/// How long a child may take to where it is to be killed.
const LIMIT: Duration = Duration::from_secs(60);
/// Kills at random in every backfill.
const RANDOM: usize = 3;

pub fn is_child() -> bool {
    std::env::var_os(TARGET).is_some()
}

/// What the process does that is to be killed.
pub fn child() {
    let target = Target::parse(&std::env::var(TARGET).expect("is set")).expect("parses");
    let plan: Plan = serde_json::from_str(&std::env::var(PLAN).expect("is set")).expect("parses");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(run(&target, &plan, &options(), &mut |_| {})).expect("applies");
}

/// Kills the applier at every point of the plan, in turn, and compares what comes of it.
pub async fn everywhere(live: &Live) -> Result<()> {
    if live.plan.is_empty() {
        return Ok(());
    }
    live.copy(NAME).await?;
    let watcher = connect(&live.target(NAME)).await.map_err(failed("connect"))?;
    let mut random = Random::seeded();
    at(live, "step:1:before", &[]).await?;
    for (_, step) in live.plan.steps() {
        let here = |error: libtest_mimic::Failed| -> libtest_mimic::Failed {
            format!("step {} ({}): {}", step.number, step.title, error.message().unwrap_or_default()).into()
        };
        if step.transaction == Transaction::Outside {
            while_waiting(live, &watcher, step).await.map_err(here)?;
        }
        let after = format!("step:{}:after", step.number);
        if matches!(step.work, Work::Backfill(_)) {
            // No further than this step, where there are fewer batches.
            for point in ["batch:1:before", "batch:2:before", "batch:2:after"] {
                at(live, point, &[&after]).await.map_err(here)?;
            }
            for _ in 0..RANDOM {
                let delay = random.below(Duration::from_millis(60));
                at_random(live, &watcher, step, delay).await.map_err(|error| {
                    format!("{}, {delay:?} after it began ({SEED}={})", here(error).message().unwrap_or_default(), random.seed)
                })?;
            }
        }
        // A backfill may have come to its end before it was killed: then it is the next step.
        let next = format!("step:{}:before", step.number + 1);
        let others: &[&str] = if matches!(step.work, Work::Backfill(_)) { &[&after, &next] } else { &[] };
        at(live, &format!("step:{}:middle", step.number), others).await.map_err(here)?;
        at(live, &after, others).await.map_err(here)?;
    }
    let outcome = run(&live.target(NAME), &live.plan, &options(), &mut |_| {}).await.map_err(failed("resumes"))?;
    if outcome != Outcome::Done {
        return Err(format!("killed everywhere, it ends as {outcome:?}").into());
    }
    watcher.close().await;
    live.check(NAME).await.map_err(|error| format!("killed everywhere: {}", error.message().unwrap_or_default()).into())
}

/// A child that kills itself at `point`, or at one of the others if there is no such.
async fn at(live: &Live, point: &str, others: &[&str]) -> Result<()> {
    let points = [&[point], others].concat().join(",");
    let last = live.plan.steps().count();
    let output = tokio::task::block_in_place(|| spawn(live, Some(&points))?.wait_with_output().map_err(failed("child")))?;
    let ended = output.status.success() && points.contains(&format!("step:{}:before", last + 1));
    if output.status.signal() == Some(9) || ended {
        return Ok(());
    }
    Err(format!("{points}: the child was not killed: {}", String::from_utf8_lossy(&output.stderr)).into())
}

/// Killed while CONCURRENTLY waits for somebody's transaction: once so that its orphan on the server
/// ends there too, once so that the orphan goes on alone.
async fn while_waiting(live: &Live, watcher: &Session, step: &Step) -> Result<()> {
    for orphan_ends in [true, false] {
        let blocker = connect(&live.target(NAME)).await.map_err(failed("connect"))?;
        let mut sql = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT".to_owned();
        for lock in &step.locks {
            sql = format!("{sql}; LOCK TABLE {} IN ROW EXCLUSIVE MODE", lock.relation);
        }
        blocker.client().batch_execute(&sql).await.map_err(failed("lock"))?;
        let mut child = spawn(live, None)?;
        let waits = "SELECT count(*)::text FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        until(watcher, waits, "1", &mut child).await?;
        child.kill().map_err(failed("kill"))?;
        child.wait().map_err(failed("kill"))?;
        if orphan_ends {
            let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                       WHERE datname = current_database() AND wait_event_type = 'Lock'";
            watcher.client().execute(end, &[]).await.map_err(failed("end the orphan"))?;
        }
        blocker.client().batch_execute("COMMIT").await.map_err(failed("release"))?;
        blocker.close().await;
    }
    Ok(())
}

/// Killed from outside, some time after the step began.
async fn at_random(live: &Live, watcher: &Session, step: &Step, delay: Duration) -> Result<()> {
    let number = step.number;
    let bounds = format!("step:{number}:after,step:{}:before", number + 1);
    let attempt = format!("SELECT attempt FROM schema_ledger.steps WHERE number = {number}");
    let before: i32 = watcher.client().query_one(&attempt, &[]).await.map_err(failed("ledger"))?.get(0);
    // Before the kill it may come to the end of the step, or find it done: no further.
    let mut child = spawn(live, Some(&bounds))?;
    let begun = format!("SELECT (attempt > {before} OR state = 'done')::text FROM schema_ledger.steps WHERE number = {number}");
    until(watcher, &begun, "true", &mut child).await?;
    tokio::time::sleep(delay).await;
    child.kill().map_err(failed("kill"))?;
    child.wait().map_err(failed("kill"))?;
    Ok(())
}

/// Polls until a query gives what is expected; the child must not end before.
async fn until(watcher: &Session, sql: &str, expected: &str, child: &mut Child) -> Result<()> {
    let begun = Instant::now();
    loop {
        let found: String = watcher.client().query_one(sql, &[]).await.map_err(failed(sql))?.get(0);
        if found == expected {
            return Ok(());
        }
        let ended = child.try_wait().map_err(failed("child"))?.filter(|status| status.signal().is_none());
        if ended.is_some() || begun.elapsed() > LIMIT {
            return Err(format!("never {expected} (the child ended: {ended:?}): {sql}").into());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn spawn(live: &Live, points: Option<&str>) -> Result<Child> {
    let mut command = Command::new(std::env::current_exe().map_err(failed("own path"))?);
    command
        .env(TARGET, live.address(NAME))
        .env(PLAN, serde_json::to_string(&live.plan).map_err(failed("plan"))?)
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    if let Some(points) = points {
        command.env("SCHEMA_CRASH_AT", points);
    }
    command.spawn().map_err(failed("child"))
}

/// Moments to be killed at: splitmix64, from the clock or from [`SEED`].
struct Random {
    seed: u64,
    state: u64,
}

impl Random {
    fn seeded() -> Self {
        let given = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok());
        let clock = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::from(since.subsec_nanos()));
        let seed = given.unwrap_or_else(clock);
        Self { seed, state: seed }
    }

    fn below(&mut self, limit: Duration) -> Duration {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.state;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^= x >> 31;
        Duration::from_micros(x % u64::try_from(limit.as_micros()).unwrap_or(u64::MAX))
    }
}
