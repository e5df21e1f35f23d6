//! `schema undrop`

use super::apply::{patience, stopped, who};
use super::progress::Progress;
use super::signals::Signals;
use super::{Format, Global, Out};
use crate::apply::kept::{Kept, bringing_back, kept, standing_again};
use crate::apply::{Event, Options, Outcome, apply};
use crate::error::{CliError, Code};
use crate::pg::Target;
use crate::plan::Plan;
use crate::project::{Project, described, session, target};

/// Arguments of `schema undrop`.
#[derive(clap::Args, Debug)]
#[command(
    about = "Bring back a dropped table or column that is kept",
    long_about = "Brings back a table or column that the contract stage set aside, because\nschema.kdl has a `quarantine`: with its rows, and with the keys, indexes and\n\
        checks that stood on it. What of those its rows no longer allow is named, and\ntried again by the next undrop. Of several that had one name the newest is meant;\nthe others have numbers, as `schema status` lists them.",
    after_help = "Examples:
  schema undrop public.orders.note
  schema undrop public.orders.note#2
  schema undrop public.orders"
)]
pub struct Args {
    /// The table or column; `schema status` lists what is kept
    #[arg(value_name = "NAME")]
    pub name: String,
}

/// Brings back one.
///
/// # Errors
/// Nothing of that name is kept; its name is taken again.
pub async fn run(args: &Args, global: &Global, out: &Out) -> Result<Code, CliError> {
    global.format(&[Format::Text])?;
    let project = global.project()?;
    let place = project.place()?;
    let session = session(&place).await?;
    let all = kept(session.client()).await?;
    let one = meant(&all, &args.name)?;
    let target = target(&place)?;
    let where_ = described(&session);
    session.close().await;
    let env = project.env_flag();
    let runner =
        Once { target: &target, project: &project, command: format!("schema undrop{env} {}", args.name), signals: Signals::listen(out) };
    if one.is_back() {
        out.notice(&format!("{} is back already; what stood on it is still to be made.", one.what));
    } else {
        let mut progress = Progress::new(out);
        let result = runner.run(&bringing_back(one), &mut |event| progress.event(event)).await;
        progress.finish();
        result?;
        out.notice(&format!("{} is back on {where_}.", one.what));
    }
    let mut failed = Vec::new();
    for statement in &one.after {
        match runner.run(&standing_again(one, statement), &mut |_| {}).await {
            Ok(()) => {}
            Err(error) if matches!(error.code(), Code::Interrupted | Code::Unreachable) => return Err(error),
            Err(error) => failed.push(format!("{statement}\n  {error}")),
        }
    }
    if failed.is_empty() {
        return Ok(Code::Done);
    }
    Err(CliError::failed(
        format!("{} is back with its data, but not all that stood on it:\n{}", one.what, failed.join("\n")),
        format!("see to the rows that are in the way, then once more: {}; to leave it so: schema purge{env} {}", runner.command, args.name),
    ))
}

/// The one that is meant.
pub(super) fn meant<'k>(all: &'k [Kept], name: &str) -> Result<&'k Kept, CliError> {
    let found: Vec<&Kept> = all.iter().filter(|one| one.fits(name)).collect();
    match found.as_slice() {
        [one] => Ok(one),
        [] if all.is_empty() => Err(CliError::failed(
            format!("no `{name}` is kept"),
            "nothing is: what is dropped is kept where schema.kdl says quarantine \"7d\"",
        )),
        [] => {
            let names: Vec<&str> = all.iter().map(|one| one.what.as_str()).collect();
            Err(CliError::failed(format!("no `{name}` is kept"), format!("kept are {}", names.join(", "))))
        }
        several => {
            let names: Vec<&str> = several.iter().map(|one| one.what.as_str()).collect();
            Err(CliError::failed(format!("`{name}` may be several"), format!("say which: {}", names.join(", "))))
        }
    }
}

/// Runs without the ledger, under the applier's lock.
pub(super) struct Once<'o> {
    pub(super) target: &'o Target,
    pub(super) project: &'o Project,
    /// The command that goes on.
    pub(super) command: String,
    pub(super) signals: Signals,
}

impl Once<'_> {
    pub(super) async fn run(&self, plan: &Plan, tell: &mut dyn FnMut(Event)) -> Result<(), CliError> {
        let session = crate::pg::connect(self.target).await?;
        let options = Options {
            stop: self.signals.begin(&self.command),
            who: who(),
            command: self.command.clone(),
            env: self.project.env_flag(),
            ..Options::direct()
        };
        let options = patience(options, &self.project.config);
        match apply(session, self.target, plan, "", "", &options, tell).await? {
            Outcome::Interrupted { reason, .. } => Err(stopped(&reason, &self.command)),
            Outcome::Done | Outcome::Waiting { .. } => Ok(()),
        }
    }
}
