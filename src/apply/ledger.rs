//! What was applied to this database, kept in this database: schema `schema_ledger`.
//!
//! Written under the applier's lock only, but for the `control` of a backfill. [`super::status`] reads it.

use std::time::Duration;

use tokio_postgres::Client;

use super::context::Context;
use super::error::ApplyError;
use crate::plan::plan::{StageName, Step, Work};

/// Each script leads from one format of the ledger to the next; the format is the number of scripts applied.
const SCRIPTS: [&str; 6] = [
    include_str!("ledger.sql"),
    include_str!("ledger_2.sql"),
    include_str!("ledger_3.sql"),
    include_str!("ledger_4.sql"),
    include_str!("ledger_5.sql"),
    include_str!("ledger_6.sql"),
];

/// The newest format that this release knows.
#[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "a handful of scripts")]
pub const FORMAT: i32 = SCRIPTS.len() as i32;

/// The state of a plan on this database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanState {
    /// Steps are being executed, or the applier was stopped or killed while they were.
    Running,
    /// What may run now is done.
    Waiting,
    /// Everything is done.
    Done,
    /// A step failed.
    Failed,
    /// It is being undone, or the one who did it was stopped or killed.
    RollingBack,
    /// It was undone.
    RolledBack,
}

impl PlanState {
    const ALL: [Self; 6] = [Self::Running, Self::Waiting, Self::Done, Self::Failed, Self::RollingBack, Self::RolledBack];

    /// The word in the ledger.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::RollingBack => "rolling-back",
            Self::RolledBack => "rolled-back",
        }
    }

    /// The inverse of [`Self::name`].
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// Makes the ledger, or brings it to our format.
pub(super) async fn ensure(context: &Context<'_>) -> Result<(), ApplyError> {
    let fail = |error| context.query_error("making the ledger (schema_ledger)", &error);
    let client = context.ddl();
    check_rights(context).await?;
    let found = format(client).await.map_err(fail)?;
    if found > FORMAT {
        return Err(ApplyError::NewerLedger { found, known: FORMAT });
    }
    let from = usize::try_from(found).unwrap_or_default();
    for (index, script) in SCRIPTS.iter().enumerate().skip(from) {
        let sql = format!("BEGIN; {script}; UPDATE schema_ledger.format SET format = {}; COMMIT", index + 1);
        if let Err(error) = client.batch_execute(&sql).await {
            // The message of the rollback would hide the one that matters.
            let _ = client.batch_execute("ROLLBACK").await;
            return Err(fail(error));
        }
    }
    Ok(())
}

/// Refuses a ledger that this role may not write: before anything is begun, and with whom to ask.
async fn check_rights(context: &Context<'_>) -> Result<(), ApplyError> {
    let sql = "SELECT current_user::text, pg_catalog.quote_ident(current_user), pg_catalog.pg_get_userbyid(n.nspowner)::text, \
               pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND NOT EXISTS ( \
                 SELECT FROM pg_catalog.pg_class c, pg_catalog.unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) p (privilege) \
                 WHERE c.relnamespace = n.oid AND c.relkind = 'r' AND NOT pg_catalog.has_table_privilege(c.oid, p.privilege)) \
               FROM pg_catalog.pg_namespace n WHERE n.nspname = 'schema_ledger'";
    let read = async {
        let Some(row) = context.ddl().query_opt(sql, &[]).await? else { return Ok(None) };
        let may: bool = row.try_get(3)?;
        Ok(if may { None } else { Some((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?)) })
    };
    let fail = |error: tokio_postgres::Error| context.query_error("looking whose the ledger is", &error);
    if let Some((role, quoted, owner)) = read.await.map_err(fail)? {
        return Err(ApplyError::LedgerDenied { role, quoted, owner });
    }
    let sql = "SELECT pg_catalog.quote_ident(current_user), pg_catalog.quote_ident(d.datname) FROM pg_catalog.pg_database d \
               WHERE d.datname = pg_catalog.current_database() AND NOT pg_catalog.has_database_privilege(d.oid, 'CREATE') \
               AND NOT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = 'schema_ledger')";
    match context.ddl().query_opt(sql, &[]).await.map_err(fail)? {
        None => Ok(()),
        Some(row) => Err(ApplyError::NoLedger { role: row.get(0), database: row.get(1) }),
    }
}

/// The format of the ledger in this database; 0 where there is none.
///
/// # Errors
/// Those of the query.
pub async fn format(client: &Client) -> Result<i32, tokio_postgres::Error> {
    if !is_there(client).await? {
        return Ok(0);
    }
    client.query_one("SELECT format FROM schema_ledger.format", &[]).await?.try_get(0)
}

/// Looked up in the catalog, which asks for no privilege.
async fn is_there(client: &Client) -> Result<bool, tokio_postgres::Error> {
    let sql = "SELECT EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
               WHERE n.nspname = 'schema_ledger' AND c.relname = 'format')";
    client.query_one(sql, &[]).await?.try_get(0)
}

/// How many appliers have been at work on this database; 0 where there is no ledger.
///
/// # Errors
/// Those of the queries.
pub async fn epoch(client: &Client) -> Result<i64, tokio_postgres::Error> {
    if !is_there(client).await? {
        return Ok(0);
    }
    client.query_one("SELECT epoch FROM schema_ledger.applier", &[]).await?.try_get(0)
}

/// Under the lock: whether somebody was at work since the database was looked at.
pub(super) async fn check_epoch(context: &Context<'_>) -> Result<(), ApplyError> {
    // Who comes back after a loss has been at work himself.
    let Some(seen) = context.options.seen_epoch.filter(|_| context.former.is_none()) else { return Ok(()) };
    let now = epoch(context.ddl()).await.map_err(|error| context.query_error("reading the ledger", &error))?;
    if now == seen { Ok(()) } else { Err(ApplyError::Overtaken { command: context.command() }) }
}

/// Becomes the applier: whoever was it before fails its next check.
pub(super) async fn take_epoch(context: &Context<'_>) -> Result<i64, ApplyError> {
    let sql = "UPDATE schema_ledger.applier SET epoch = epoch + 1, pid = pg_catalog.pg_backend_pid(), who = $1, \
               since = pg_catalog.clock_timestamp() RETURNING epoch";
    let row = context.ddl().query_one(sql, &[&context.options.who]).await;
    row.and_then(|row| row.try_get(0)).map_err(|error| context.query_error("writing the applier's epoch", &error))
}

/// Enters the plan, or finds it: refuses one that was edited after a part of it was applied.
pub(super) async fn enter(context: &Context<'_>, text: &str, hash: &str) -> Result<(), ApplyError> {
    let fail = |error| context.query_error("entering the plan into the ledger", &error);
    let (client, plan) = (context.ddl(), context.plan);
    let known = "SELECT p.hash, p.state, (SELECT count(*) FROM schema_ledger.steps s \
                 LEFT JOIN schema_ledger.backfills b ON (b.plan, b.step) = (s.plan, s.number) \
                 WHERE s.plan = p.name AND (s.state = 'done' OR b.cursor IS NOT NULL OR (s.transaction = 'outside' AND s.state <> 'pending'))) \
                 FROM schema_ledger.plans p WHERE p.name = $1";
    let mut fresh = true;
    if let Some(row) = client.query_opt(known, &[&plan.name]).await.map_err(fail)? {
        let applied: String = row.try_get(0).map_err(fail)?;
        let state: String = row.try_get(1).map_err(fail)?;
        let done: i64 = row.try_get(2).map_err(fail)?;
        let rolled_back = state == PlanState::RolledBack.name();
        // A run whose connection was lost does not undo what somebody did meanwhile.
        if rolled_back && (!context.options.again || context.former.is_some()) {
            return Err(ApplyError::RolledBack { plan: plan.name.clone(), command: context.command() });
        }
        if state == PlanState::RollingBack.name() {
            return Err(ApplyError::RollingBack { plan: plan.name.clone(), env: context.options.env.clone() });
        }
        if applied != hash && done > 0 && !rolled_back {
            return Err(ApplyError::Edited { plan: plan.name.clone(), applied, file: hash.to_owned(), done });
        }
        fresh = applied != hash || rolled_back;
    }
    client.batch_execute("BEGIN").await.map_err(fail)?;
    let entered = async {
        if fresh {
            client.execute("DELETE FROM schema_ledger.plans WHERE name = $1", &[&plan.name]).await?;
            let sql = "INSERT INTO schema_ledger.plans (name, hash, text, from_state, to_state, state, who, started) \
                       VALUES ($1, $2, $3, $4, $5, 'running', $6, pg_catalog.clock_timestamp())";
            client.execute(sql, &[&plan.name, &hash, &text, &plan.from.0, &plan.to.0, &context.options.who]).await?;
            for (stage, step) in plan.steps() {
                let sql = "INSERT INTO schema_ledger.steps (plan, number, stage, title, transaction) VALUES ($1, $2, $3, $4, $5)";
                let number = signed(step);
                client.execute(sql, &[&plan.name, &number, &stage.name(), &step.title, &transaction(step)]).await?;
            }
        }
        client.batch_execute("COMMIT").await
    };
    if let Err(error) = entered.await {
        let _ = client.batch_execute("ROLLBACK").await;
        return Err(fail(error));
    }
    Ok(())
}

fn signed(step: &Step) -> i32 {
    i32::try_from(step.number).unwrap_or(i32::MAX)
}

fn transaction(step: &Step) -> &'static str {
    use crate::plan::Transaction::{CommitAfter, Inside, Outside};
    match (&step.work, step.transaction) {
        (Work::Backfill(_), _) => "batches",
        (Work::Sql(_), Inside | CommitAfter) => "inside",
        (Work::Sql(_), Outside) => "outside",
    }
}

/// The numbers of the steps that are done.
pub(super) async fn done(context: &Context<'_>) -> Result<std::collections::BTreeSet<u32>, ApplyError> {
    let sql = "SELECT number FROM schema_ledger.steps WHERE plan = $1 AND state = 'done'";
    let rows = context.ddl().query(sql, &[&context.plan.name]).await.map_err(|error| context.query_error("reading the ledger", &error))?;
    Ok(rows.iter().filter_map(|row| row.try_get::<_, i32>(0).ok()).filter_map(|number| u32::try_from(number).ok()).collect())
}

/// Sets the state of the plan.
pub(super) async fn set_state(context: &Context<'_>, state: PlanState) -> Result<(), ApplyError> {
    if !context.options.ledger {
        return Ok(());
    }
    let sql = "UPDATE schema_ledger.plans SET state = $2, ended = CASE WHEN $2 = 'done' THEN coalesce(ended, pg_catalog.clock_timestamp()) END \
               WHERE name = $1";
    let result = context.ddl().execute(sql, &[&context.plan.name, &state.name()]).await;
    result.map(drop).map_err(|error| context.query_error("recording the state of the plan", &error))
}

/// Says that the plan is rolled back from now on, and how far.
pub(super) async fn set_rolling_back(context: &Context<'_>, to: Option<StageName>) -> Result<(), ApplyError> {
    let sql = "UPDATE schema_ledger.plans SET state = 'rolling-back', back_to = $2, ended = NULL WHERE name = $1";
    let result = context.ddl().execute(sql, &[&context.plan.name, &to.map(StageName::name)]).await;
    result.map(drop).map_err(|error| context.query_error("recording the state of the plan", &error))
}

/// Says that a step begins; the number of this attempt.
pub(super) async fn step_started(context: &Context<'_>, step: &Step) -> Result<i32, ApplyError> {
    if !context.options.ledger {
        return Ok(1);
    }
    let sql = "UPDATE schema_ledger.steps SET state = 'running', attempt = attempt + 1, error = NULL, ended = NULL, \
               started = coalesce(started, pg_catalog.clock_timestamp()) WHERE plan = $1 AND number = $2 RETURNING attempt";
    let row = context.ddl().query_one(sql, &[&context.plan.name, &signed(step)]).await;
    row.and_then(|row| row.try_get(0)).map_err(|error| context.query_error("recording the start of a step", &error))
}

/// Which looks of which steps passed within the last day, by the server's clock.
pub(super) async fn looks(context: &Context<'_>) -> Result<std::collections::BTreeSet<(u32, usize)>, ApplyError> {
    if !context.options.ledger {
        return Ok(std::collections::BTreeSet::new());
    }
    let sql = "SELECT s.number, l.place FROM schema_ledger.steps s, pg_catalog.unnest(s.looks) l (place) WHERE s.plan = $1 \
               AND s.looked BETWEEN pg_catalog.clock_timestamp() - interval '24 hours' AND pg_catalog.clock_timestamp()";
    let read = async {
        let mut found = std::collections::BTreeSet::new();
        for row in context.ddl().query(sql, &[&context.plan.name]).await? {
            let (number, place): (i32, i32) = (row.try_get(0)?, row.try_get(1)?);
            found.insert((number.unsigned_abs(), usize::try_from(place).unwrap_or_default()));
        }
        Ok(found)
    };
    read.await.map_err(|error: tokio_postgres::Error| context.query_error("reading the ledger", &error))
}

/// Records that a look passed; `None`: that rows were found, so that all looks are to be repeated.
pub(super) async fn looked(context: &Context<'_>, passed: Option<(u32, usize)>) -> Result<(), ApplyError> {
    if !context.options.ledger {
        return Ok(());
    }
    let number = |n: u64| i32::try_from(n).unwrap_or(i32::MAX);
    let result = match passed {
        Some((step, place)) => {
            let sql = "UPDATE schema_ledger.steps SET looks = pg_catalog.array_append(pg_catalog.array_remove(looks, $3::int4), $3::int4), \
                       looked = pg_catalog.clock_timestamp() WHERE plan = $1 AND number = $2";
            context.ddl().execute(sql, &[&context.plan.name, &number(step.into()), &number(place as u64)]).await
        }
        None => context.ddl().execute("UPDATE schema_ledger.steps SET looks = '{}' WHERE plan = $1", &[&context.plan.name]).await,
    };
    result.map(drop).map_err(|error| context.query_error("recording what was looked for", &error))
}

/// What the transactions of a run record of their step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// It is done.
    Done,
    /// So many parts of its undo are.
    PartUndone(i32),
    /// It is undone.
    Undone,
}

/// How a step stands in the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) state: String,
    /// Parts of its undo that are committed.
    pub(super) undone: usize,
}

/// How every step of the plan stands; none where the plan is not in the ledger.
pub(super) async fn standings(context: &Context<'_>) -> Result<std::collections::BTreeMap<u32, Standing>, ApplyError> {
    let sql = "SELECT number, state, undone FROM schema_ledger.steps WHERE plan = $1";
    let read = async {
        let mut found = std::collections::BTreeMap::new();
        for row in context.ddl().query(sql, &[&context.plan.name]).await? {
            let standing = Standing { state: row.try_get(1)?, undone: usize::try_from(row.try_get::<_, i32>(2)?).unwrap_or_default() };
            found.insert(row.try_get::<_, i32>(0)?.unsigned_abs(), standing);
        }
        Ok(found)
    };
    read.await.map_err(|error: tokio_postgres::Error| context.query_error("reading the ledger", &error))
}

/// Says of steps that nothing of them is there: they run again with the plan.
pub(super) async fn set_undone(context: &Context<'_>, steps: &[u32]) -> Result<(), ApplyError> {
    let numbers: Vec<i32> = steps.iter().map(|number| i32::try_from(*number).unwrap_or(i32::MAX)).collect();
    let sql = "UPDATE schema_ledger.steps SET state = 'undone', ended = pg_catalog.clock_timestamp(), error = NULL, looks = '{}' \
               WHERE plan = $1 AND number = ANY ($2) AND state <> 'pending'";
    let result = context.ddl().execute(sql, &[&context.plan.name, &numbers]).await;
    result.map(drop).map_err(|error| context.query_error("recording what is undone", &error))
}

/// Says of every step, and of the plan, that it is done; in one transaction.
pub(super) async fn all_done(context: &Context<'_>) -> Result<(), ApplyError> {
    let sql = "WITH steps AS (UPDATE schema_ledger.steps SET state = 'done', error = NULL, started = coalesce(started, pg_catalog.clock_timestamp()), \
               ended = coalesce(ended, pg_catalog.clock_timestamp()) WHERE plan = $1) \
               UPDATE schema_ledger.plans SET state = 'done', ended = coalesce(ended, pg_catalog.clock_timestamp()) WHERE name = $1";
    let result = context.ddl().execute(sql, &[&context.plan.name]).await;
    result.map(drop).map_err(|error| context.query_error("marking the plan as done", &error))
}

/// Records why the undo of a step failed, as far as the connection still allows it.
pub(super) async fn undo_failed(context: &Context<'_>, number: u32, message: &str) {
    let number = i32::try_from(number).unwrap_or(i32::MAX);
    let sql = "UPDATE schema_ledger.steps SET error = $3 WHERE plan = $1 AND number = $2";
    // The failure itself is reported either way.
    let _ = context.ddl().execute(sql, &[&context.plan.name, &number, &message]).await;
}

async fn step_undone(context: &Context<'_>, step: &Step, parts: Option<i32>) -> Result<(), tokio_postgres::Error> {
    let number = signed(step);
    let Some(parts) = parts else {
        let sql = "UPDATE schema_ledger.steps SET state = 'undone', undone = 0, ended = pg_catalog.clock_timestamp(), error = NULL, looks = '{}' \
                   WHERE plan = $1 AND number = $2";
        context.ddl().execute(sql, &[&context.plan.name, &number]).await?;
        // It would begin where it stopped if the plan ran again.
        let sql = "DELETE FROM schema_ledger.backfills WHERE plan = $1 AND step = $2";
        return context.ddl().execute(sql, &[&context.plan.name, &number]).await.map(drop);
    };
    let sql = "UPDATE schema_ledger.steps SET undone = $3 WHERE plan = $1 AND number = $2";
    context.ddl().execute(sql, &[&context.plan.name, &number, &parts]).await.map(drop)
}

/// Records that a step is done; within its transaction where it has one, so that both are kept or neither.
pub(super) async fn step_done(context: &Context<'_>, step: &Step, waited: Duration) -> Result<(), tokio_postgres::Error> {
    if !context.options.ledger {
        return Ok(());
    }
    match context.record {
        Record::Done => {}
        Record::PartUndone(parts) => return step_undone(context, step, Some(parts)).await,
        Record::Undone => return step_undone(context, step, None).await,
    }
    let sql = "UPDATE schema_ledger.steps SET state = 'done', undone = 0, ended = pg_catalog.clock_timestamp(), error = NULL, \
               waited_ms = waited_ms + $3 WHERE plan = $1 AND number = $2";
    let waited = i64::try_from(waited.as_millis()).unwrap_or(i64::MAX);
    context.ddl().execute(sql, &[&context.plan.name, &signed(step), &waited]).await.map(drop)
}

/// Records that a step failed, as far as the connection still allows it.
pub(super) async fn step_failed(context: &Context<'_>, number: u32, message: &str) {
    if !context.options.ledger {
        return;
    }
    let number = i32::try_from(number).unwrap_or(i32::MAX);
    let sql = "UPDATE schema_ledger.steps SET state = 'failed', error = $3 WHERE plan = $1 AND number = $2 AND state <> 'done'";
    // The failure itself is reported either way.
    let _ = context.ddl().execute(sql, &[&context.plan.name, &number, &message]).await;
    let _ = set_state(context, PlanState::Failed).await;
}

/// Where a backfill stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Progress {
    /// The key up to which (and with which) rows were looked at, as text; `None` at the beginning of a pass.
    pub(super) cursor: Option<Vec<String>>,
    /// Passes over the table that were begun, from 1.
    pub(super) pass: i32,
    pub(super) rows_seen: i64,
    pub(super) rows_done: i64,
    pub(super) batch_rows: i32,
}

/// Reads where a backfill stands and makes its row.
pub(super) async fn backfill_started(context: &Context<'_>, step: &Step, rows: Option<u64>) -> Result<Progress, ApplyError> {
    let begin =
        Progress { pass: 1, batch_rows: i32::try_from(context.options.batch_rows.max(1)).unwrap_or(i32::MAX), ..Progress::default() };
    if !context.options.ledger {
        return Ok(begin);
    }
    let sql = "INSERT INTO schema_ledger.backfills AS b (plan, step, batch_rows, rows_total) VALUES ($1, $2, $3, $4) \
               ON CONFLICT (plan, step) DO UPDATE SET updated = pg_catalog.clock_timestamp(), \
               control = CASE b.control WHEN 'stop' THEN 'run' ELSE b.control END \
               RETURNING cursor, pass, rows_seen, rows_done, batch_rows";
    let rows = rows.and_then(|rows| i64::try_from(rows).ok());
    let read = async {
        let row = context.ddl().query_one(sql, &[&context.plan.name, &signed(step), &begin.batch_rows, &rows]).await?;
        Ok(Progress {
            cursor: row.try_get(0)?,
            pass: row.try_get(1)?,
            rows_seen: row.try_get(2)?,
            rows_done: row.try_get(3)?,
            batch_rows: row.try_get(4)?,
        })
    };
    read.await.map_err(|error: tokio_postgres::Error| context.query_error("reading where the backfill stands", &error))
}

/// Records where a backfill stands, within its batch's transaction.
pub(super) async fn backfill_moved(
    context: &Context<'_>,
    step: &Step,
    progress: &Progress,
    rate: f64,
) -> Result<(), tokio_postgres::Error> {
    if !context.options.ledger {
        return Ok(());
    }
    let sql = "UPDATE schema_ledger.backfills SET cursor = $3, pass = $4, rows_seen = $5, rows_done = $6, batch_rows = $7, rate = $8, \
               updated = pg_catalog.clock_timestamp() WHERE plan = $1 AND step = $2";
    let Progress { cursor, pass, rows_seen, rows_done, batch_rows } = progress;
    let number = signed(step);
    let values: [&(dyn tokio_postgres::types::ToSql + Sync); 8] =
        [&context.plan.name, &number, cursor, pass, rows_seen, rows_done, batch_rows, &rate];
    context.ddl().execute(sql, &values).await.map(drop)
}

/// What another terminal wants of a backfill: `run`, `pause`, `stop`.
pub(super) async fn control(context: &Context<'_>, step: &Step) -> Result<String, ApplyError> {
    if !context.options.ledger {
        return Ok("run".to_owned());
    }
    let sql = "SELECT control FROM schema_ledger.backfills WHERE plan = $1 AND step = $2";
    let row = context.ddl().query_one(sql, &[&context.plan.name, &signed(step)]).await;
    row.and_then(|row| row.try_get(0)).map_err(|error| context.query_error("reading the control of the backfill", &error))
}
