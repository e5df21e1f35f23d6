//! `schema diff`


use super::{Global, Out};
use crate::error::{CliError, Code};

/// Arguments of `schema diff`.
#[derive(clap::Args, Debug)]
#[command(
    about = "Compare two states",
    long_about = "Compares two states. A state is a folder, a .sql file, a connection string, the\nname of an environment, a plan, git:REV (the source as of then), or `empty`.",
    after_help = "Examples:\n  schema diff production schema\n  schema diff git:main schema --format sql\n  schema diff empty schema.sql"
)]
pub struct Args {
    /// The state to start from
    #[arg(value_name = "A")]
    pub from: String,
    /// The state to end in
    #[arg(value_name = "B")]
    pub to: String,
    /// End with exit code 2 when they differ
    #[arg(long)]
    pub exit_code: bool,
}

/// Runs the command.
///
/// # Errors
/// Whatever keeps it from its result.
#[expect(clippy::unused_async, reason = "reads a database")]
pub async fn run(_args: Args, _global: &Global, _out: &mut Out) -> Result<Code, CliError> {
    Err(CliError::not_built("diff"))
}
