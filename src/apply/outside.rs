//! Steps that refuse to run in a transaction (CONCURRENTLY): a state probe tells what became of them.

use std::time::Duration;

use super::context::Context;
use super::crash::{Moment, Point, point, statement_begins, statement_ended};
use super::error::Kept;
use super::event::Event;
use super::halt::Halt;
use super::lock::{self, first_value};
use super::retry::Tries;
use super::transactional::{Cause, Fault, failure, gave_up, record, rollback, verify};
use crate::plan::op::Probe;
use crate::plan::plan::Step;

/// How long a statement may run before we look whom it waits for.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a probe found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Done,
    Leftover,
    Absent,
}

/// Runs a step outside transactions; gives the time that it waited for locks.
pub(super) async fn run(context: &mut Context<'_>, step: &Step, statements: &[String]) -> Result<Duration, Halt> {
    // A lock timeout would abort the waits of CONCURRENTLY and leave an INVALID index: it has a deadline instead.
    let settings = format!("SET lock_timeout = 0; SET statement_timeout = {}", context.options.outside_deadline.as_millis().max(1));
    if let Err(error) = context.ddl().batch_execute(&settings).await {
        return Err(Fault::server(&settings, error).into_halt(context, step, Kept::Nothing));
    }
    let result = tries(context, step, statements).await;
    let settings = format!("SET lock_timeout = {}; SET statement_timeout = 0", lock::OWN_LOCK_TIMEOUT.as_millis());
    let _ = context.ddl().batch_execute(&settings).await;
    let waited = result?;
    point(Point::Step(step.number, Moment::Middle));
    if let Err(fault) = record(context, step, waited).await {
        rollback(context).await;
        let state = "The step itself is done, only its row in the ledger is not; the next run sees that.".to_owned();
        return Err(fault.into_halt(context, step, Kept::State(state)));
    }
    Ok(waited)
}

async fn tries(context: &mut Context<'_>, step: &Step, statements: &[String]) -> Result<Duration, Halt> {
    let mut tries = Tries::new(context.options.lock_timeout, context.options.retry_for);
    let mut waited = Duration::ZERO;
    loop {
        fence(context, step).await?;
        // The probe tells of the first statement; those behind it (comments, statistics of what it made) may run twice.
        let left = match prepare(context, step).await? {
            State::Done => statements.get(1..).unwrap_or_default(),
            State::Leftover | State::Absent => statements,
        };
        let Err((executed, mut fault)) = execute(context, step, left, &mut waited).await else { break };
        let executed = executed + statements.len() - left.len();
        let kept = settle(context, step, &fault, executed, statements.len()).await;
        if !fault.is_retryable() {
            return Err(fault.into_halt(context, step, kept));
        }
        let blockers = std::mem::take(&mut fault.blockers);
        let Some(sleep) = tries.again(&mut context.jitter) else {
            return Err(gave_up(context, step, fault, &tries, &blockers, kept));
        };
        context.emit(Event::LockWait { number: step.number, failed: tries.failed, blockers, next_try: Some(sleep) });
        context.sleep(sleep).await?;
    }
    let done = "Its statements were executed and stay.".to_owned();
    if let Err(fault) = verify(context, step).await {
        return Err(fault.into_halt(context, step, Kept::State(done)));
    }
    if let Some(probe) = &step.probe
        && look(context, step, probe).await? != State::Done
    {
        let message = "its statements succeeded, but its probe does not see what they should have made".to_owned();
        return Err(failure(context, step, Some(probe.sql.clone()), message, Kept::State(done)));
    }
    Ok(waited)
}

async fn fence(context: &Context<'_>, step: &Step) -> Result<(), Halt> {
    let sql = context.fence_sql();
    let answer = context.ddl().simple_query(&sql).await;
    let answer = answer.map_err(|error| Fault::server("looking for the applier's lock", error).into_halt(context, step, Kept::Nothing))?;
    Ok(Context::check_fence(&answer)?)
}

/// Whether the probe of a step sees it as done, what is half done taken away (or brought to its end) before.
pub(super) async fn is_done(context: &mut Context<'_>, step: &Step) -> Result<bool, Halt> {
    let settings = |timeout: Duration| format!("SET lock_timeout = {}", timeout.as_millis().max(1));
    let brief = settings(context.options.lock_timeout);
    if let Err(error) = context.ddl().batch_execute(&brief).await {
        return Err(Fault::server(&brief, error).into_halt(context, step, Kept::Nothing));
    }
    fence(context, step).await?;
    let state = prepare(context, step).await;
    let _ = context.ddl().batch_execute(&settings(lock::OWN_LOCK_TIMEOUT)).await;
    Ok(state? == State::Done)
}

/// Looks what an earlier try left, and takes away what is half done.
async fn prepare(context: &mut Context<'_>, step: &Step) -> Result<State, Halt> {
    let Some(probe) = &step.probe else { return Ok(State::Absent) };
    let state = look(context, step, probe).await?;
    if state != State::Leftover {
        return Ok(state);
    }
    context.emit(Event::Notice(format!("step {}: an earlier try left it half done; that is cleared up first", step.number)));
    let mut tries = Tries::new(context.options.lock_timeout, context.options.retry_for);
    while let Err(fault) = clean_up(context, probe).await {
        let kept = Kept::State("What an earlier try left half done could not be taken away.".to_owned());
        if !fault.is_retryable() {
            return Err(fault.into_halt(context, step, kept));
        }
        let Some(sleep) = tries.again(&mut context.jitter) else {
            return Err(gave_up(context, step, fault, &tries, &[], kept));
        };
        context.emit(Event::LockWait { number: step.number, failed: tries.failed, blockers: Vec::new(), next_try: Some(sleep) });
        context.sleep(sleep).await?;
    }
    // Half a DETACH CONCURRENTLY can only be finished: then it is done.
    look(context, step, probe).await
}

async fn look(context: &Context<'_>, step: &Step, probe: &Probe) -> Result<State, Halt> {
    let unknown = || Kept::State("What state it is in could not be found out.".to_owned());
    let answer = match context.ddl().simple_query(&probe.sql).await {
        Ok(answer) => answer,
        Err(error) => return Err(Fault::server(&probe.sql, error).into_halt(context, step, unknown())),
    };
    match first_value(&answer) {
        Some("done") => Ok(State::Done),
        Some("leftover") => Ok(State::Leftover),
        Some("absent") => Ok(State::Absent),
        other => {
            let message = format!("its probe gave {} instead of done, absent or leftover", other.unwrap_or("NULL"));
            Err(failure(context, step, Some(probe.sql.clone()), message, unknown()))
        }
    }
}

async fn clean_up(context: &Context<'_>, probe: &Probe) -> Result<(), Fault> {
    for sql in &probe.cleanup {
        context.ddl().simple_query(sql).await.map_err(|error| Fault::server(sql, error))?;
    }
    Ok(())
}

/// Each statement alone; on failure with the number of those that succeeded before it.
async fn execute(context: &mut Context<'_>, step: &Step, statements: &[String], waited: &mut Duration) -> Result<(), (usize, Fault)> {
    for (executed, sql) in statements.iter().enumerate() {
        let number = step.number;
        statement_begins();
        let watched = context
            .watched(sql, PATIENCE, None, |emit, blockers| {
                emit(Event::LockWait { number, failed: 0, blockers: blockers.to_vec(), next_try: None });
            })
            .await;
        *waited += watched.waited;
        if let Err(error) = watched.result {
            let fault = Fault { statement: Some(sql.clone()), cause: Cause::Server(error), blockers: watched.blockers };
            return Err((executed, fault));
        }
        statement_ended();
    }
    Ok(())
}

/// After a failure: an INVALID index costs every write and may refuse some, so it does not stay until the next run.
async fn settle(context: &Context<'_>, step: &Step, fault: &Fault, executed: usize, of: usize) -> Kept {
    if context.session.is_closed() {
        return Kept::State("The next run looks what became of it.".to_owned());
    }
    let partly = || match executed {
        0 => Kept::Nothing,
        _ => Kept::State(format!("It runs outside a transaction: the first {executed} of its {of} statements were executed and stay.")),
    };
    let Some(probe) = &step.probe else { return partly() };
    match look(context, step, probe).await {
        Ok(State::Leftover) => match clean_up(context, probe).await {
            Ok(()) => Kept::CleanedUp,
            Err(second) => Kept::State(format!(
                "It is half done, and taking that away failed too ({}); the next run tries it again.",
                second.message()
            )),
        },
        Ok(State::Done) => Kept::State("Its probe sees it as done; the next run goes on behind it.".to_owned()),
        Ok(State::Absent) => partly(),
        Err(_) => Kept::State(format!("What state it is in could not be found out after: {}", fault.message())),
    }
}
