//! A plan whose applier loses its sessions, or its server, over and over, and goes on by itself.
//!
//! It suspends itself at each point (SIGSTOP): then its sessions are ended, or the whole server is
//! killed and started again, and it wakes up (SIGCONT) to find that out.

use std::io::Read as _;
use std::time::Duration;

use schema::pg::connect;
use schema::plan::plan::{Plan, Work};

use super::child::{Came, Random, SEED, resume, spawn, stopped};
use super::live::{Live, Result, failed};

/// The databases that it happens in.
const CUT: &str = "cut";
const CRASHED: &str = "crashed";

/// Ends the sessions of the applier at every point of the plan, and at random behind some.
pub async fn everywhere(live: &Live) -> Result<()> {
    if live.plan.is_empty() {
        return Ok(());
    }
    live.copy(CUT).await?;
    let target = live.target(CUT);
    let mut random = Random::seeded();
    let points = points(&live.plan);
    let mut child = spawn(live, CUT, &points.join(","), "stop")?;
    let mut cut = 0;
    loop {
        match stopped(&child).await? {
            Came::Stopped => {}
            Came::Ended(true) => break,
            Came::Ended(false) => return Err(complaint(&mut child, cut, &random)),
        }
        // Another connection each time: a session that does not end is in the way of a copy.
        let watcher = connect(&target).await.map_err(failed("connect"))?;
        // Both its sessions, the one that runs the statements, or the one that looks on.
        let which = ["true", "place = 1", "place = 2"][cut % 3];
        let end = format!(
            "SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid, row_number() OVER (ORDER BY backend_start) AS place \
             FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()) s \
             WHERE {which}"
        );
        watcher.client().execute(&end, &[]).await.map_err(failed("end the sessions"))?;
        resume(&child)?;
        cut += 1;
        if cut % 3 == 0 {
            tokio::time::sleep(random.below(Duration::from_millis(60))).await;
            watcher.client().execute(&end, &[]).await.map_err(failed("end the sessions"))?;
        }
        watcher.close().await;
    }
    if cut + 1 < points.len() {
        // Fewer batches than points is all that may be missed.
        let batches = live.plan.steps().filter(|(_, step)| matches!(step.work, Work::Backfill(_))).count();
        if batches == 0 {
            return Err(format!("its sessions were ended {cut} times at {} points", points.len()).into());
        }
    }
    live.check(CUT).await.map_err(|error| {
        let error = error.message().unwrap_or_default();
        format!("with its sessions ended everywhere ({SEED}={}): {error}", random.seed).into()
    })
}

/// Kills the server at every point of the plan, and at random behind some.
pub async fn with_server(live: &mut Live) -> Result<()> {
    live.copy(CRASHED).await?;
    let mut random = Random::seeded();
    let mut child = spawn(live, CRASHED, &points(&live.plan).join(","), "stop")?;
    let mut cut = 0;
    loop {
        match stopped(&child).await? {
            Came::Stopped => {}
            Came::Ended(true) => break,
            Came::Ended(false) => return Err(complaint(&mut child, cut, &random)),
        }
        cut += 1;
        if cut % 3 == 0 {
            // It goes on for a while before it happens.
            resume(&child)?;
            tokio::time::sleep(random.below(Duration::from_millis(60))).await;
            live.crash().await?;
        } else {
            live.crash().await?;
            resume(&child)?;
        }
    }
    live.check(CRASHED).await.map_err(|error| {
        let error = error.message().unwrap_or_default();
        format!("with its server killed everywhere ({SEED}={}): {error}", random.seed).into()
    })
}

fn points(plan: &Plan) -> Vec<String> {
    let mut points = vec!["step:1:before".to_owned()];
    let mut fills = false;
    for (_, step) in plan.steps() {
        points.extend(["middle", "after"].map(|moment| format!("step:{}:{moment}", step.number)));
        fills |= matches!(step.work, Work::Backfill(_));
    }
    if fills {
        // Counted over all backfills of the process.
        points.extend(["batch:1:before", "batch:2:after", "batch:4:before", "batch:5:after"].map(str::to_owned));
    }
    points
}

fn complaint(child: &mut std::process::Child, cut: usize, random: &Random) -> libtest_mimic::Failed {
    let mut text = String::new();
    if let Some(stderr) = &mut child.stderr {
        let _ = stderr.read_to_string(&mut text);
    }
    format!("the applier gave up after {cut} losses ({SEED}={}): {text}", random.seed).into()
}
