//! A plan whose applier loses its sessions over and over, and goes on by itself.
//!
//! It suspends itself at each point (SIGSTOP): then its sessions are ended, and it wakes up (SIGCONT) to find that out.

use std::time::Duration;

use schema::pg::connect;
use schema::plan::plan::Work;

use super::child::{Came, Random, SEED, complaint, points, resume, spawn, stopped};
use super::live::{Live, Result, failed};

/// The database that it happens in.
const CUT: &str = "cut";

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
