//! A plan, run on a scratch clone with rows, step by step: what it locks, reads, builds and writes again,
//! whether it is what the plan claims, whether it can be undone, and whether clients' statements still
//! prepare.
//!
//! | module | holds |
//! |---|---|
//! | `look` | locks from a second connection, relations' files, what the server says at DEBUG1 |
//! | `run` | one step, watched; one step undone |
//! | `rows`, `value` | made-up rows that fit the tables |
//! | `sample` | rows from the live database |
//! | [`queries`] | statements of clients, split and prepared |
//!
//! Prints nothing. What it measured is a [`Rehearsal`], judged by [`crate::plan::rehearsal::judge`].

mod look;
pub mod queries;
mod rows;
mod run;
mod sample;
mod value;

use std::collections::{BTreeMap, BTreeSet};

use self::queries::Queries;
use self::run::{SETTINGS, Sessions, Start};
use crate::catalog::id::{dotted, undotted};
use crate::catalog::{Catalog, Id};
use crate::engine::fill::fill;
use crate::engine::{EngineError, Workbench};
use crate::kind::schema::Schema;
use crate::pg::introspect::{IntrospectError, Managed, introspect};
use crate::pg::{ServerError, Session, SessionError, explain};
use crate::plan::Plan;
use crate::plan::plan::StageName;
use crate::plan::rehearsal::{Finding, Measured, Rehearsal, Rows, UndoResult, Undone, judge};

/// Why there is no rehearsal. Only the scratch server was touched.
#[derive(Debug, thiserror::Error)]
pub enum RehearseError {
    /// The clone cannot be made.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The scratch server fails.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// A connection fails.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The clone cannot be read.
    #[error(transparent)]
    Introspect(#[from] IntrospectError),
    /// A step fails.
    #[error("step {number} ({title}) fails on the clone: {message}\n  {statement}")]
    Step {
        /// Its number.
        number: u32,
        /// Its title.
        title: String,
        /// The statement.
        statement: String,
        /// What PostgreSQL says.
        message: String,
    },
    /// A step fails before there are any rows.
    #[error("the plan does not start from this state: step {number} fails on a clone of it without rows: {message}\n  {statement}")]
    Start {
        /// Its number.
        number: u32,
        /// The statement.
        statement: String,
        /// What PostgreSQL says.
        message: String,
    },
    /// The script that is to fill the tables fails.
    #[error("the script that fills the clone fails: {0}")]
    Script(String),
}

/// Where the rows come from.
#[derive(Debug)]
pub enum Source<'a> {
    /// So many made up for each table.
    Generated(u64),
    /// At most so many of each table of the live database.
    Sampled(&'a Session, u64),
    /// From a script.
    Script(String),
}

/// What is rehearsed.
#[derive(Debug)]
pub struct Request<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The state that it starts from.
    pub start: Catalog,
    /// The version of its server (`server_version_num`), where it is known.
    pub server: Option<u32>,
    /// What the project manages.
    pub managed: Managed,
    /// Where the rows come from.
    pub rows: Source<'a>,
    /// Statements of clients.
    pub queries: Queries,
}

/// Runs the rehearsal.
///
/// # Errors
/// A clone that cannot be made, or a step that fails on it.
pub async fn rehearse(request: Request<'_>, bench: &mut Workbench) -> Result<Rehearsal, RehearseError> {
    let Request { plan, start, server, managed, rows, mut queries } = request;
    bench.start(server).await?;
    let touched = touched(plan, &start);
    // Which tables statements of clients are about only the server knows: it gets all of them.
    let part = if queries.is_empty() { crate::engine::closure::around(&start, &touched) } else { None };
    let start = part.map_or_else(|| start.clone(), |part| crate::engine::closure::restrict(&start, &part));
    let tables = rows::wanted(&start, &touched);
    let blank = build(bench, &start).await?;
    let stage = Stages { plan, managed, tables };

    // Once without rows: what it ends in, and what clients' statements say to every step.
    let (start, end, mut findings) = stage.dress(bench, &blank, &mut queries).await?;
    let (steps, counted) = stage.measure(bench, &blank, &start, &end, &rows, &mut findings).await?;
    for (step, measured) in plan.steps().map(|(_, step)| step).zip(&steps) {
        findings.extend(judge(step, measured));
    }
    let undone = stage.undo(bench, &blank, &start).await?;
    findings.extend(undone.iter().filter_map(|one| match &one.result {
        UndoResult::Wrong(text) => {
            Some(Finding { step: 0, wrong: true, text: format!("undone from the end of {}, {text}", one.stage.name()) })
        }
        UndoResult::Filled(columns) => Some(Finding {
            step: 0,
            wrong: false,
            text: format!("undone from the end of {}, {} keep the values that they were filled with", one.stage.name(), columns.join(", ")),
        }),
        UndoResult::Exact | UndoResult::Impossible(_) => None,
    }));
    findings.sort_by_key(|finding| (!finding.wrong, finding.step));
    Ok(Rehearsal {
        plan: crate::plan::file::hash(plan),
        server: bench.describe(),
        rows: match rows {
            Source::Generated(_) => Rows::Generated,
            Source::Sampled(..) => Rows::Sampled,
            Source::Script(_) => Rows::Seeded,
        },
        tables: counted,
        steps,
        undone,
        queries: (queries.old.len() + queries.new.len()) as u64,
        findings,
    })
}

/// What a plan touches that is there at its start: tables by themselves, and what else it relies on.
fn touched(plan: &Plan, start: &Catalog) -> BTreeSet<Id> {
    let mut touched = crate::engine::in_flight::touched(plan);
    for (_, step) in plan.steps() {
        touched.extend(step.locks.iter().map(|lock| Id::new("table", undotted(&lock.relation))));
    }
    touched.retain(|id| start.contains(id));
    touched
}

/// The start as an empty database; its name.
async fn build(bench: &mut Workbench, start: &Catalog) -> Result<String, RehearseError> {
    let (name, session) = bench.database("rehearsal").await?;
    if !start.contains(&Schema::id_of("public")) {
        session.client().batch_execute("DROP SCHEMA IF EXISTS public").await.map_err(SessionError::from)?;
    }
    let rejected = fill(&session, start, |_| true).await?;
    session.close().await;
    if rejected.is_empty() {
        return Ok(name);
    }
    let list = rejected.iter().map(|one| format!("  {}: {}", one.id, explain(&one.error))).collect::<Vec<_>>().join("\n");
    Err(EngineError::Rebuild(list).into())
}

/// The runs of one plan.
struct Stages<'a> {
    plan: &'a Plan,
    managed: Managed,
    tables: BTreeSet<Id>,
}

impl Stages<'_> {
    async fn read(&self, session: &Session) -> Result<Catalog, RehearseError> {
        let mut catalog = introspect(session, self.managed).await?.catalog;
        catalog.unmodelled.clear();
        Ok(catalog)
    }

    /// Runs the plan without rows: the states that it leads between, and the statements of clients that do not prepare.
    async fn dress(
        &self,
        bench: &mut Workbench,
        blank: &str,
        queries: &mut Queries,
    ) -> Result<(Catalog, Catalog, Vec<Finding>), RehearseError> {
        let (name, session) = bench.copy("dress", blank).await?;
        let start = self.read(&session).await?;
        session.client().batch_execute(SETTINGS).await.map_err(SessionError::from)?;
        let client = if queries.is_empty() { None } else { Some(bench.connect(&name).await?) };
        let mut findings = Vec::new();
        let last = self.plan.steps().filter(|(stage, _)| *stage < StageName::Contract).map(|(_, step)| step.number).max().unwrap_or(0);
        if let Some(client) = &client {
            queries::leave_out(client, &mut queries.old, &mut findings).await?;
            queries::check(client, &queries.old, None, &mut findings).await?;
            if last == 0 {
                queries::check(client, &queries.new, None, &mut findings).await?;
            }
        }
        for (stage, step) in self.plan.steps() {
            run::plain(&session, step).await.map_err(|error| match error {
                RehearseError::Step { number, statement, message, .. } => RehearseError::Start { number, statement, message },
                other => other,
            })?;
            let Some(client) = &client else { continue };
            if stage < StageName::Contract {
                queries::check(client, &queries.old, Some((stage, step)), &mut findings).await?;
            }
            if step.number >= last {
                queries::check(client, &queries.new, Some((stage, step)), &mut findings).await?;
            }
        }
        let end = self.read(&session).await?;
        Ok((start, end, findings))
    }

    /// Fills the clone and runs the plan on a copy of it, watched. Made-up rows leave columns unfilled that the plan may
    /// fill; when it fails by that, it is run once more without.
    async fn measure(
        &self,
        bench: &mut Workbench,
        blank: &str,
        start: &Catalog,
        end: &Catalog,
        source: &Source<'_>,
        findings: &mut Vec<Finding>,
    ) -> Result<(Vec<Measured>, Vec<(String, u64)>), RehearseError> {
        let mut unfilled = true;
        loop {
            let session = bench.connect(blank).await?;
            if !unfilled {
                let names = self.tables.iter().map(Id::sql).collect::<Vec<_>>().join(", ");
                session.client().batch_execute(&format!("TRUNCATE {names}")).await.map_err(SessionError::from)?;
            }
            let empty = match source {
                Source::Generated(rows) => {
                    let generator = rows::Generator { before: start, after: end, rows: *rows, unfilled };
                    generator.fill(session.client(), &self.tables).await?
                }
                Source::Sampled(live, rows) => {
                    let filled = sample::fill(live, session.client(), start, &self.tables, *rows);
                    bench.waits.over(&[live], filled).await.map_err(EngineError::from)??
                }
                Source::Script(sql) => {
                    let done = session.client().batch_execute(&format!("{sql}\n;ANALYZE")).await;
                    done.map_err(|error| RehearseError::Script(explain(&error)))?;
                    Vec::new()
                }
            };
            let counted = rows::counted(session.client(), &self.tables).await?;
            session.close().await;
            match self.watched(bench, blank, &counted).await {
                Err(RehearseError::Step { .. }) if unfilled && matches!(source, Source::Generated(_)) => unfilled = false,
                Err(error) => return Err(error),
                Ok(steps) => {
                    findings.extend(empty.into_iter().map(|(table, reason)| Finding {
                        step: 0,
                        wrong: false,
                        text: format!("no rows were made for {}: {reason}", dotted(&table.path)),
                    }));
                    return Ok((steps, counted.into_iter().map(|(_, name, rows)| (name, rows)).collect()));
                }
            }
        }
    }

    async fn watched(&self, bench: &mut Workbench, seeded: &str, counted: &[(i64, String, u64)]) -> Result<Vec<Measured>, RehearseError> {
        let (name, ddl) = bench.copy("forward", seeded).await?;
        let sessions = Sessions { ddl, watcher: bench.connect(&name).await?, client: bench.connect(&name).await? };
        sessions.ddl.client().batch_execute(SETTINGS).await.map_err(SessionError::from)?;
        let rows: BTreeMap<i64, i64> = counted.iter().map(|(oid, _, rows)| (*oid, i64::try_from(*rows).unwrap_or(i64::MAX))).collect();
        let start = Start { relations: look::relations(sessions.ddl.client()).await?, rows };
        let mut steps = Vec::new();
        for (_, step) in self.plan.steps() {
            steps.push(run::measured(&sessions, &start, step).await?);
        }
        Ok(steps)
    }

    /// Runs the plan to the end of each stage before contract, and back.
    async fn undo(&self, bench: &mut Workbench, seeded: &str, start: &Catalog) -> Result<Vec<Undone>, RehearseError> {
        let session = bench.connect(seeded).await?;
        let before = rows::sums(session.client(), start, &self.tables).await?;
        session.client().batch_execute(SETTINGS).await.map_err(SessionError::from)?;
        let mut undone = Vec::new();
        for stage in self.plan.stages.iter().map(|stage| stage.name).filter(|stage| *stage < StageName::Contract) {
            let steps: Vec<_> = self.plan.steps().filter(|(of, _)| *of <= stage).map(|(_, step)| step).collect();
            for step in &steps {
                run::plain(&session, step).await?;
            }
            let mut result = UndoResult::Exact;
            for step in steps.iter().rev() {
                match run::undo(&session, step).await {
                    Ok(true) => {}
                    Ok(false) => result = UndoResult::Impossible(step.number),
                    Err(error) => result = UndoResult::Wrong(error.to_string()),
                }
                if result != UndoResult::Exact {
                    break;
                }
            }
            if result == UndoResult::Exact {
                // What reading needs and what running needs differ.
                session.client().batch_execute("RESET ALL").await.map_err(SessionError::from)?;
                let found = self.read(&session).await?;
                if let Some(text) = differences(start, &found) {
                    result = UndoResult::Wrong(text);
                } else {
                    result = rows::compared(&before, &rows::sums(session.client(), start, &self.tables).await?);
                }
                session.client().batch_execute(SETTINGS).await.map_err(SessionError::from)?;
            }
            let exact = matches!(result, UndoResult::Exact | UndoResult::Filled(_));
            undone.push(Undone { stage, result });
            if !exact {
                break;
            }
        }
        Ok(undone)
    }
}

/// What is not as it was.
fn differences(start: &Catalog, found: &Catalog) -> Option<String> {
    let list: Vec<String> = start
        .differences(found)
        .into_iter()
        .filter(|(id, ..)| id.kind != "owner" || start.contains(id))
        .map(|(id, was, now)| match (was, now) {
            (Some(_), None) => format!("{id} is missing"),
            (None, _) => format!("{id} is left over"),
            (Some(was), Some(now)) => format!("{id} is\n      {now:?}\n    and was\n      {was:?}"),
        })
        .collect();
    if list.is_empty() { None } else { Some(list.join("\n    ")) }
}

impl From<RehearseError> for crate::error::CliError {
    fn from(error: RehearseError) -> Self {
        match error {
            RehearseError::Engine(error) => error.into(),
            RehearseError::Session(error) => error.into(),
            RehearseError::Step { .. } => Self::failed(
                error.to_string(),
                "the rows of the clone are made up: where they are to blame, take them from a script (--seed) or from the live database (--sample)",
            ),
            RehearseError::Start { .. } => {
                Self::failed(error.to_string(), "name the state that it starts from: --from STATE, or --env and --url")
            }
            RehearseError::Script(_) => {
                Self::failed(error.to_string(), "it runs on the plan's start without rows, its statements one by one")
            }
            other => Self::message(crate::error::Code::Error, other.to_string()),
        }
    }
}
