//! Steps that refuse to run in a transaction (CONCURRENTLY): a state probe tells what became of them.

use std::time::{Duration, Instant};

use super::context::{Context, Stop};
use super::crash::{Moment, Point, point, statement_begins, statement_ended};
use super::error::Kept;
use super::event::Event;
use super::halt::Halt;
use super::lock::{self, first_value};
use super::retry::Tries;
use super::transactional::{Cause, Fault, failure, gave_up, make_way, record, rollback, verify};
use crate::pg::blockers::Blocker;
use crate::plan::op::{LockMode, Probe};
use crate::plan::plan::Step;

/// How long a statement may run before we look whom it waits for.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long to try to take away what a failed statement left: whoever it waited for may still be there.
const SETTLING: Duration = Duration::from_mins(1);
/// The shortest limit: zero is none.
const SHORTEST: Duration = Duration::from_millis(1);
/// The longest time that PostgreSQL's settings take, in milliseconds.
const LONGEST_SETTING: u128 = i32::MAX as u128;

/// `lock_timeout` and `statement_timeout` of what follows, in the session.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Zero: none.
    lock: Duration,
    /// Zero: none.
    whole: Duration,
}

impl Limits {
    const fn own() -> Self {
        Self { lock: lock::OWN_LOCK_TIMEOUT, whole: Duration::ZERO }
    }

    /// Of a step's own statements. A lock timeout would abort the waits of CONCURRENTLY and leave an INVALID index, and nobody
    /// queues behind them: it has a deadline instead. DETACH CONCURRENTLY ends with a lock on the partition behind which
    /// everybody queues; cut off before it, it is finished by its cleanup.
    fn of(step: &Step, tries: &Tries, deadline: Duration) -> Self {
        let lock = if makes_queues(step) { tries.lock_timeout().max(SHORTEST) } else { Duration::ZERO };
        Self { lock, whole: deadline.max(SHORTEST) }
    }

    /// Of taking away what is half done. FINALIZE takes its lock first and then waits for old snapshots: as a whole it may
    /// take no longer than any locking step. DROP INDEX CONCURRENTLY only waits.
    fn of_cleanup(step: &Step, tries: &Tries, bound: Duration) -> Self {
        let (lock, whole) =
            if makes_queues(step) { (tries.lock_timeout().max(SHORTEST), tries.deadline().min(bound)) } else { (Duration::ZERO, bound) };
        Self { lock, whole: whole.max(SHORTEST) }
    }

    async fn set(self, context: &Context<'_>) -> Result<(), Fault> {
        let Self { lock, whole } = self;
        // Less than a millisecond would be none at all.
        let millis = |duration: Duration| if duration.is_zero() { 0 } else { duration.as_millis().clamp(1, LONGEST_SETTING) };
        let sql = format!("SET lock_timeout = {}; SET statement_timeout = {}", millis(lock), millis(whole));
        context.ddl().batch_execute(&sql).await.map_err(|error| Fault::server(&sql, error))
    }
}

/// Whether clients that read or write wait behind its locks.
fn makes_queues(step: &Step) -> bool {
    step.locks.iter().any(|lock| lock.mode > LockMode::ShareUpdateExclusive)
}

/// What a probe found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Done,
    Leftover,
    Absent,
}

/// Runs a step outside transactions; gives the time that it waited for locks.
pub(super) async fn run(context: &mut Context<'_>, step: &Step, statements: &[String]) -> Result<Duration, Halt> {
    let result = tries(context, step, statements).await;
    let _ = Limits::own().set(context).await;
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
    let deadline = context.options.outside_deadline;
    loop {
        fence(context, step).await?;
        // The probe tells of the first statement; those behind it (comments, statistics of what it made) may run twice.
        let left = match prepare(context, step).await? {
            State::Done => statements.get(1..).unwrap_or_default(),
            State::Leftover | State::Absent => statements,
        };
        if makes_queues(step) && !left.is_empty() {
            make_way(context, step, &tries).await?;
        }
        if let Err(fault) = Limits::of(step, &tries, deadline).set(context).await {
            return Err(fault.into_halt(context, step, Kept::Nothing));
        }
        let begun = Instant::now();
        let Err((executed, mut fault)) = execute(context, step, left, &mut waited).await else { break };
        let executed = executed + statements.len() - left.len();
        let cancelled = fault.is_cancelled();
        if cancelled && begun.elapsed() >= deadline {
            fault.cause = Cause::Deadline(deadline);
        }
        let kept = settle(context, step, &fault, executed, statements.len()).await;
        if cancelled && let Err(Halt::Interrupted(reason)) = context.check_stop() {
            return Err(Halt::Interrupted(format!("{reason}, while it waited for other sessions. {kept}")));
        }
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
    fence(context, step).await?;
    let state = prepare(context, step).await;
    let _ = Limits::own().set(context).await;
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
    let bound = context.options.retry_for;
    while let Err(mut fault) = clean_up(context, step, probe, &tries, bound).await {
        let kept = Kept::State("What an earlier try left half done could not be taken away.".to_owned());
        if fault.is_cancelled() {
            context.check_stop()?;
            fault.cause = Cause::Deadline(Limits::of_cleanup(step, &tries, bound).whole);
        }
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

async fn clean_up(context: &mut Context<'_>, step: &Step, probe: &Probe, tries: &Tries, bound: Duration) -> Result<(), Fault> {
    Limits::of_cleanup(step, tries, bound).set(context).await?;
    let mut waited = Duration::ZERO;
    for sql in &probe.cleanup {
        waiting(context, step.number, sql, &mut waited).await?;
    }
    Ok(())
}

/// One statement; whoever it waits for is told. While it does, it gives way when the run is asked to stop.
async fn waiting(context: &mut Context<'_>, number: u32, sql: &str, waited: &mut Duration) -> Result<(), Fault> {
    let told = |emit: &mut dyn FnMut(Event), blockers: &[Blocker]| {
        emit(Event::LockWait { number, failed: 0, blockers: blockers.to_vec(), next_try: None });
    };
    let watched = context.watch(sql, PATIENCE, None, Stop::GivesWay, told).await;
    *waited += watched.waited;
    let fault = |error| Fault { statement: Some(sql.to_owned()), cause: Cause::Server(error), blockers: watched.blockers };
    watched.result.map(drop).map_err(fault)
}

/// Each statement alone; on failure with the number of those that succeeded before it.
async fn execute(context: &mut Context<'_>, step: &Step, statements: &[String], waited: &mut Duration) -> Result<(), (usize, Fault)> {
    for (executed, sql) in statements.iter().enumerate() {
        statement_begins();
        waiting(context, step.number, sql, waited).await.map_err(|fault| (executed, fault))?;
        statement_ended();
    }
    Ok(())
}

/// After a failure: an INVALID index costs every write and may refuse some, so it does not stay until the next run.
async fn settle(context: &mut Context<'_>, step: &Step, fault: &Fault, executed: usize, of: usize) -> Kept {
    if context.session.is_closed() {
        return Kept::State("The next run looks what became of it.".to_owned());
    }
    let partly = || match executed {
        0 => Kept::Nothing,
        _ => Kept::State(format!("It runs outside a transaction: the first {executed} of its {of} statements were executed and stay.")),
    };
    let Some(probe) = &step.probe else { return partly() };
    match look(context, step, probe).await {
        Ok(State::Leftover) => match clean_up(context, step, probe, &Tries::new(context.options.lock_timeout, SETTLING), SETTLING).await {
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
