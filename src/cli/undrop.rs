//! `schema undrop`

use super::apply::who;
use super::progress::Progress;
use super::{Global, Out};
use crate::apply::kept::{Kept, bringing_back, kept, standing_again};
use crate::apply::{Event, Options, Outcome, apply};
use crate::error::{CliError, Code};
use crate::pg::Target;
use crate::plan::Plan;
use crate::project::{described, session, target};

/// Arguments of `schema undrop`.
#[derive(clap::Args, Debug)]
#[command(
    about = "Bring back a dropped table or column that is kept",
    long_about = "Brings back a table or column that the contract stage set aside, because\nschema.kdl has a `quarantine`: with its rows, and with the keys, indexes and\n\
        checks that stood on it. What of those its rows no longer allow is named.",
    after_help = "Examples:
  schema undrop public.orders.note
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
    let project = global.project()?;
    let place = project.place()?;
    let session = session(&place).await?;
    let all = kept(session.client()).await?;
    let one = meant(&all, &args.name)?;
    let target = target(&place)?;
    let where_ = described(&session);
    session.close().await;
    let mut progress = Progress::new(out);
    let result = once(&target, &bringing_back(one), &mut |event| progress.event(event)).await;
    progress.finish();
    result?;
    out.notice(&format!("{} is back on {where_}.", one.what));
    let mut failed = Vec::new();
    for (place, statement) in one.after.iter().enumerate() {
        if let Err(error) = once(&target, &standing_again(one, place), &mut |_| {}).await {
            failed.push(format!("{statement}\n  {error}"));
        }
    }
    if failed.is_empty() {
        return Ok(Code::Done);
    }
    Err(CliError::failed(
        format!("{} is back with its data, but not all that stood on it:\n{}", one.what, failed.join("\n")),
        "see to the rows that are in the way, then run these statements",
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

/// One run without the ledger, under the applier's lock.
pub(super) async fn once(target: &Target, plan: &Plan, tell: &mut dyn FnMut(Event)) -> Result<(), CliError> {
    let session = crate::pg::connect(target).await?;
    let options = Options { who: who(), command: format!("schema {}", plan.name), ..Options::direct() };
    match apply(session, target, plan, "", "", &options, tell).await? {
        Outcome::Done => Ok(()),
        outcome => Err(CliError::message(Code::Interrupted, format!("stopped: {outcome:?}"))),
    }
}
