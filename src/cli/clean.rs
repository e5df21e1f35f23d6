//! `schema clean`

use std::fmt::Write;

use super::apply::consent::Consent;
use super::apply::{stop_on_signals, who};
use super::progress::Progress;
use super::rollback::from_ledger;
use super::{Global, Out, planning};
use crate::apply::leftovers::{leftovers, sweep};
use crate::apply::status::plans as ledger_plans;
use crate::apply::{Options, Outcome, PlanState, apply};
use crate::engine::EngineError;
use crate::error::{CliError, Code};
use crate::pg::introspect::introspect;
use crate::project::{described, session, target};

/// Arguments of `schema clean`.
#[derive(clap::Args, Debug)]
#[command(
    about = "Remove what plans left behind",
    long_about = "Finds what plans that are done or rolled back left behind: triggers, functions\nand columns that served a recipe, indexes that were never finished. Lists them,\n\
        and removes them after asking. What an unfinished plan owns is left alone.",
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
    let project = global.project()?;
    let place = project.place()?;
    let session = session(&place).await?;
    let (mut finished, mut unfinished) = (Vec::new(), Vec::new());
    for status in ledger_plans(session.client()).await? {
        let plan = from_ledger(&session, &status.name).await?;
        let ended = matches!(status.state, PlanState::Done | PlanState::RolledBack);
        if ended { finished.push(plan) } else { unfinished.push(plan) }
    }
    let live = introspect(&session, planning::scope(&project).managed).await.map_err(EngineError::from)?;
    let found = leftovers(&finished, &unfinished, &live.catalog);
    if found.is_empty() {
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
    if args.yes {
        out.notice(text.trim_end());
    } else if !consent.show_and_ask(out, &text)? {
        return Err(CliError::message(Code::Refused, "nothing was removed"));
    }
    let plan = sweep(&found);
    let options = Options {
        stop: stop_on_signals(out),
        who: who(),
        retry_for: project.config.retry_for,
        command: "schema clean".to_owned(),
        ..Options::direct()
    };
    let target = target(&place)?;
    let mut progress = Progress::new(out);
    let result = apply(session, &target, &plan, "", "", &options, &mut |event| progress.event(event)).await;
    progress.finish();
    match result? {
        Outcome::Done => {
            out.notice("Done.");
            Ok(Code::Done)
        }
        outcome => Err(CliError::with_help(Code::Interrupted, format!("stopped: {outcome:?}"), "go on with: schema clean")),
    }
}
