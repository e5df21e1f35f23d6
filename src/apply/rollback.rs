//! The way back: what was applied of a plan is undone, the last step first, from what the ledger says.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::context::{self, Context};
use super::crash::{Moment, Point, point};
use super::error::ApplyError;
use super::event::{Event, Options, Outcome};
use super::halt::Halt;
use super::ledger::{self, PlanState, Record, Standing};
use super::reconnect::{Losses, reconnect};
use super::{kept, lock, outside, transactional};
use crate::catalog::Id;
use crate::catalog::id::quote;
use crate::pg::{Session, Target, connect};
use crate::plan::op::{Hazard, Probe};
use crate::plan::plan::{Part, StageName, Step, Undo, Work};
use crate::plan::{Plan, Transaction};

/// What a rollback would do.
#[derive(Debug, Default)]
pub struct Way<'p> {
    /// The steps to be undone, in that order, with their stages.
    pub undo: Vec<(StageName, &'p Step)>,
    /// Those among them that cannot be.
    pub impossible: Vec<&'p Step>,
    /// What stays lost although the rest comes back, in words.
    pub loses: Vec<String>,
}

/// The way back of `plan` to the end of `to`, or to where it began. `state` tells the state of a step in the ledger:
/// `pending`, `running`, `done`, `failed`, `undone`.
pub fn way(plan: &Plan, to: Option<StageName>, state: impl Fn(u32) -> String) -> Way<'_> {
    let mut way = Way::default();
    let mut steps: Vec<_> = plan.steps().filter(|(stage, _)| to.is_none_or(|to| *stage > to)).collect();
    steps.reverse();
    for (stage, step) in steps {
        let state = state(step.number);
        if !may_be_there(step, &state) {
            continue;
        }
        if step.undo == Undo::Impossible && (state == "done" || step.transaction == Transaction::Outside) {
            way.impossible.push(step);
        } else {
            way.loses.extend(step.loses.iter().cloned());
            // What a cast did to values is not undone by the cast back.
            let cast = |subject: &str| step.makes.iter().any(|id| subject.starts_with(&format!("{id} ")));
            let casts = plan.hazards.iter().filter(|note| note.hazard == Hazard::LossyCast && cast(&note.subject));
            way.loses.extend(casts.map(|note| format!("what the cast changed in {}", note.subject)));
        }
        way.undo.push((stage, step));
    }
    way
}

/// Whether anything of a step may be in the database: a transaction that failed left nothing.
fn may_be_there(step: &Step, state: &str) -> bool {
    match state {
        "done" => true,
        "running" | "failed" => step.transaction == Transaction::Outside || matches!(step.work, Work::Backfill(_)),
        _ => false,
    }
}

/// Undoes what was applied of `plan`, back to the end of stage `to` or to where it began. `plan` is what the ledger
/// holds. What stands in the way ([`Way::impossible`], later plans on the same objects) is the caller's to refuse.
///
/// # Errors
/// See [`ApplyError`]; what was undone stays so, and the next call goes on from there.
pub async fn rollback(
    session: Session,
    target: &Target,
    plan: &Plan,
    to: Option<StageName>,
    options: &Options,
    events: &mut dyn FnMut(Event),
) -> Result<Outcome, ApplyError> {
    let watching = connect(target).await?;
    let mut context = Context { record: Record::Undone, ..Context::new(session, watching, target, plan, options, events) };
    let mut at = plan.steps().next().map_or((StageName::Expand, 0), |(stage, step)| (stage, step.number));
    let mut losses = Losses::default();
    let result = loop {
        let result = run(&mut context, to, &mut at).await;
        let Err(Halt::Failed(lost @ ApplyError::Lost { .. })) = result else { break result };
        if let Err(halt) = reconnect(&mut context, &mut losses, lost).await {
            break Err(halt);
        }
    };
    if let Err(Halt::Failed(ApplyError::Step(failure))) = &result {
        ledger::undo_failed(&context, failure.step, &failure.message).await;
    }
    lock::farewell(context).await;
    match result {
        Ok(()) => Ok(Outcome::Done),
        Err(Halt::Failed(error)) => Err(error),
        Err(Halt::Interrupted(reason)) => {
            Ok(Outcome::Interrupted { stage: at.0, step: at.1, reason, command: context::command(options, plan) })
        }
    }
}

async fn run(context: &mut Context<'_>, to: Option<StageName>, at: &mut (StageName, u32)) -> Result<(), Halt> {
    lock::acquire(context).await?;
    ledger::check_epoch(context).await?;
    ledger::ensure(context).await?;
    context.epoch = Some(ledger::take_epoch(context).await?);
    let standings = ledger::standings(context).await?;
    let plan = context.plan;
    let way = way(plan, to, |number| standings.get(&number).map_or_else(|| "pending".to_owned(), |step| step.state.clone()));
    if !way.impossible.is_empty() {
        let steps = way.impossible.iter().map(|step| format!("step {}, {}", step.number, step.title)).collect();
        return Err(ApplyError::NoWayBack { plan: plan.name.clone(), steps }.into());
    }
    let already = kept::undone_already(context, &way.undo).await?;
    ledger::set_rolling_back(context, to).await?;
    for (stage, step) in way.undo {
        *at = (stage, step.number);
        context.check_stop()?;
        let undone = standings.get(&step.number).map_or(0, |standing| standing.undone);
        // What this way back has begun it ends, whatever stands there by now.
        if undone == 0 && already.contains(&step.number) {
            undo(context, stage, &Step { undo: Undo::Nothing, ..step.clone() }, undone).await?;
        } else {
            undo(context, stage, step, undone).await?;
        }
    }
    settle(context, to, &standings).await
}

/// Undoes one step, from the part that is next.
async fn undo(context: &mut Context<'_>, stage: StageName, step: &Step, undone: usize) -> Result<(), Halt> {
    point(Point::Step(step.number, Moment::Before));
    context.check_watcher("the second connection looked on").await?;
    let begun = Instant::now();
    let title = format!("Undo: {}", step.title);
    context.emit(Event::StepStarted { stage, number: step.number, title: title.clone(), attempt: 1 });
    context.in_step = true;
    let is_outside = step.transaction == Transaction::Outside;
    let mut waited = Duration::ZERO;
    let mut parts = step.undo.parts(is_outside);
    let probe = step.probe.as_ref().filter(|_| is_outside).map(turned);
    if let (Some(probe), [Part::Outside(statements)]) = (&probe, parts.as_slice()) {
        // As a whole: the probe tells whether anything is there.
        context.record = Record::Undone;
        let step = Step { probe: Some(probe.clone()), ..backwards(step, statements.clone()) };
        waited += outside::run(context, &step, statements).await?;
    } else {
        if probe.is_some() && undone == 0 && outside::is_done(context, &Step { probe, ..backwards(step, Vec::new()) }).await? {
            parts.clear();
        }
        let last = parts.len().saturating_sub(1);
        for (place, part) in parts.iter().enumerate().skip(undone) {
            let count = i32::try_from(place + 1).unwrap_or(i32::MAX);
            context.record = if place == last { Record::Undone } else { Record::PartUndone(count) };
            waited += match part {
                Part::Inside(statements) => transactional::run(context, &backwards(step, statements.clone()), statements).await?,
                Part::Outside(statements) => outside::run(context, &backwards(step, statements.clone()), statements).await?,
            };
            context.finished += 1;
        }
        if parts.is_empty() {
            context.record = Record::Undone;
            waited += transactional::run(context, &backwards(step, Vec::new()), &[]).await?;
        }
    }
    point(Point::Step(step.number, Moment::After));
    context.finished += 1;
    context.emit(Event::StepDone { number: step.number, title, elapsed: begun.elapsed(), waited });
    Ok(())
}

/// A step's undo as a step of its own. Its locks are not known, and it may have to read a table again: no total
/// deadline, only the lock timeout.
fn backwards(step: &Step, statements: Vec<String>) -> Step {
    Step {
        number: step.number,
        title: format!("Undo: {}", step.title),
        recipe: step.recipe.clone(),
        work: Work::Sql(statements),
        transaction: step.transaction,
        locks: Vec::new(),
        undo: Undo::Nothing,
        loses: Vec::new(),
        makes: step.takes.clone(),
        takes: step.makes.clone(),
        probe: None,
        preflight: Vec::new(),
        verify: Vec::new(),
    }
}

/// What is done for a step is absent for its undo. A leftover is what the step's own cleanup takes away.
fn turned(probe: &Probe) -> Probe {
    let sql =
        format!("SELECT CASE state WHEN 'done' THEN 'absent' WHEN 'absent' THEN 'done' ELSE state END FROM ({}) found (state)", probe.sql);
    Probe { sql, cleanup: probe.cleanup.clone() }
}

/// Records where the plan stands now.
async fn settle(context: &mut Context<'_>, to: Option<StageName>, standings: &BTreeMap<u32, Standing>) -> Result<(), Halt> {
    let plan = context.plan;
    let there = |step: &Step| standings.get(&step.number).is_some_and(|standing| standing.state != "pending");
    let Some(to) = to else {
        // Transactions that failed or were cut off left nothing.
        let all: Vec<u32> = plan.steps().map(|(_, step)| step).filter(|step| there(step)).map(|step| step.number).collect();
        ledger::set_undone(context, &all).await?;
        return Ok(ledger::set_state(context, PlanState::RolledBack).await?);
    };
    let (mut steps, staying): (Vec<_>, Vec<_>) = plan.steps().filter(|(_, step)| there(step)).partition(|(stage, _)| *stage > to);
    let undone: Vec<&Step> = steps.iter().map(|(_, step)| *step).collect();
    for (stage, step) in &staying {
        let later: Vec<&Step> = staying.iter().map(|(_, other)| *other).filter(|other| other.number > step.number).collect();
        if is_used_up(step, &later, &undone) && !is_still_there(context, step).await? {
            steps.push((*stage, step));
        }
    }
    let steps: Vec<u32> = steps.iter().map(|(_, step)| step.number).collect();
    ledger::set_undone(context, &steps).await?;
    Ok(ledger::set_state(context, PlanState::Waiting).await?)
}

/// Whether what a step left may have gone with what was made of it and is `undone` now: an index with the constraint,
/// what a proof proved with the NOT NULL. What a `later` step that stays took over is its own.
fn is_used_up(step: &Step, later: &[&Step], undone: &[&Step]) -> bool {
    let takes = |others: &[&Step], id: &Id| others.iter().any(|other| other.takes.contains(id));
    if step.undo == Undo::Nothing && !matches!(step.work, Work::Backfill(_)) {
        let Work::Sql(statements) = &step.work else { return false };
        let speaks = |id: &Id| statements.iter().any(|sql| sql.contains(&quote(id.name())));
        return !later.iter().flat_map(|other| &other.takes).any(speaks);
    }
    step.transaction == Transaction::Outside && step.makes.iter().any(|id| takes(undone, id) && !takes(later, id))
}

/// What the step's own probe says.
async fn is_still_there(context: &mut Context<'_>, step: &Step) -> Result<bool, Halt> {
    Ok(step.probe.is_some() && outside::is_done(context, step).await?)
}
