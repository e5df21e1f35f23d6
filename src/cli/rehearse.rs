//! `schema rehearse`

use std::path::PathBuf;

use super::{Format, Global, Out, planning};
use crate::engine::{EngineError, State};
use crate::error::{CliError, Code};
use crate::plan::render;
use crate::project::{files, plans};
use crate::rehearse::queries::{self, Queries, StatsError};
use crate::rehearse::{Request, Source, rehearse};

/// Arguments of `schema rehearse`.
#[derive(clap::Args, Debug)]
#[command(
    about = "Run a plan on a scratch clone and measure it",
    long_about = "Makes what the plan touches on a scratch server, fills it with rows, runs the\nplan there step by step, and measures what each step locks, reads, builds and\nrewrites. The plan is then undone from the end of every stage before contract.\nThe database is only read. It fails where a step does more than the plan says,\nwhere undoing does not give the start again, and where a statement of --queries\ncannot be prepared at a stage that it must live through.",
    after_help = "Examples:
  schema rehearse 7
  schema rehearse 7 --sample --rows 100000 --evidence
  schema rehearse 7 --queries old.sql --queries new.sql
  schema rehearse 7 --from git:main"
)]
pub struct Args {
    /// The plan: its name, number or file
    #[arg(value_name = "PLAN")]
    pub plan: String,
    /// Start from this state instead of the database (see `schema diff`)
    #[arg(long, value_name = "STATE")]
    pub from: Option<String>,
    /// Rows in each table that it touches
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub rows: u64,
    /// Take the rows from the database instead of making them up
    #[arg(long, conflicts_with_all = ["from", "seed"])]
    pub sample: bool,
    /// Fill the tables with this SQL script
    #[arg(long, value_name = "FILE")]
    pub seed: Option<PathBuf>,
    /// Statements of clients: of the old release, then of the new one
    #[arg(long, value_name = "FILE")]
    pub queries: Vec<PathBuf>,
    /// Take the old release's from `pg_stat_statements`
    #[arg(long, conflicts_with = "from")]
    pub queries_from_stats: bool,
    /// Keep what was measured beside the plan
    #[arg(long)]
    pub evidence: bool,
}

/// Rehearses the plan.
///
/// # Errors
/// A clone that cannot be made, or a step that fails on it.
pub async fn run(args: Args, global: &Global, out: &mut Out) -> Result<Code, CliError> {
    let format = global.format(&[Format::Text, Format::Json])?;
    let project = global.project()?;
    let file = plans::find(&project.config.plans, &args.plan)?;
    let scope = planning::scope(&project);
    let mut bench = planning::bench(&project, out);
    let state = match &args.from {
        Some(from) => planning::state(&project, from, &scope, &mut bench).await?,
        None => crate::engine::state::database(&crate::project::target(&project.place()?)?, &scope, &bench.waits).await?,
    };
    let read_from_server = matches!(state, State::Database { .. });
    let (mut start, _, session, server) = state.into_start();
    start.unmodelled.clear();
    if let Some(session) = &session
        && planning::under_way(session).await?.iter().any(|plan| plan.name == file.plan.name)
    {
        return Err(CliError::refused(
            format!("{} is under way on this database, so its start is not there any more", file.plan.name),
            "name a state that it starts from: --from git:REV",
        ));
    }
    if read_from_server {
        planning::check_fits(&file.plan, &start, &scope)?;
    }
    let queries = read_queries(&args, session.as_deref()).await?;
    let rows = match (&args.seed, args.sample, session.as_deref()) {
        (Some(path), ..) => Source::Script(files::read(path)?),
        (None, true, Some(session)) => Source::Sampled(session, args.rows),
        _ => Source::Generated(args.rows),
    };
    let request = Request { plan: &file.plan, start, server, managed: scope.managed, rows, queries };
    let rehearsal = rehearse(request, &mut bench).await?;
    bench.stop().await;
    out.result(&match format {
        Format::Json => {
            let mut text = serde_json::to_string_pretty(&rehearsal).expect("plain data with string keys");
            text.push('\n');
            text
        }
        _ => render::rehearsal(&file.plan, &rehearsal, &out.style()),
    })?;
    if args.evidence {
        let path = file.rehearsal_path();
        files::write(&path, &crate::plan::file::write_rehearsal(&rehearsal))?;
        out.notice(&format!("Wrote {}.", project.shown(&path)));
    }
    Ok(if rehearsal.holds() { Code::Done } else { Code::Error })
}

async fn read_queries(args: &Args, live: Option<&crate::pg::Session>) -> Result<Queries, CliError> {
    let mut lists = Vec::new();
    for path in &args.queries {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        lists.push(queries::split(&name, &files::read(path)?));
    }
    if let (true, Some(live)) = (args.queries_from_stats, live) {
        let known = queries::from_stats(live).await.map_err(|error| match error {
            StatsError::Absent => CliError::failed(error.to_string(), "CREATE EXTENSION pg_stat_statements"),
            StatsError::Hidden(_) => CliError::failed(error.to_string(), "GRANT pg_read_all_stats to it, or connect as another role"),
            StatsError::Session(error) => EngineError::from(error).into(),
        })?;
        lists.insert(0, known);
    }
    if lists.len() > 2 {
        return Err(CliError::failed(
            "there are two releases: the old one's statements and the new one's",
            "give --queries at most twice (once with --queries-from-stats)",
        ));
    }
    let mut lists = lists.into_iter();
    Ok(Queries { old: lists.next().unwrap_or_default(), new: lists.next().unwrap_or_default() })
}
