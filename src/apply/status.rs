//! Reading the ledger, without the applier's lock: for `status`, `history`, `wait` and resuming without a file.

use std::time::SystemTime;

use tokio_postgres::Client;

use super::ledger::{self, PlanState};
use crate::plan::plan::StageName;

/// A plan on this database.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanStatus {
    /// Its name.
    pub name: String,
    /// The hash of its file when it was entered.
    pub hash: String,
    /// Fingerprint of the state that it was computed from.
    pub from: String,
    /// Fingerprint of the state that it leads to.
    pub to: String,
    /// Where it stands. `Running` without an applier ([`super::lock::find_holder`]) means that it was
    /// interrupted: stopped, or killed.
    pub state: PlanState,
    /// How far back it goes while it is rolled back: to the end of a stage, or to where it began.
    pub back_to: Option<StageName>,
    /// Who entered it.
    pub who: String,
    /// When it was entered.
    pub started: SystemTime,
    /// When it was done.
    pub ended: Option<SystemTime>,
    /// Its steps, in order.
    pub steps: Vec<StepStatus>,
}

impl PlanStatus {
    /// Whether a step of it was tried.
    #[must_use]
    pub fn begun(&self) -> bool {
        self.state != PlanState::RolledBack && self.steps.iter().any(|step| step.state != "pending")
    }

    /// Whether any effect of it may be in the database: then what it relies on is no longer as it was. A transaction that
    /// failed, or was cut off, left nothing.
    #[must_use]
    pub fn has_effect(&self) -> bool {
        let there = |step: &StepStatus| match step.state.as_str() {
            "done" => true,
            "running" | "failed" => step.transaction != "inside",
            _ => false,
        };
        match self.state {
            PlanState::RolledBack => false,
            PlanState::RollingBack => true,
            _ => self.steps.iter().any(there),
        }
    }

    /// Whether every step of `stage` (and of the stages before it) is done.
    #[must_use]
    pub fn reached(&self, stage: StageName) -> bool {
        !matches!(self.state, PlanState::RolledBack | PlanState::RollingBack)
            && self.steps.iter().filter(|step| step.stage <= stage).all(|step| step.state == "done")
    }
}

/// A step on this database.
#[derive(Clone, Debug, PartialEq)]
pub struct StepStatus {
    /// Its number in the plan.
    pub number: u32,
    /// Its stage.
    pub stage: StageName,
    /// What it does.
    pub title: String,
    /// How it stands to transactions: `inside` one, `outside`, in `batches`.
    pub transaction: String,
    /// `pending`, `running`, `done`, `failed`, `undone`.
    pub state: String,
    /// How often it was begun.
    pub attempt: i32,
    /// When it was first begun.
    pub started: Option<SystemTime>,
    /// When it was done.
    pub ended: Option<SystemTime>,
    /// How long it waited for locks, in milliseconds.
    pub waited_ms: i64,
    /// Why it failed.
    pub error: Option<String>,
    /// Its backfill, when it is one and was begun.
    pub backfill: Option<BackfillStatus>,
}

/// A backfill on this database.
#[derive(Clone, Debug, PartialEq)]
pub struct BackfillStatus {
    /// Rows looked at, over all passes.
    pub rows_seen: i64,
    /// Rows changed.
    pub rows_done: i64,
    /// Rows of the table as the server estimated them at the beginning.
    pub rows_total: Option<i64>,
    /// Rows looked at per second.
    pub rate: Option<f64>,
    /// `run`, `pause` or `stop`: what another terminal wants.
    pub control: String,
    /// When the last batch was committed.
    pub updated: SystemTime,
}

const STEPS: &str = "
SELECT s.plan, s.number, s.stage, s.title, s.state, s.attempt, s.started, s.ended, s.waited_ms, s.error,
       b.updated, b.rows_seen, b.rows_done, b.rows_total, b.rate, b.control, s.transaction
FROM schema_ledger.steps s LEFT JOIN schema_ledger.backfills b ON (b.plan, b.step) = (s.plan, s.number)
ORDER BY s.plan, s.number";

/// Every plan of this database, in the order in which they came; none where there is no ledger.
///
/// # Errors
/// Those of the queries.
pub async fn plans(client: &Client) -> Result<Vec<PlanStatus>, tokio_postgres::Error> {
    let back_to = match ledger::format(client).await? {
        0 => return Ok(Vec::new()),
        1..5 => "NULL",
        _ => "back_to",
    };
    let sql =
        format!("SELECT name, hash, from_state, to_state, state, who, started, ended, {back_to} FROM schema_ledger.plans ORDER BY entered");
    let mut plans = Vec::new();
    for row in client.query(&sql, &[]).await? {
        let state: String = row.try_get(4)?;
        let back_to: Option<&str> = row.try_get(8)?;
        plans.push(PlanStatus {
            name: row.try_get(0)?,
            hash: row.try_get(1)?,
            from: row.try_get(2)?,
            to: row.try_get(3)?,
            // The table's CHECK allows no other word.
            state: PlanState::from_name(&state).unwrap_or(PlanState::Failed),
            back_to: back_to.and_then(StageName::from_name),
            who: row.try_get(5)?,
            started: row.try_get(6)?,
            ended: row.try_get(7)?,
            steps: Vec::new(),
        });
    }
    for row in client.query(STEPS, &[]).await? {
        let name: String = row.try_get(0)?;
        let stage: String = row.try_get(2)?;
        let backfill = match row.try_get::<_, Option<SystemTime>>(10)? {
            None => None,
            Some(updated) => Some(BackfillStatus {
                rows_seen: row.try_get(11)?,
                rows_done: row.try_get(12)?,
                rows_total: row.try_get(13)?,
                rate: row.try_get(14)?,
                control: row.try_get(15)?,
                updated,
            }),
        };
        let step = StepStatus {
            number: row.try_get::<_, i32>(1)?.unsigned_abs(),
            stage: StageName::from_name(&stage).unwrap_or(StageName::Expand),
            title: row.try_get(3)?,
            transaction: row.try_get(16)?,
            state: row.try_get(4)?,
            attempt: row.try_get(5)?,
            started: row.try_get(6)?,
            ended: row.try_get(7)?,
            waited_ms: row.try_get(8)?,
            error: row.try_get(9)?,
            backfill,
        };
        // A plan that was entered between the two queries has no entry yet.
        if let Some(plan) = plans.iter_mut().find(|plan: &&mut PlanStatus| plan.name == name) {
            plan.steps.push(step);
        }
    }
    Ok(plans)
}

/// The text of a plan as it was entered, to resume it or to undo it without its file.
///
/// # Errors
/// Those of the queries.
pub async fn plan_text(client: &Client, name: &str) -> Result<Option<String>, tokio_postgres::Error> {
    if ledger::format(client).await? == 0 {
        return Ok(None);
    }
    let row = client.query_opt("SELECT text FROM schema_ledger.plans WHERE name = $1", &[&name]).await?;
    row.map(|row| row.try_get(0)).transpose()
}

/// Keeps the catalog that a completed plan led to (compressed KDL; the caller's format), for `drift`.
///
/// # Errors
/// Those of the statement.
pub async fn keep_result(client: &Client, name: &str, catalog: &[u8]) -> Result<(), tokio_postgres::Error> {
    client.execute("UPDATE schema_ledger.plans SET result = $2 WHERE name = $1", &[&name, &catalog]).await.map(drop)
}

/// The catalog kept by the plan that was completed last.
///
/// # Errors
/// Those of the queries.
pub async fn last_result(client: &Client) -> Result<Option<Vec<u8>>, tokio_postgres::Error> {
    if ledger::format(client).await? == 0 {
        return Ok(None);
    }
    let sql =
        "SELECT result FROM schema_ledger.plans WHERE state = 'done' AND result IS NOT NULL ORDER BY ended DESC, entered DESC LIMIT 1";
    client.query_opt(sql, &[]).await?.map(|row| row.try_get(0)).transpose()
}
