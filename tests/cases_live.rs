//! The cases of `tests/cases` on a real server, with rows.
//!
//! Every case is built, seeded (by `seed.sql` in its folder, or by a generator), planned with its
//! proof, and applied through contract, stopped and resumed after each step. The cases of [`cover`], which together
//! hold every recipe in every form, are besides killed (see `support/kill.rs`) at every boundary of every step, within
//! it, in their backfills, and in what runs CONCURRENTLY; then their sessions are ended at all these points, and the run
//! goes on by itself (`support/cut.rs`); then the whole server is killed. `SCHEMA_CASES=all` does so with every case.
//! Each time the database is at the end what a fresh one with the desired state is (by our own reading and by
//! `pg_dump`), every row of a table that stays is there with the values that it had, and a second plan is empty.

#[path = "support/case.rs"]
mod case;
#[path = "support/child.rs"]
mod child;
#[path = "support/cut.rs"]
mod cut;
#[path = "support/kill.rs"]
mod kill;
#[path = "support/live.rs"]
mod live;
#[path = "support/seed.rs"]
mod seed;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use libtest_mimic::{Arguments, Trial};
use live::{Live, Result, failed, options, run};
use schema::apply::{Event, Options, Outcome};
use schema::kind::table::Table;
use schema::plan::plan::{Step, Work};
use schema::plan::{Input, Transaction};

/// Tests over which the killing of servers is spread.
const PARTS: usize = 4;

/// Cases that do not pass yet, with the reason; shown as ignored.
const PENDING: &[(&str, &str)] = &[];

fn main() -> ExitCode {
    if child::is_child() {
        child::child();
        return ExitCode::SUCCESS;
    }
    let pending = |name: &str| PENDING.iter().any(|(case, _)| *case == name);
    let mut trials: Vec<Trial> = case::names()
        .into_iter()
        .map(|name| {
            let ignored = pending(&name);
            Trial::test(name.clone(), move || block_on(case(&name))).with_ignored_flag(ignored)
        })
        .collect();
    for part in 0..PARTS {
        trials.push(Trial::test(format!("part_{}_of_{PARTS}", part + 1), move || block_on(crashed(part))).with_kind("server killed"));
    }
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

/// The cases whose server is killed, dealt out to several tests.
async fn crashed(part: usize) -> Result<()> {
    for name in cover()?.iter().skip(part).step_by(PARTS) {
        let mut live = Box::pin(Live::start(name)).await?;
        cut::with_server(&mut live).await.map_err(|error| format!("{name}: {}", error.message().unwrap_or_default()))?;
        live.end().await;
    }
    Ok(())
}

/// Cases that together hold a step of every recipe in every form that a recipe has it: in a
/// transaction, outside one, as a backfill. Each holds one that those before it do not; the fullest
/// come first.
fn cover() -> Result<&'static [String]> {
    static COVER: OnceLock<std::result::Result<Vec<String>, String>> = OnceLock::new();
    let chosen = COVER.get_or_init(|| choose().map_err(|error| error.message().unwrap_or_default().to_owned()));
    chosen.as_deref().map_err(|error| error.clone().into())
}

fn choose() -> Result<Vec<String>> {
    let mut cases = Vec::new();
    for name in case::names() {
        let case = case::Case::read(&name)?;
        // A crash empties what is not logged.
        if case.after.catalog.of::<Table>().chain(case.before.catalog.of::<Table>()).any(|table| table.unlogged) {
            continue;
        }
        let input = Input {
            live: &case.before.catalog,
            desired: &case.after.catalog,
            hints: &case.after.hints,
            facts: &case.facts,
            policy: &case.policy,
        };
        let plan = schema::plan::plan(&input).map_err(failed(&name))?;
        let form = |step: &Step| (step.recipe.clone(), matches!(step.work, Work::Backfill(_)), step.transaction == Transaction::Outside);
        cases.push((name, plan.steps().map(|(_, step)| form(step)).collect::<BTreeSet<_>>()));
    }
    let mut chosen = Vec::new();
    while let Some((name, forms)) = cases.iter().max_by_key(|(_, forms)| forms.len()).cloned().filter(|(_, forms)| !forms.is_empty()) {
        for (_, left) in &mut cases {
            left.retain(|form| !forms.contains(form));
        }
        chosen.push(name);
    }
    Ok(chosen)
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
