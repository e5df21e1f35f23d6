//! `schema check`


use super::{Global, Out};
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

/// Runs the command.
///
/// # Errors
/// Whatever keeps it from its result.
#[expect(clippy::unused_async, reason = "reads a database")]
pub async fn run(_args: Args, _global: &Global, _out: &mut Out) -> Result<Code, CliError> {
    Err(CliError::not_built("check"))
}
