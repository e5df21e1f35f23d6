//! `schema show`

use super::{Format, Global, Out};
use crate::error::{CliError, Code};
use crate::plan::render::{self, Context};
use crate::project::plans;

/// Arguments of `schema show`.
#[derive(clap::Args, Debug)]
#[command(
    about = "Show a plan",
    long_about = "Shows a plan as text (-v with its SQL), as JSON, as a script for psql, or as\nMarkdown for a pull request, with what a rehearsal measured where one is kept\nbeside it. Needs no database.",
    after_help = "Examples:
  schema show 7 -v
  schema show 7 --format sql > 0007.sql
  schema show 7 --format markdown"
)]
pub struct Args {
    /// The plan: its name, number or file
    #[arg(value_name = "PLAN")]
    pub plan: String,
}

/// Prints the plan.
///
/// # Errors
/// No such plan.
pub fn run(args: &Args, global: &Global, out: &Out) -> Result<Code, CliError> {
    let project = global.project()?;
    let file = plans::find(&project.config.plans, &args.plan)?;
    // The policy of the environment that is meant, if one is; the database itself is not needed.
    let environment =
        project.env.as_deref().or(project.config.default_env.as_deref()).and_then(|name| project.config.environments.get(name));
    let policy = environment.map_or(&project.config.policy, |environment| &environment.policy).clone();
    out.result(&rendered(&file.plan, &Context { target: None, policy, rehearsal: file.rehearsal()? }, global.format, out))?;
    Ok(Code::Done)
}

/// The plan in a format.
#[must_use]
pub fn rendered(plan: &crate::plan::Plan, context: &Context, format: Format, out: &Out) -> String {
    match format {
        Format::Text => render::text(plan, context, &out.style()),
        Format::Json => render::json(plan, context),
        Format::Sql => render::sql(plan),
        Format::Markdown => render::markdown(plan, context),
    }
}
