//! The cases of `tests/cases` on a server that crashes.
//!
//! Over cases that together hold every recipe in every form, SIGKILL hits the applier, a process of its server (which ends
//! all others and recovers), or the whole server: at every boundary of every step, within it, inside of what waits in a
//! statement CONCURRENTLY, and at random. Forward the run goes on by itself to the desired state. And from every such
//! point it is rolled back, itself disturbed likewise: then the database is what it was at the start. `SCHEMA_CASES=all`
//! does so with every case, and from every point for each of the three.

#[allow(dead_code, reason = "the harness of the way back uses all of it")]
#[path = "support/back.rs"]
mod back;
#[path = "support/case.rs"]
mod case;
#[allow(dead_code, reason = "the harness of the way forward uses all of it")]
#[path = "support/child.rs"]
mod child;
#[path = "support/cover.rs"]
mod cover;
#[path = "support/crash.rs"]
mod crash;
#[allow(dead_code, reason = "the harness of the way forward uses all of it")]
#[path = "support/live.rs"]
mod live;
#[path = "support/seed.rs"]
mod seed;

use std::process::ExitCode;

use back::{Picture, can};
use child::{Random, SEED, Way};
use crash::{Disturbed, Kind, NAME, goes_on, interrupted, places, rolled_back};
use libtest_mimic::{Arguments, Trial};
use live::{Live, Result, failed};
use schema::plan::plan::Undo;

/// Tests over which the cases are spread, each way.
const PARTS: usize = 6;

fn main() -> ExitCode {
    if child::is_child() {
        child::child();
        return ExitCode::SUCCESS;
    }
    let mut trials = Vec::new();
    for part in 0..PARTS {
        let name = format!("part_{}_of_{PARTS}", part + 1);
        trials.push(Trial::test(name.clone(), move || block_on(there(part))).with_kind("crashed"));
        trials.push(Trial::test(name, move || block_on(back(part))).with_kind("crashed and rolled back"));
    }
    let mut arguments = Arguments::from_args();
    // They wait for servers more than they work.
    arguments.test_threads = arguments.test_threads.or(Some(4));
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn block_on(work: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(failed("runtime"))?.block_on(work)
}

/// Cases that are rolled back besides: where something was wrong once that no form of a recipe tells apart.
const ALSO: &[&str] = &["rename_column_partitioned", "partition_drop", "function_body_under_partition_index"];

/// The cases of one part, with their places among all; `SCHEMA_CASE=name` (a part of a name) chooses among them.
fn dealt(all: &[String], part: usize) -> impl Iterator<Item = (usize, &String)> {
    let chosen = std::env::var("SCHEMA_CASE").unwrap_or_default();
    all.iter().enumerate().skip(part).step_by(PARTS).filter(move |(_, name)| name.contains(&chosen))
}

async fn there(part: usize) -> Result<()> {
    for (_, name) in dealt(cover::cover()?, part) {
        let mut random = Random::seeded();
        let mut live = Box::pin(Live::start(name)).await?;
        for kind in kinds(&random) {
            live.copy(NAME).await?;
            let done = goes_on(&mut live, Way::Through, *kind, &mut random).await;
            let checked = if done.is_ok() { live.check(NAME).await } else { done };
            checked.map_err(told(format!("{name}, its server killed everywhere, {kind:?} first ({SEED}={})", random.seed)))?;
        }
        live.end().await;
    }
    Ok(())
}

/// With which of the two kinds of losing a server to begin: one of them, or both in two runs.
fn kinds(random: &Random) -> &'static [Kind] {
    match every() {
        true => &[Kind::Backend, Kind::Server],
        false if random.seed.is_multiple_of(2) => &[Kind::Backend],
        false => &[Kind::Server],
    }
}

fn every() -> bool {
    std::env::var("SCHEMA_CASES").is_ok_and(|which| which == "all")
}

async fn back(part: usize) -> Result<()> {
    let mut wrong = Vec::new();
    let mut all = cover::cover_back()?.to_vec();
    all.extend(ALSO.iter().map(|name| (*name).to_owned()).filter(|name| !all.contains(name)).collect::<Vec<_>>());
    for (place, name) in dealt(&all, part) {
        let mut live = Box::pin(Live::start(name)).await?;
        crashed_and_back(&mut live, place, &mut wrong).await?;
        live.end().await;
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n\n").into()) }
}

fn told(what: String) -> impl FnOnce(libtest_mimic::Failed) -> libtest_mimic::Failed {
    move |error| format!("{what}: {}", error.message().unwrap_or_default()).into()
}

/// From every place of every step that can be undone.
async fn crashed_and_back(live: &mut Live, first: usize, wrong: &mut Vec<String>) -> Result<()> {
    let plan = live.plan.clone();
    let steps: Vec<_> = plan.steps().map(|(_, step)| step).take_while(|step| step.undo != Undo::Impossible).collect();
    let Some(last) = steps.last() else { return Ok(()) };
    let mut random = Random::seeded();
    live.copy(NAME).await?;
    let start = Picture::take(live, NAME).await?;
    let mut runs = Vec::new();
    for step in &steps {
        for place in places(step) {
            let turn = first + runs.len();
            for kind in if every() { Kind::ALL.to_vec() } else { vec![Kind::ALL[turn % 3]] } {
                let how = if turn.is_multiple_of(2) { Disturbed::Not } else { Disturbed::AtRandom(Kind::ALL[turn / 2 % 3]) };
                runs.push((step.number, place.clone(), kind, how));
            }
        }
    }
    // From the end, disturbed everywhere.
    let outside = steps.iter().any(|step| {
        let outside = step.transaction == schema::plan::Transaction::Outside;
        step.undo.parts(outside).iter().any(|part| matches!(part, schema::plan::plan::Part::Outside(_)))
    });
    let mut hows = vec![Disturbed::BehindEach, Disturbed::BeforeEach];
    hows.extend(kinds(&random).iter().map(|kind| Disturbed::GoesOn(*kind)));
    if outside {
        hows.extend(Kind::ALL.into_iter().map(|kind| Disturbed::Waiting(kind, (first + kind as usize).is_multiple_of(2))));
    }
    let end = crash::Place::Point(format!("step:{}:after", last.number));
    runs.extend(hows.into_iter().map(|how| (last.number, end.clone(), Kind::Apply, how)));
    for (turn, (number, place, kind, how)) in runs.into_iter().enumerate() {
        let rows = can(&plan, number).1;
        let done = async {
            interrupted(live, &place, kind, turn, &mut random).await?;
            rolled_back(live, how, &mut random).await?;
            match start.differs(&Picture::take(live, NAME).await?, rows) {
                Some(differs) => Err(format!("not as it was:\n{differs}").into()),
                None => Ok(()),
            }
        };
        let done: Result<()> = done.await;
        if let Err(error) = &done {
            wrong.push(format!(
                "{}: {kind:?} killed at {place:?}, rolled back disturbed {how:?} ({SEED}={}): {}",
                live.case.name,
                random.seed,
                error.message().unwrap_or_default()
            ));
        }
        if done.is_err() || !rows {
            live.copy(NAME).await?;
        }
    }
    Ok(())
}
