//! One step on the clone, watched.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio_postgres::SimpleQueryMessage;

use super::RehearseError;
use super::look::{self, Messages, Relations, Statement, Watch};
use crate::catalog::id::literal;
use crate::pg::{Session, SessionError, explain};
use crate::plan::Transaction;
use crate::plan::op::LockMode;
use crate::plan::plan::{Part, Step, Undo, Work};
use crate::plan::rehearsal::Measured;

/// How often a statement outside a transaction is looked at.
const POLL: Duration = Duration::from_micros(300);

/// As `apply` does; the server tells what it scans, builds and writes again; what an index could answer
/// is not read as a whole only because there are few rows here.
pub(super) const SETTINGS: &str =
    "RESET ALL; SET check_function_bodies = off; SET client_min_messages = debug1; SET enable_seqscan = off; SET jit = off";

/// The three connections of a measured run.
pub(super) struct Sessions {
    /// Runs the steps.
    pub(super) ddl: Session,
    /// Looks on.
    pub(super) watcher: Session,
    /// A client that writes while statements outside a transaction run: they wait for it, and can be seen waiting.
    pub(super) client: Session,
}

/// What is known of the clone before the plan.
pub(super) struct Start {
    pub(super) relations: Relations,
    /// Rows by table.
    pub(super) rows: BTreeMap<i64, i64>,
}

/// The statements of a step; a backfill as one.
pub(super) fn statements(step: &Step) -> Vec<String> {
    match &step.work {
        Work::Sql(statements) => statements.clone(),
        Work::Backfill(backfill) => {
            let settings =
                backfill.settings.iter().map(|(name, value)| format!("SELECT set_config({}, {}, true)", literal(name), literal(value)));
            settings.chain([backfill.whole()]).collect()
        }
    }
}

fn is_outside(step: &Step) -> bool {
    step.transaction == Transaction::Outside && matches!(step.work, Work::Sql(_))
}

/// Runs a step and measures it.
pub(super) async fn measured(sessions: &Sessions, start: &Start, step: &Step) -> Result<Measured, RehearseError> {
    let before = look::relations(sessions.ddl.client()).await?;
    let messages = Messages::of(&sessions.ddl);
    let mut watch = Watch::new(&start.relations, &before, &start.rows, !is_outside(step));
    let begun = Instant::now();
    let (mut rows, mut looking) = (0, Duration::ZERO);
    let list = statements(step);
    if is_outside(step) {
        for statement in &list {
            outside(sessions, step, statement, &messages, &mut watch).await.map_err(|error| failed(step, statement, &error))?;
        }
    } else {
        let ddl = sessions.ddl.client();
        ddl.batch_execute("BEGIN").await.map_err(SessionError::from)?;
        let mut scanned = look::scanned(ddl).await?;
        for statement in &list {
            messages.take();
            let answer = ddl.simple_query(statement).await.map_err(|error| failed(step, statement, &error))?;
            // Before the update of a backfill stand its settings.
            if matches!(step.work, Work::Backfill(_)) {
                rows = written(&answer);
            }
            let pause = Instant::now();
            let said = messages.take();
            let (locks, _) = look::locks(sessions.watcher.client(), sessions.ddl.backend_pid).await?;
            let now = look::scanned(ddl).await?;
            let new = now.iter().map(|(oid, read)| (*oid, read - scanned.get(oid).copied().unwrap_or(0))).collect();
            let relations = look::relations(ddl).await?;
            let keys = keys(&said, ddl).await?;
            watch.statement(&Statement { locks, relations, messages: said, scanned: new, keys });
            scanned = now;
            looking += pause.elapsed();
        }
        verify(&sessions.ddl, step).await?;
        ddl.batch_execute("COMMIT").await.map_err(|error| failed(step, "COMMIT", &error))?;
    }
    let millis = begun.elapsed().saturating_sub(looking).as_millis();
    if is_outside(step) {
        verify(&sessions.ddl, step).await?;
    }
    let after = look::relations(sessions.ddl.client()).await?;
    Ok(Measured { step: step.number, millis: u64::try_from(millis).unwrap_or(u64::MAX), rows, seen: watch.done(&after) })
}

/// The tables of the foreign keys that messages name.
async fn keys(messages: &[String], client: &tokio_postgres::Client) -> Result<BTreeMap<String, i64>, SessionError> {
    if !messages.iter().any(|message| message.starts_with("validating foreign key")) {
        return Ok(BTreeMap::new());
    }
    let rows = client.query("SELECT conname::text, conrelid::int8 FROM pg_catalog.pg_constraint WHERE contype = 'f'", &[]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

fn written(answer: &[SimpleQueryMessage]) -> u64 {
    answer.iter().map(|message| if let SimpleQueryMessage::CommandComplete(rows) = message { *rows } else { 0 }).sum()
}

/// Runs a statement outside a transaction while a client holds what a writing client holds on the tables
/// of the step: CONCURRENTLY waits for it, and is looked at meanwhile.
async fn outside(
    sessions: &Sessions,
    step: &Step,
    statement: &str,
    messages: &Messages,
    watch: &mut Watch<'_>,
) -> Result<(), tokio_postgres::Error> {
    let Sessions { ddl, watcher, client } = sessions;
    client.client().batch_execute("BEGIN").await?;
    for lock in &step.locks {
        let relation = crate::catalog::id::qualified(&crate::catalog::id::undotted(&lock.relation));
        // What cannot be locked so (a view) is left.
        let held = format!("SAVEPOINT one; LOCK TABLE {relation} IN ROW EXCLUSIVE MODE");
        if client.client().batch_execute(&held).await.is_err() {
            client.client().batch_execute("ROLLBACK TO one").await?;
        }
    }
    messages.take();
    let run = ddl.client().batch_execute(statement);
    tokio::pin!(run);
    let (mut holds, mut waits) = (true, 0);
    let mut most: BTreeMap<i64, LockMode> = BTreeMap::new();
    let begun = Instant::now();
    let result = loop {
        tokio::select! {
            biased;
            result = &mut run => break result,
            () = tokio::time::sleep(POLL) => {}
        }
        let Ok((locks, waiting)) = look::locks(watcher.client(), ddl.backend_pid).await else { continue };
        for (oid, mode) in locks {
            let entry = most.entry(oid).or_insert(mode);
            *entry = mode.max(*entry);
        }
        waits += u32::from(waiting);
        // Seen waiting more than once, or not at all for long: the client ends its transaction.
        if holds && (waits > 1 || begun.elapsed() > Duration::from_secs(2)) {
            holds = false;
            client.client().batch_execute("COMMIT").await?;
        }
    };
    if holds {
        client.client().batch_execute("COMMIT").await?;
    }
    result?;
    let relations = look::relations(ddl.client()).await.unwrap_or_default();
    watch.statement(&Statement { locks: most, relations, messages: messages.take(), scanned: BTreeMap::new(), keys: BTreeMap::new() });
    Ok(())
}

/// Runs a step without looking.
pub(super) async fn plain(session: &Session, step: &Step) -> Result<(), RehearseError> {
    all(session, step, &statements(step), !is_outside(step)).await?;
    verify(session, step).await
}

/// Undoes a step; `false`: the plan says that it cannot be.
pub(super) async fn undo(session: &Session, step: &Step) -> Result<bool, RehearseError> {
    if step.undo == Undo::Impossible {
        return Ok(false);
    }
    if let (true, Some(probe)) = (is_outside(step), &step.probe) {
        // As `rollback` does: what went with a later step's undo (an index with its constraint) is gone already.
        let answer = session.client().simple_query(&probe.sql).await.map_err(|error| failed(step, &probe.sql, &error))?;
        if first(&answer) == Some("absent") {
            return Ok(true);
        }
    }
    for part in step.undo.parts(is_outside(step)) {
        match part {
            Part::Inside(statements) => all(session, step, &statements, true).await?,
            Part::Outside(statements) => all(session, step, &statements, false).await?,
        }
    }
    Ok(true)
}

/// Runs statements, in one transaction if `inside`. Roles that a scratch server does not have are made.
async fn all(session: &Session, step: &Step, statements: &[String], inside: bool) -> Result<(), RehearseError> {
    let client = session.client();
    for _ in 0..64 {
        let mut fault = None;
        if inside {
            client.batch_execute("BEGIN").await.map_err(SessionError::from)?;
        }
        for statement in statements {
            if let Err(error) = client.batch_execute(statement).await {
                fault = Some((statement.as_str(), error));
                break;
            }
        }
        if inside {
            let end = if fault.is_some() { "ROLLBACK" } else { "COMMIT" };
            if let Err(error) = client.batch_execute(end).await {
                fault = Some(("COMMIT", error));
            }
        }
        let Some((statement, error)) = fault else { return Ok(()) };
        if !crate::engine::fill::provide_for(session, &error).await {
            return Err(failed(step, statement, &error));
        }
    }
    Err(RehearseError::Step {
        number: step.number,
        title: step.title.clone(),
        statement: String::new(),
        message: "it asks for ever more roles".to_owned(),
    })
}

async fn verify(session: &Session, step: &Step) -> Result<(), RehearseError> {
    for verify in &step.verify {
        let answer = session.client().simple_query(&verify.sql).await.map_err(|error| failed(step, &verify.sql, &error))?;
        let found = first(&answer).unwrap_or("NULL");
        if found != verify.expect {
            return Err(RehearseError::Step {
                number: step.number,
                title: step.title.clone(),
                statement: verify.sql.clone(),
                message: format!("its check gave {found} and must give {}", verify.expect),
            });
        }
    }
    Ok(())
}

/// The value of the first row.
fn first(answer: &[SimpleQueryMessage]) -> Option<&str> {
    answer.iter().find_map(|message| if let SimpleQueryMessage::Row(row) = message { row.get(0) } else { None })
}

fn failed(step: &Step, statement: &str, error: &tokio_postgres::Error) -> RehearseError {
    RehearseError::Step { number: step.number, title: step.title.clone(), statement: statement.to_owned(), message: explain(error) }
}
