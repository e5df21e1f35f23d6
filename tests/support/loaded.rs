//! A case of `tests/load` or `tests/sessions` on a server: its rows, its plan, and runs of `schema apply`.

use std::path::Path;
use std::time::{Duration, Instant};

use schema::apply::{Event, Options, Outcome, Pace, apply};
use schema::catalog::Fingerprint;
use schema::engine::fill::fill;
use schema::engine::{Request, Scope, Workbench, compute};
use schema::pg::introspect::introspect;
use schema::pg::{DatabaseOptions, Scratch, Session, Target, connect};
use schema::plan::plan::StageName;
use schema::plan::{Plan, Policy};
use schema::source::{Desired, read_text};

/// What goes wrong with a case, in words.
pub type Result<T> = std::result::Result<T, String>;

pub fn failed<E: std::fmt::Display>(what: &str) -> impl FnOnce(E) -> String {
    move |error| format!("{what}: {error}")
}

/// The texts of a case.
pub struct Case {
    pub before: Desired,
    pub after: Desired,
    /// What clients say, in sections.
    pub clients: String,
    seed: String,
}

impl Case {
    /// Reads the folder of a case.
    pub fn read(folder: &Path) -> Result<Self> {
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).map_err(failed(name));
        let state = |name: &str| read_text(name, &read(name)?).map_err(|error| schema::cli::out::plain(&error));
        Ok(Self { before: state("before.kdl")?, after: state("after.kdl")?, clients: read("clients.sql")?, seed: read("seed.sql")? })
    }

    /// Makes the database `load` with so many rows.
    pub async fn database(&self, scratch: &Scratch, rows: i64) -> Result<Session> {
        scratch.create_database("load", &DatabaseOptions::default()).await.map_err(failed("database"))?;
        let session = scratch.connect("load").await.map_err(failed("connect"))?;
        let rejected = fill(&session, &self.before.catalog, |_| true).await.map_err(failed("fill"))?;
        if let Some(one) = rejected.first() {
            return Err(format!("{}: {}\n{}", one.id, schema::pg::explain(&one.error), one.sql));
        }
        for sql in ["RESET ALL", &self.seed.replace(":rows", &rows.to_string()), "ANALYZE"] {
            session.client().batch_execute(sql).await.map_err(|error| format!("{sql}: {}", schema::pg::explain(&error)))?;
        }
        Ok(session)
    }
}

/// The plan from what is there to a desired state, proven.
pub async fn plan(session: &Session, desired: Desired, bench: &mut Workbench) -> Result<Plan> {
    let scope = Scope::default();
    let mut live = introspect(session, scope.managed).await.map_err(failed("introspect"))?;
    live.read_dependencies(session).await.map_err(failed("dependencies"))?;
    let request = Request {
        session: Some(session),
        live: live.catalog,
        live_is_elaborated: true,
        desired,
        scope: &scope,
        policy: Policy { small_table_rows: 1_000, ..Policy::default() },
        prove: true,
        for_session: true,
        server: None,
    };
    let mut plan = compute(request, bench)
        .await
        .map_err(|error| {
            let error = schema::error::CliError::from(error);
            error.report().map_or_else(|| error.to_string(), |report| schema::cli::out::plain(report.as_ref()))
        })?
        .plan;
    "0001-load".clone_into(&mut plan.name);
    Ok(plan)
}

/// Longer bursts and shorter pauses than the defaults: the clients feel a little more, and it takes a fifth of the time.
pub fn hurried() -> Pace {
    Pace { burst: Some(Duration::from_millis(5)), pause: 0.2, ..Pace::default() }
}

/// One run of `schema apply` through a stage, at this pace.
pub async fn run(target: &Target, plan: &Plan, through: StageName, pace: Pace) -> Result<()> {
    let begun = Instant::now();
    let session = connect(target).await.map_err(failed("connect"))?;
    let text = serde_json::to_string(plan).map_err(failed("plan"))?;
    let hash = Fingerprint::of_bytes(text.as_bytes()).0;
    let confirmed = through == StageName::Contract;
    let options = Options { through, confirm_old_clients_gone: confirmed, pace, who: "test".to_owned(), ..Options::default() };
    let mut told = Vec::new();
    let outcome = apply(session, target, plan, &text, &hash, &options, &mut |event: Event| told.push(event)).await;
    match outcome.map_err(|error| format!("{error}\n{told:?}"))? {
        Outcome::Done => Ok(()),
        Outcome::Waiting { stage, .. } if stage > through => Ok(()),
        other => Err(format!("after {:?} it ends as {other:?}", begun.elapsed())),
    }
}
