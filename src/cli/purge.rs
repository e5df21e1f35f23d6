//! `schema purge`

use std::fmt::Write;

use super::apply::consent::Consent;
use super::once::Once;
use super::signals::Signals;
use super::undrop::meant;
use super::{Format, Global, Out, time};
use crate::apply::Options;
use crate::apply::kept::{Kept, ending, kept};
use crate::error::{CliError, Code};
use crate::project::{described, session, target};

/// Arguments of `schema purge`.
#[derive(clap::Args, Debug)]
#[command(
    about = "Drop for good what was kept after its drop",
    long_about = "Drops for good the tables and columns that the contract stage set aside and\nwhose time is over. Shows them and asks.",
    after_help = "Examples:
  schema purge --env production
  schema purge public.orders.note      before its time"
)]
pub struct Args {
    /// Only this table or column, whether its time is over or not
    #[arg(value_name = "NAME", conflicts_with = "all")]
    pub name: Option<String>,
    /// All that is kept, whether its time is over or not
    #[arg(long)]
    pub all: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}

/// Drops them.
///
/// # Errors
/// Nothing of that name is kept; nobody can be asked.
pub async fn run(args: &Args, global: &Global, out: &Out) -> Result<Code, CliError> {
    let signals = Signals::listen(out);
    global.format(&[Format::Text])?;
    let project = global.project()?;
    let place = project.place()?;
    let session = session(&place).await?;
    let all = kept(session.client()).await?;
    let chosen: Vec<Kept> = match &args.name {
        Some(name) => vec![meant(&all, name)?.clone()],
        None => all.iter().filter(|one| (args.all || one.over) && !one.is_back).cloned().collect(),
    };
    if chosen.is_empty() {
        let rest = if all.is_empty() { String::new() } else { format!(" {} kept: see `schema status`.", all.len()) };
        out.notice(&format!("Nothing to purge on {}.{rest}", described(&session)));
        return Ok(Code::Done);
    }
    let consent = Consent {
        target: described(&session),
        environment: place.environment.map(|environment| environment.name.as_str()),
        by_name: place.environment.is_some_and(|environment| environment.approvals > 0),
    };
    let mut text = format!("To be dropped for good from {}:\n", consent.place());
    for one in &chosen {
        if one.is_back {
            let _ = writeln!(text, "  nothing of {}, which is back; to be forgotten is what stood on it:", one.what);
            one.after.iter().for_each(|standing| {
                let _ = writeln!(text, "    {}", standing.sql);
            });
        } else if one.is_there {
            let _ = writeln!(text, "  ! {}, kept until {}", one.described(), time::minute(one.until));
        } else {
            let _ = writeln!(text, "  nothing of {}, which is not there; to be forgotten", one.what);
        }
    }
    if args.yes {
        out.notice(text.trim_end());
    } else if !consent.show_and_ask(out, &text)? {
        return Err(CliError::message(Code::Refused, "nothing was dropped"));
    }
    let words = match (&args.name, args.all) {
        (Some(name), _) => format!(" {name}"),
        (None, true) => " --all".to_owned(),
        (None, false) => String::new(),
    };
    let command = format!("schema purge{}{words}", project.env_flag());
    let once = Once { target: target(&place)?, project: &project, command, signals: &signals, options: Options::direct() };
    once.show(session, &ending(&chosen), out).await?;
    let missing: Vec<&str> = chosen.iter().filter(|one| !one.is_there).map(|one| one.what.as_str()).collect();
    if missing.is_empty() {
        out.notice("Done.");
        return Ok(Code::Done);
    }
    Err(CliError::failed(
        format!("not found, and so not dropped here: {}", missing.join(", ")),
        "it, or the table that it stood in, was dropped since; it is forgotten now",
    ))
}
