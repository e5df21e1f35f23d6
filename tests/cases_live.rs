//! The cases of `tests/cases` on a real server, with rows.
//!
//! Every case is built, seeded (by `seed.sql` in its folder, or by a generator), planned with its
//! proof, and applied through contract, stopped and resumed after each step. The cases of [`cover()`], which together
//! hold every recipe in every form, are besides killed (see `support/kill.rs`) at every boundary of every step, within
//! it, in their backfills, and in what runs CONCURRENTLY; then their sessions are ended at all these points, and the run
//! goes on by itself (`support/cut.rs`). `SCHEMA_CASES=all` does so with every case. (`cases_crash` kills the server.)
//! Each time the database is at the end what a fresh one with the desired state is (by our own reading and by
//! `pg_dump`), every row of a table that stays is there with the values that it had, and a second plan is empty.

#[path = "support/case.rs"]
mod case;
#[path = "support/child.rs"]
mod child;
#[path = "support/cover.rs"]
mod cover;
#[path = "support/cut.rs"]
mod cut;
#[path = "support/kill.rs"]
mod kill;
#[allow(dead_code, reason = "the harness of crashes uses all of it")]
#[path = "support/live.rs"]
mod live;
#[path = "support/seed.rs"]
mod seed;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cover::cover;
use libtest_mimic::{Arguments, Trial};
use live::{Live, Result, failed, options, run};
use schema::apply::{Event, Options, Outcome};

/// Cases that do not pass yet, with the reason; shown as ignored.
const PENDING: &[(&str, &str)] = &[];

fn main() -> ExitCode {
    if child::is_child() {
        child::child();
        return ExitCode::SUCCESS;
    }
    let pending = |name: &str| PENDING.iter().any(|(case, _)| *case == name);
    let trials: Vec<Trial> = case::names()
        .into_iter()
        .map(|name| {
            let ignored = pending(&name) || case::is_newer_than_here(&name);
            Trial::test(name.clone(), move || block_on(case(&name))).with_ignored_flag(ignored)
        })
        .collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn block_on(work: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(failed("runtime"))?.block_on(work)
}

async fn case(name: &str) -> Result<()> {
    let mut live = Box::pin(Live::start(name)).await?;
    resumed(&mut live).await?;
    if std::env::var("SCHEMA_CASES").is_ok_and(|which| which == "all") || cover()?.contains(&name.to_owned()) {
        kill::everywhere(&live).await?;
        cut::everywhere(&live).await?;
    }
    live.end().await;
    Ok(())
}

/// Stopped after each step and resumed.
async fn resumed(live: &mut Live) -> Result<()> {
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
    live.check_plan("changed").await
}
