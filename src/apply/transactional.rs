//! Steps that are one transaction: their effect and their ledger row are kept together, or neither is.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use tokio_postgres::error::SqlState;

use super::blockers::holders;
use super::context::{Context, Stop};
use super::crash::{Moment, Point, point, record_begins, record_ended};
use super::error::{ApplyError, Kept, StepFailure};
use super::event::Event;
use super::halt::Halt;
use super::ledger;
use super::lock::first_value;
use super::retry::Tries;
use crate::catalog::id::literal;
use crate::pg::blockers::Blocker;
use crate::pg::{explain, is_connection_lost};
use crate::plan::op::{Cost, Verify};
use crate::plan::plan::Step;

/// How long a transaction of ours may hold its locks while this process does nothing (it was suspended, say).
pub(super) const IDLE_LIMIT: Duration = Duration::from_secs(10);

/// Why a try failed.
pub(super) struct Fault {
    pub(super) statement: Option<String>,
    pub(super) cause: Cause,
    pub(super) blockers: Vec<Blocker>,
}

pub(super) enum Cause {
    Server(tokio_postgres::Error),
    /// The server stopped it, at our wish, when its total time was over.
    Deadline(Duration),
    /// A verify query gave another value.
    Wrong(String),
    Fenced(ApplyError),
}

impl Fault {
    pub(super) fn server(statement: &str, error: tokio_postgres::Error) -> Self {
        Self { statement: Some(statement.to_owned()), cause: Cause::Server(error), blockers: Vec::new() }
    }

    pub(super) fn is_retryable(&self) -> bool {
        match &self.cause {
            Cause::Server(error) => error.code().is_some_and(is_transient),
            Cause::Deadline(_) => true,
            Cause::Wrong(_) | Cause::Fenced(_) => false,
        }
    }

    /// Whether the statement was stopped from outside, or ran into its timeout.
    pub(super) fn is_cancelled(&self) -> bool {
        matches!(&self.cause, Cause::Server(error) if error.code() == Some(&SqlState::QUERY_CANCELED))
    }

    pub(super) fn message(&self) -> String {
        match &self.cause {
            Cause::Server(error) => explain(error),
            Cause::Deadline(limit) => {
                format!("it took longer than {:.1} s, its limit for waiting and working under its locks", limit.as_secs_f64())
            }
            Cause::Wrong(message) => message.clone(),
            Cause::Fenced(error) => error.to_string(),
        }
    }

    /// The end of the step: sorted into lost, fenced, failed.
    pub(super) fn into_halt(self, context: &Context<'_>, step: &Step, kept: Kept) -> Halt {
        // It was cancelled because the run is to stop.
        if self.is_cancelled()
            && let Err(halt) = context.check_stop()
        {
            return halt;
        }
        let message = self.message();
        match self.cause {
            Cause::Fenced(error) => error.into(),
            Cause::Server(error) if is_connection_lost(&error) || context.session.is_closed() => {
                ApplyError::Lost { doing: format!("step {} ({}) ran", step.number, step.title), cause: message, command: context.command() }
                    .into()
            }
            _ => failure(context, step, self.statement, message, kept),
        }
    }
}

/// Lock timeout, deadlock, serialization failure: the same statements may succeed at another moment.
pub(super) fn is_transient(code: &SqlState) -> bool {
    [SqlState::LOCK_NOT_AVAILABLE, SqlState::T_R_DEADLOCK_DETECTED, SqlState::T_R_SERIALIZATION_FAILURE].contains(code)
}

/// A failure of `step`.
pub(super) fn failure(context: &Context<'_>, step: &Step, statement: Option<String>, message: String, kept: Kept) -> Halt {
    let failure = StepFailure {
        plan: context.plan.name.clone(),
        step: step.number,
        title: step.title.clone(),
        statement,
        message,
        kept,
        command: context.command(),
    };
    ApplyError::Step(Box::new(failure)).into()
}

/// Runs a step in one transaction, again and again until it gets its locks; gives the time that it waited for them.
pub(super) async fn run(context: &mut Context<'_>, step: &Step, statements: &[String]) -> Result<Duration, Halt> {
    let mut tries = Tries::new(context.options.lock_timeout, context.options.retry_for);
    loop {
        make_way(context, step, &tries).await?;
        let mut fault = match attempt(context, step, statements, &tries).await {
            Ok(waited) => return Ok(waited),
            Err(fault) => fault,
        };
        rollback(context).await;
        if fault.is_cancelled()
            && let Err(Halt::Interrupted(reason)) = context.check_stop()
        {
            return Err(Halt::Interrupted(format!("{reason}. What ran was cancelled and left nothing; it begins anew")));
        }
        if !fault.is_retryable() {
            return Err(fault.into_halt(context, step, Kept::Nothing));
        }
        let blockers = std::mem::take(&mut fault.blockers);
        let Some(sleep) = tries.again(&mut context.jitter) else {
            return Err(gave_up(context, step, fault, &tries, &blockers, Kept::Nothing));
        };
        context.emit(Event::LockWait { number: step.number, failed: tries.failed, blockers, next_try: Some(sleep) });
        context.sleep(sleep).await?;
    }
}

/// While somebody holds the table for long, a try would only make others queue behind it: it is not made, and they are named.
pub(super) async fn make_way(context: &mut Context<'_>, step: &Step, tries: &Tries) -> Result<(), Halt> {
    while !step.locks.is_empty() {
        let own = [context.pid, context.watching.backend_pid];
        // Who cannot see tries.
        let holders = holders(context.watcher(), &own, &step.locks).await.unwrap_or_default();
        let sleep = if holders.is_empty() { None } else { tries.look_again(&mut context.jitter) };
        let Some(sleep) = sleep else { break };
        context.emit(Event::LockWait { number: step.number, failed: tries.failed, blockers: holders, next_try: Some(sleep) });
        context.sleep(sleep).await?;
    }
    Ok(())
}

/// The failure of a step that did not get its locks.
pub(super) fn gave_up(context: &Context<'_>, step: &Step, fault: Fault, tries: &Tries, blockers: &[Blocker], kept: Kept) -> Halt {
    let mut message =
        format!("it did not get its locks in {} tries over {} s; at last: {}", tries.failed, tries.elapsed().as_secs(), fault.message());
    for blocker in blockers {
        // Writing to a String cannot fail.
        let _ = write!(message, "\nblocked by {blocker}; it can be ended with: {}", blocker.ended_by());
    }
    failure(context, step, fault.statement, message, kept)
}

pub(super) async fn rollback(context: &Context<'_>) {
    // On a closed connection the server rolls back by itself; outside a transaction it is a warning.
    let _ = context.ddl().batch_execute("ROLLBACK").await;
}

/// Opens a transaction with these bounds and checks that lock and epoch are ours: one round trip.
pub(super) async fn begin(context: &Context<'_>, lock_timeout: Duration, deadline: Option<Duration>) -> Result<(), Fault> {
    // The longest that the settings take.
    let millis = |duration: Duration| duration.as_millis().clamp(1, i32::MAX as u128);
    // Before 17 there is no transaction_timeout; a role may have one.
    let whole = if context.session.server_version >= 170_000 { "SET LOCAL transaction_timeout = 0; " } else { "" };
    let sql = format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = {}; SET LOCAL statement_timeout = {}; SET LOCAL idle_in_transaction_session_timeout = {}; {whole}SET LOCAL schema.plan = {}; {}",
        millis(lock_timeout),
        deadline.map_or(0, millis),
        millis(IDLE_LIMIT),
        literal(if context.options.ledger { &context.plan.name } else { "" }),
        context.fence_sql()
    );
    let answer = context.ddl().simple_query(&sql).await.map_err(|error| Fault::server("BEGIN", error))?;
    Context::check_fence(&answer).map_err(|error| Fault { statement: None, cause: Cause::Fenced(error), blockers: Vec::new() })
}

async fn attempt(context: &mut Context<'_>, step: &Step, statements: &[String], tries: &Tries) -> Result<Duration, Fault> {
    let begun = Instant::now();
    let lock_timeout = tries.lock_timeout_of(step.locks.len());
    // Without a lock on anything that was there before nobody waits for us.
    let instant = !step.locks.is_empty() && step.locks.iter().all(|lock| lock.cost == Cost::Instant);
    let deadline = instant.then(|| tries.deadline());
    begin(context, lock_timeout, deadline).await?;
    // All that went before was for the locks.
    let mut waited = if tries.failed == 0 { Duration::ZERO } else { tries.elapsed() };
    for sql in statements.iter().map(String::as_str).chain(step.verify.iter().map(|verify| verify.sql.as_str())) {
        let left = deadline.map(|deadline| deadline.saturating_sub(begun.elapsed()));
        let checks = step.verify.iter().any(|verify| std::ptr::eq(verify.sql.as_str(), sql));
        // What is over in an instant is not worth undoing; a proof or a build may take hours, and is rolled back as a whole.
        let when_stopped = if checks || !instant { Stop::Cancels } else { Stop::Finishes };
        let watched = context.watch(sql, lock_timeout / 2, left, when_stopped, |_, _| ()).await;
        waited += watched.waited;
        let answer = match watched.result {
            Ok(answer) => answer,
            Err(error) => {
                let cause = match deadline {
                    Some(limit) if error.code() == Some(&SqlState::QUERY_CANCELED) => Cause::Deadline(limit),
                    _ => Cause::Server(error),
                };
                return Err(Fault { statement: Some(sql.to_owned()), cause, blockers: watched.blockers });
            }
        };
        for verify in step.verify.iter().filter(|verify| std::ptr::eq(verify.sql.as_str(), sql)) {
            if let Some(fault) = judge(verify, first_value(&answer)) {
                return Err(fault);
            }
        }
    }
    point(Point::Step(step.number, Moment::Middle));
    ledger::step_done(context, step, waited)
        .await
        .map_err(|error| Fault::server("writing the step's row into schema_ledger.steps", error))?;
    record_begins();
    context.ddl().batch_execute("COMMIT").await.map_err(|error| Fault::server("COMMIT", error))?;
    record_ended();
    Ok(waited)
}

/// Compares what a verify query gave with what it must give.
fn judge(verify: &Verify, found: Option<&str>) -> Option<Fault> {
    let found = found.unwrap_or("NULL");
    if found == verify.expect {
        return None;
    }
    let message = format!("its check gave {found} and must give {}", verify.expect);
    Some(Fault { statement: Some(verify.sql.clone()), cause: Cause::Wrong(message), blockers: Vec::new() })
}

/// Runs verify queries outside a transaction.
pub(super) async fn verify(context: &mut Context<'_>, step: &Step) -> Result<(), Fault> {
    for verify in &step.verify {
        // It only reads, and may read for long.
        let watched = context.watch(&verify.sql, Duration::from_secs(2), None, Stop::Cancels, |_, _| ()).await;
        let answer = watched.result.map_err(|error| Fault::server(&verify.sql, error))?;
        if let Some(fault) = judge(verify, first_value(&answer)) {
            return Err(fault);
        }
    }
    Ok(())
}

/// Records a step whose work is committed already, in a transaction of its own behind the fence.
pub(super) async fn record(context: &Context<'_>, step: &Step, waited: Duration) -> Result<(), Fault> {
    if !context.options.ledger {
        return Ok(());
    }
    record_begins();
    begin(context, Duration::from_secs(10), None).await?;
    let doing = "writing the step's row into schema_ledger.steps";
    ledger::step_done(context, step, waited).await.map_err(|error| Fault::server(doing, error))?;
    context.ddl().batch_execute("COMMIT").await.map_err(|error| Fault::server("COMMIT", error))?;
    record_ended();
    Ok(())
}
