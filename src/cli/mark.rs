//! `schema mark`

use super::apply::consent::Consent;
use super::apply::who;
use super::{Format, Global, Out, planning};
use crate::apply::Options;
use crate::apply::mark::{mark, not_yet};
use crate::error::{CliError, Code};
use crate::pg::Session;
use crate::plan::Plan;
use crate::project::{described, plans, session, target};

/// Arguments of `schema mark`.
#[derive(clap::Args, Debug)]
#[command(
    about = "Record a plan as done that was done by hand",
    long_about = "Records a plan as done on a database where its changes were made by hand, after\nchecking that they were: what it makes is there, what it takes away is gone, its\n\
        checks hold.",
    after_help = "Examples:
  schema mark 7 done --env production"
)]
pub struct Args {
    /// The plan: its name, number or file
    #[arg(value_name = "PLAN")]
    pub plan: String,
    /// What it is
    #[arg(value_name = "done", value_parser = ["done"])]
    pub state: String,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}

/// Marks a plan.
///
/// # Errors
/// What it leads to is not there.
pub async fn run(args: &Args, global: &Global, out: &Out) -> Result<Code, CliError> {
    global.format(&[Format::Text])?;
    let project = global.project()?;
    let place = project.place()?;
    let file = plans::find(&project.config.plans, &args.plan)?;
    let session = session(&place).await?;
    let seen_epoch = Some(crate::apply::ledger::epoch(session.client()).await?);
    let live = planning::live(&session, &planning::scope(&project), &planning::waits(&project, out)).await?;
    let mut against = not_yet(&file.plan, &live.catalog);
    against.extend(unverified(&session, &file.plan).await);
    if !against.is_empty() {
        let list = against.iter().map(|one| format!("  {one}")).collect::<Vec<_>>().join("\n");
        return Err(CliError::refused(
            format!("{} is not done on {}, and nothing was recorded:\n{list}", file.plan.name, described(&session)),
            format!("do the rest by hand, or let it be done: schema apply{} {}", project.env_flag(), file.plan.name),
        ));
    }
    let consent = Consent {
        target: described(&session),
        environment: place.environment.map(|environment| environment.name.as_str()),
        by_name: place.environment.is_some_and(|environment| environment.approvals > 0),
    };
    let text = format!("{} is to be recorded as done on {}.", file.plan.name, consent.place());
    if !args.yes && !consent.show_and_ask(out, &text)? {
        return Err(CliError::message(Code::Refused, "nothing was recorded"));
    }
    // What was rolled back may have been done by hand since.
    let (env, again) = (project.env_flag(), true);
    let command = format!("schema mark{env} {} done", file.plan.name);
    let options = Options { who: who(), command, env, again, seen_epoch, ..Options::default() };
    let target = target(&place)?;
    mark(session, &target, &file.plan, &file.text, &file.hash.to_string(), &options).await?;
    out.notice(&format!("{} is recorded as done.", file.plan.name));
    Ok(Code::Done)
}

/// The plan's own checks that do not hold. One that mentions what a later step takes away cannot be asked any more.
async fn unverified(session: &Session, plan: &Plan) -> Vec<String> {
    let mut against = Vec::new();
    for (_, step) in plan.steps() {
        for verify in &step.verify {
            let Ok(rows) = session.client().simple_query(&verify.sql).await else { continue };
            let found = rows.iter().find_map(|message| match message {
                tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0),
                _ => None,
            });
            if found != Some(verify.expect.as_str()) {
                let found = found.unwrap_or("NULL");
                against.push(format!("the check of step {} gives {found} and must give {}: {}", step.number, verify.expect, verify.sql));
            }
        }
    }
    against
}
