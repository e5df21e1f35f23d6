//! A plan whose applier is killed over and over: each time in another process, at the next point.
//!
//! The points of one plan are gone through on one database: killed at the first, resumed until the
//! second and killed there, and so on to the end. What a kill leaves behind meets all that follows.

use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use schema::apply::Outcome;
use schema::pg::{Session, connect};
use schema::plan::Transaction;
use schema::plan::plan::{Step, Work};

use super::child::{Random, SEED, spawn, until};
use super::live::{Live, Result, failed, options, run};

/// The database that it happens in.
const NAME: &str = "killed";
/// Kills at random in every backfill.
const RANDOM: usize = 3;

/// Kills the applier at every point of the plan, in turn, and compares what comes of it.
pub async fn everywhere(live: &Live) -> Result<()> {
    if live.plan.is_empty() {
        return Ok(());
    }
    live.copy(NAME).await?;
    let watcher = connect(&live.target(NAME)).await.map_err(failed("connect"))?;
    let mut random = Random::seeded();
    at(live, "step:1:before", &[])?;
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
                at(live, point, &[&after]).map_err(here)?;
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
        at(live, &format!("step:{}:middle", step.number), others).map_err(here)?;
        at(live, &after, others).map_err(here)?;
    }
    let outcome = run(&live.target(NAME), &live.plan, &options(), &mut |_| {}).await.map_err(failed("resumes"))?;
    if outcome != Outcome::Done {
        return Err(format!("killed everywhere, it ends as {outcome:?}").into());
    }
    watcher.close().await;
    live.check(NAME).await.map_err(|error| format!("killed everywhere: {}", error.message().unwrap_or_default()).into())
}

/// A child that kills itself at `point`, or at one of the others if there is no such.
fn at(live: &Live, point: &str, others: &[&str]) -> Result<()> {
    let points = [&[point], others].concat().join(",");
    let last = live.plan.steps().count();
    let output = tokio::task::block_in_place(|| spawn(live, NAME, &points, "kill")?.wait_with_output().map_err(failed("child")))?;
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
        let mut child = spawn(live, NAME, "", "kill")?;
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
    let mut child = spawn(live, NAME, &bounds, "kill")?;
    let begun = format!("SELECT (attempt > {before} OR state = 'done')::text FROM schema_ledger.steps WHERE number = {number}");
    until(watcher, &begun, "true", &mut child).await?;
    tokio::time::sleep(delay).await;
    child.kill().map_err(failed("kill"))?;
    child.wait().map_err(failed("kill"))?;
    Ok(())
}
