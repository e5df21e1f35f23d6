//! `schema undrop`

use super::once::Once;
use super::signals::Signals;
use super::{Format, Global, Out};
use crate::apply::Options;
use crate::apply::kept::{Kept, bringing_back, kept, standing_again};
use crate::error::{CliError, Code};
use crate::pg::connect;
use crate::project::{described, session, target};

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
    let (command, signals) = (format!("schema undrop{env} {}", args.name), Signals::listen(out));
    let runner = Once { target, project: &project, command, signals: &signals, options: Options::direct() };
    if !one.is_there {
        return Err(CliError::failed(
            format!("{} is not kept any more: it, or the table that it stood in, was dropped since", one.what),
            format!("to forget it: schema purge{env} {}", args.name),
        ));
    }
    if one.is_back {
        out.notice(&format!("{} is back already; what stood on it is still to be made.", one.what));
    } else {
        runner.show(connect(&runner.target).await?, &bringing_back(one), out).await?;
        out.notice(&format!("{} is back on {where_}.", one.what));
    }
    let mut failed = Vec::new();
    for standing in &one.after {
        match runner.run(connect(&runner.target).await?, &standing_again(one, standing), &mut |_| {}).await {
            Ok(()) => {}
            Err(error) if matches!(error.code(), Code::Interrupted | Code::Unreachable) => return Err(error),
            Err(error) => failed.push(format!("{}\n  {error}", standing.sql)),
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
