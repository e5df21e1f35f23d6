//! `schema check`

use super::{Global, Out, planning};
use crate::engine::State;
use crate::error::{CliError, Code};

/// Arguments of `schema check`.
#[derive(clap::Args, Debug)]
#[command(
    about = "Validate the desired state",
    long_about = "Validates the desired state without a database. With --env or --url also what\nonly a server knows. With --base it fails when the source changed without a\nplan, when plans do not end in the source, or share a number.",
    after_help = "Examples:\n  schema check\n  schema check --url postgres://me@localhost/dev\n  schema check --base git:main               in a pull request"
)]
pub struct Args {
    /// Also check that the plans follow the source, from this state on
    #[arg(long, value_name = "STATE")]
    pub base: Option<String>,
}

/// Validates the source.
///
/// # Errors
/// What is wrong, at its places.
pub async fn run(args: Args, global: &Global, out: &mut Out) -> Result<Code, CliError> {
    global.format(&[super::Format::Text])?;
    let project = global.project()?;
    let scope = planning::scope(&project);
    let mut bench = planning::bench(&project, out);
    let desired = planning::source(&project, &scope, &mut bench).await?;
    let counted = planning::counted(&desired.catalog);
    // A plan that cannot be read is a finding as well.
    let plans = crate::project::plans::all(&project.config.plans)?;
    if project.names_database() {
        let place = project.place()?;
        let session = crate::project::session(&place).await?;
        let policy = crate::plan::Policy { small_table_rows: project.config.small_table_rows, direct: false, quarantine: None };
        planning::from_database(&session, desired.clone(), &scope, policy, false, &mut bench).await?;
    }
    if let Some(base) = &args.base {
        let from = planning::state(&project, base, &scope, &mut bench).await?;
        let policy = crate::plan::Policy { small_table_rows: project.config.small_table_rows, direct: true, quarantine: None };
        let computed = planning::between(from, State::Files(desired), &scope, policy, false, &mut bench).await?;
        let end = computed.plan.to.clone();
        let planned = computed.plan.is_empty() || plans.iter().any(|file| file.plan.to == end);
        if !planned {
            bench.stop().await;
            out.notice(&format!("The source differs from {base}, and no plan ends in it. Make one: schema plan"));
            return Ok(Code::Differences);
        }
    }
    bench.stop().await;
    out.notice(&format!("{counted} and {} plans: nothing wrong.", plans.len()));
    Ok(Code::Done)
}
