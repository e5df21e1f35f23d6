//! `schema plan`

use std::path::PathBuf;

use super::{Global, Out};
use crate::error::{CliError, Code};

/// Arguments of `schema plan`.
#[derive(clap::Args, Debug)]
#[command(
    about = "Make a plan from the live to the desired state",
    long_about = "Compares the live database with the desired state, prints how to get from one\nto the other without blocking or breaking clients, and writes it to\nplans/NNNN-name.kdl. It changes nothing. When there is nothing to do, it says\nso and writes nothing.",
    after_help = "Examples:\n  schema plan\n  schema plan --name severity-level\n  schema plan --allow drop-column --because \"nothing reads it since 2.4\"\n  schema plan --out - --format sql\n  schema plan --from git:main --to schema --exit-code"
)]
pub struct Args {
    /// Start from this state instead of the database (see `schema diff`)
    #[arg(long, value_name = "STATE")]
    pub from: Option<String>,
    /// End in this state instead of the source
    #[arg(long, value_name = "STATE")]
    pub to: Option<String>,
    /// Write the plan here; `-` for stdout
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// What the plan is called
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Hazards that are allowed, or `all`
    #[arg(long, value_name = "HAZARD,…", value_delimiter = ',', value_parser = super::allowed)]
    pub allow: Vec<super::Allowed>,
    /// Why they are allowed; stands in the plan
    #[arg(long, value_name = "TEXT", requires = "allow")]
    pub because: Option<String>,
    /// End with exit code 2 when there is something to do
    #[arg(long)]
    pub exit_code: bool,
    /// Plan for this one environment alone, back to what the plans say
    #[arg(long, conflicts_with_all = ["from", "to"])]
    pub repair: bool,
    /// Make a plan with one step, to be written by hand
    #[arg(long, value_name = "NAME", conflicts_with_all = ["from", "to", "repair"])]
    pub custom: Option<String>,
    /// Take versions and sizes from facts/ENV.kdl
    #[arg(long, value_name = "ENV", requires = "from")]
    pub facts: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// Whatever keeps it from its result.
#[expect(clippy::unused_async, reason = "reads a database")]
pub async fn run(_args: Args, _global: &Global, _out: &mut Out) -> Result<Code, CliError> {
    Err(CliError::not_built("plan"))
}
