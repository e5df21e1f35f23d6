//! Runs a plan from where the ledger says it stands.

use std::collections::BTreeSet;
use std::time::Instant;

use super::context::{self, Context};
use super::crash::{Moment, Point, point};
use super::error::ApplyError;
use super::event::{Event, Options, Outcome, WaitingFor};
use super::halt::Halt;
use super::ledger::{self, PlanState};
use super::retry::Jitter;
use super::{backfill, lock, outside, transactional};
use crate::pg::{Session, Target, connect};
use crate::plan::plan::{Stage, StageName, Step, Work};
use crate::plan::{Plan, Transaction};

/// Applies `plan` to the database of `session`, as far as `options` say, from where its ledger stands.
///
/// `target` is where `session` is connected to: a second connection looks on. `plan_text` is the whole plan file, kept
/// in the ledger so that the plan can be resumed without the file; `hash` is the hash by which an edited plan is
/// recognised. Stale plans are the caller's to refuse (see [`super::stale`]), before a plan is begun: once a part of it is
/// applied, the objects that it relies on are as it made them.
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
    let pid = session.backend_pid;
    let mut context = Context {
        session,
        watching,
        pid,
        plan,
        options,
        events,
        epoch: None,
        begun: Instant::now(),
        jitter: Jitter::seeded(),
        batches: 0,
        record: ledger::Record::Done,
    };
    let mut at = plan.steps().next().map_or((StageName::Expand, 0), |(stage, step)| (stage, step.number));
    let result = run(&mut context, plan_text, hash, &mut at).await;
    if let Err(Halt::Failed(ApplyError::Step(failure))) = &result {
        ledger::step_failed(&context, failure.step, &failure.message).await;
    }
    lock::release(&context).await;
    let Context { session, watching, .. } = context;
    // Whoever comes next must not meet our locks.
    session.close().await;
    watching.close().await;
    match result {
        Ok(outcome) => Ok(outcome),
        Err(Halt::Failed(error)) => Err(error),
        Err(Halt::Interrupted(reason)) => {
            Ok(Outcome::Interrupted { stage: at.0, step: at.1, reason, command: context::command(options, plan) })
        }
    }
}

async fn run(context: &mut Context<'_>, text: &str, hash: &str, at: &mut (StageName, u32)) -> Result<Outcome, Halt> {
    lock::acquire(context).await?;
    let mut done = BTreeSet::new();
    if context.options.ledger {
        ledger::ensure(context).await?;
        context.epoch = Some(ledger::take_epoch(context).await?);
        ledger::enter(context, text, hash).await?;
        done = ledger::done(context).await?;
    }
    let plan = context.plan;
    for stage in &plan.stages {
        let left = stage.steps.iter().filter(|step| !done.contains(&step.number)).count();
        if left > 0
            && let Some(reason) = barrier(stage.name, context.options)
        {
            ledger::set_state(context, PlanState::Waiting).await?;
            return Ok(Outcome::Waiting { stage: stage.name, reason });
        }
        run_stage(context, stage, left, &done, at).await?;
    }
    ledger::set_state(context, PlanState::Done).await?;
    Ok(Outcome::Done)
}

/// What keeps us from entering a stage.
fn barrier(stage: StageName, options: &Options) -> Option<WaitingFor> {
    if stage > options.through {
        Some(WaitingFor::Through)
    } else if stage == StageName::Contract && !options.confirm_old_clients_gone {
        Some(WaitingFor::OldClientsGone)
    } else {
        None
    }
}

async fn run_stage(
    context: &mut Context<'_>,
    stage: &Stage,
    left: usize,
    done: &BTreeSet<u32>,
    at: &mut (StageName, u32),
) -> Result<(), Halt> {
    if left > 0 {
        ledger::set_state(context, PlanState::Running).await?;
        context.emit(Event::StageStarted { stage: stage.name, steps: left });
    }
    for step in &stage.steps {
        if done.contains(&step.number) {
            context.emit(Event::StepSkipped { number: step.number, title: step.title.clone() });
            continue;
        }
        *at = (stage.name, step.number);
        context.check_stop()?;
        run_step(context, stage.name, step).await?;
    }
    if left > 0 {
        context.emit(Event::StageDone { stage: stage.name });
    }
    Ok(())
}

async fn run_step(context: &mut Context<'_>, stage: StageName, step: &Step) -> Result<(), Halt> {
    point(Point::Step(step.number, Moment::Before));
    let begun = Instant::now();
    let attempt = ledger::step_started(context, step).await?;
    context.emit(Event::StepStarted { stage, number: step.number, title: step.title.clone(), attempt });
    let waited = match (&step.work, step.transaction) {
        (Work::Backfill(backfill), _) => backfill::run(context, step, backfill).await?,
        (Work::Sql(statements), Transaction::Outside) => outside::run(context, step, statements).await?,
        // What CommitAfter makes is used by a later step, which is another transaction anyway.
        (Work::Sql(statements), Transaction::Inside | Transaction::CommitAfter) => transactional::run(context, step, statements).await?,
    };
    point(Point::Step(step.number, Moment::After));
    context.emit(Event::StepDone { number: step.number, title: step.title.clone(), elapsed: begun.elapsed(), waited });
    Ok(())
}
