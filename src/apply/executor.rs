//! Runs a plan from where the ledger says it stands.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::context::{self, Context};
use super::crash::{Moment, Point, point};
use super::error::ApplyError;
use super::event::{Event, Options, Outcome, WaitingFor};
use super::halt::Halt;
use super::ledger::{self, PlanState};
use super::preflight::Looks;
use super::reconnect::{Losses, reconnect};
use super::{backfill, gate, lock, outside, policies, transactional};
use crate::pg::{Session, Target, connect};
use crate::plan::plan::{Gate, Stage, StageName, Step, Work};
use crate::plan::{Plan, Transaction};

/// Applies `plan` to the database of `session`, as far as `options` say, from where its ledger stands.
///
/// `target` is where `session` is connected to: a second connection looks on. `plan_text` is the whole plan file, kept
/// in the ledger so that the plan can be resumed without the file; `hash` is the hash by which an edited plan is
/// recognised. Stale plans are the caller's to refuse (see [`super::stale`]), before a plan is begun: once a part of it is
/// applied, the objects that it relies on are as it made them.
///
/// A connection that is lost is made again, for as long as a lock is waited for (`options.retry_for`), and the plan
/// goes on from the ledger; in direct mode there is none, and the loss is an error.
///
/// # Errors
/// See [`ApplyError`]; everything that was committed stays, and the next call goes on from there.
pub async fn apply(
    session: Session,
    target: &Target,
    plan: &Plan,
    plan_text: &str,
    hash: &str,
    options: &Options,
    events: &mut dyn FnMut(Event),
) -> Result<Outcome, ApplyError> {
    let watching = connect(target).await?;
    let mut context = Context::new(session, watching, target, plan, options, events);
    let mut at = plan.steps().next().map_or((StageName::Expand, 0), |(stage, step)| (stage, step.number));
    let mut losses = Losses::default();
    let mut looks = Looks::new(target);
    let result = loop {
        let result = run(&mut context, &mut looks, plan_text, hash, &mut at).await;
        looks.close().await;
        let Err(Halt::Failed(lost @ ApplyError::Lost { .. })) = result else { break result };
        if let Err(halt) = reconnect(&mut context, &mut losses, lost).await {
            break Err(halt);
        }
    };
    if let Err(Halt::Failed(ApplyError::Step(failure))) = &result {
        ledger::step_failed(&context, failure.step, &failure.message).await;
    }
    lock::farewell(context).await;
    match result {
        Ok(outcome) => Ok(outcome),
        Err(Halt::Failed(error)) => Err(error),
        Err(Halt::Interrupted(reason)) => {
            Ok(Outcome::Interrupted { stage: at.0, step: at.1, reason, command: context::command(options, plan) })
        }
    }
}

async fn run(context: &mut Context<'_>, looks: &mut Looks<'_>, text: &str, hash: &str, at: &mut (StageName, u32)) -> Result<Outcome, Halt> {
    lock::acquire(context).await?;
    ledger::check_epoch(context).await?;
    let mut done = BTreeSet::new();
    if context.options.ledger {
        ledger::ensure(context).await?;
        context.epoch = Some(ledger::take_epoch(context).await?);
        ledger::enter(context, text, hash).await?;
        done = ledger::done(context).await?;
    }
    policies::check(context, &done).await?;
    let plan = context.plan;
    for stage in &plan.stages {
        let left = stage.steps.iter().filter(|step| !done.contains(&step.number)).count();
        if left > 0
            && let Some(reason) = barrier(stage.name, context).await?
        {
            ledger::set_state(context, PlanState::Waiting).await?;
            return Ok(Outcome::Waiting { stage: stage.name, reason });
        }
        run_stage(context, looks, stage, left, &done, at).await?;
    }
    ledger::set_state(context, PlanState::Done).await?;
    Ok(Outcome::Done)
}

/// What keeps us from entering a stage. Where that is contract, it is looked at once who is still there: the first look
/// starts the clock.
async fn barrier(stage: StageName, context: &Context<'_>) -> Result<Option<WaitingFor>, ApplyError> {
    let options = context.options;
    let gates: Vec<Gate> = context.plan.gate.iter().chain(&options.gates).cloned().collect();
    if stage != StageName::Contract {
        return Ok((stage > options.through).then_some(WaitingFor::Through));
    }
    let look = gate::look(context.watcher(), context.plan, &gates).await;
    let evidence = look.map_err(|error| context.query_error("looking whether the old clients are gone", &error))?;
    Ok(if stage > options.through {
        Some(WaitingFor::Through)
    } else if options.confirm_old_clients_gone {
        None
    } else if gates.is_empty() {
        Some(WaitingFor::OldClientsGone)
    } else {
        (!evidence.unmet.is_empty()).then_some(WaitingFor::Gate(evidence.unmet))
    })
}

async fn run_stage(
    context: &mut Context<'_>,
    looks: &mut Looks<'_>,
    stage: &Stage,
    left: usize,
    done: &BTreeSet<u32>,
    at: &mut (StageName, u32),
) -> Result<(), Halt> {
    if left > 0 {
        ledger::set_state(context, PlanState::Running).await?;
        if context.stage != Some(stage.name) {
            context.emit(Event::StageStarted { stage: stage.name, steps: left });
            context.stage = Some(stage.name);
        }
    }
    for step in &stage.steps {
        if done.contains(&step.number) {
            skip(context, step);
            continue;
        }
        *at = (stage.name, step.number);
        context.check_stop()?;
        looks.before(context, stage.name, step, done).await?;
        run_step(context, stage.name, step).await?;
    }
    if context.stage == Some(stage.name) {
        context.emit(Event::StageDone { stage: stage.name });
    }
    Ok(())
}

/// Tells of a step that the ledger has as done.
fn skip(context: &mut Context<'_>, step: &Step) {
    let (number, title) = (step.number, step.title.clone());
    match context.under_way.take_if(|(under_way, _)| *under_way == number) {
        // The connection was lost behind its commit.
        Some((_, begun)) => {
            context.finished += 1;
            context.emit(Event::StepDone { number, title, elapsed: begun.elapsed(), waited: Duration::ZERO });
        }
        None if context.former.is_none() => context.emit(Event::StepSkipped { number, title }),
        // It was told before the connection was lost.
        None => {}
    }
}

async fn run_step(context: &mut Context<'_>, stage: StageName, step: &Step) -> Result<(), Halt> {
    point(Point::Step(step.number, Moment::Before));
    context.check_watcher("the second connection looked on").await?;
    let begun = context.under_way.filter(|(under_way, _)| *under_way == step.number).map_or_else(Instant::now, |(_, begun)| begun);
    context.under_way = Some((step.number, begun));
    let attempt = ledger::step_started(context, step).await?;
    context.emit(Event::StepStarted { stage, number: step.number, title: step.title.clone(), attempt });
    context.in_step = true;
    let waited = match (&step.work, step.transaction) {
        (Work::Backfill(backfill), _) => backfill::run(context, step, backfill).await?,
        (Work::Sql(statements), Transaction::Outside) => outside::run(context, step, statements).await?,
        // What CommitAfter makes is used by a later step, which is another transaction anyway.
        (Work::Sql(statements), Transaction::Inside | Transaction::CommitAfter) => transactional::run(context, step, statements).await?,
    };
    point(Point::Step(step.number, Moment::After));
    context.under_way = None;
    context.finished += 1;
    context.emit(Event::StepDone { number: step.number, title: step.title.clone(), elapsed: begun.elapsed(), waited });
    Ok(())
}
