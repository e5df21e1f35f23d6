//! `schema clean`

use std::fmt::Write;

use super::apply::consent::Consent;
use super::once::Once;
use super::rollback::from_ledger;
use super::signals::Signals;
use super::{Format, Global, Out, planning};
use crate::apply::beside::beside;
use crate::apply::leftovers::{leftovers, sweep};
use crate::apply::status::plans as ledger_plans;
use crate::apply::{Options, PlanState};
use crate::error::{CliError, Code};
use crate::plan::render::number;
use crate::project::{described, session, target};

/// Arguments of `schema clean`.
#[derive(clap::Args, Debug)]
#[command(
    about = "Remove what plans left behind",
    long_about = "Finds what plans that are done or rolled back left behind: triggers, functions\nand columns that served a recipe, indexes that were never finished, schemas in\n\
        which a table stood beside its other form. Lists them, and removes them after\n\
        asking. What an unfinished plan owns is left alone.",
    after_help = "Examples:
  schema clean --env production"
)]
pub struct Args {
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}

/// Removes leftovers.
///
/// # Errors
/// Whatever fails; what was removed before stays so.
pub async fn run(args: &Args, global: &Global, out: &Out) -> Result<Code, CliError> {
    let signals = Signals::listen(out);
    global.format(&[Format::Text])?;
    let project = global.project()?;
    let place = project.place()?;
    let session = session(&place).await?;
    // What belongs to nobody now may belong to a plan by the time that somebody says yes.
    let seen_epoch = Some(crate::apply::ledger::epoch(session.client()).await?);
    let (mut finished, mut unfinished) = (Vec::new(), Vec::new());
    for status in ledger_plans(session.client()).await? {
        let plan = from_ledger(&session, &status.name).await?;
        let ended = matches!(status.state, PlanState::Done | PlanState::RolledBack);
        if ended { finished.push(plan) } else { unfinished.push(plan) }
    }
    let live = planning::live(&session, &planning::scope(&project), &planning::waits(&project, out)).await?;
    let found = leftovers(&finished, &unfinished, &live.catalog);
    let besides = beside(session.client(), &unfinished).await?;
    if found.is_empty() && besides.is_empty() {
        out.notice(&format!("Nothing to clean on {}.", described(&session)));
        return Ok(Code::Done);
    }
    let consent = Consent {
        target: described(&session),
        environment: place.environment.map(|environment| environment.name.as_str()),
        by_name: place.environment.is_some_and(|environment| environment.approvals > 0),
    };
    let mut text = format!("To be removed from {}:\n", consent.place());
    for object in &found {
        let loses = object.drop().loses.map(|what| format!("  ! with its data: {what}")).unwrap_or_default();
        let _ = writeln!(text, "  {}{loses}", object.id());
    }
    for one in &besides {
        let tables = if one.tables == 1 { "one table".to_owned() } else { format!("{} tables", one.tables) };
        let _ = writeln!(text, "  schema {}  ! with its data: {tables}, about {} rows", one.schema, number(one.rows.unsigned_abs()));
    }
    if args.yes {
        out.notice(text.trim_end());
    } else if !consent.show_and_ask(out, &text)? {
        return Err(CliError::message(Code::Refused, "nothing was removed"));
    }
    let command = format!("schema clean{}", project.env_flag());
    let options = Options { seen_epoch, ..Options::direct() };
    let once = Once { target: target(&place)?, project: &project, command, signals: &signals, options };
    once.show(session, &sweep(&found, &besides), out).await?;
    out.notice("Done.");
    Ok(Code::Done)
}
