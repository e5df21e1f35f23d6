//! `schema demo`


use super::{Global, Out};
use crate::error::{CliError, Code};

/// Arguments of `schema demo`.
#[derive(clap::Args, Debug)]
#[command(
    about = "Show a complete change on a private server",
    long_about = "Starts a private PostgreSQL, loads an example with some hundred thousand rows and\na small load beside it, makes a plan, shows it, and applies it stage by stage.\nNothing else on this machine is touched; the server is gone afterwards.",
    after_help = "Examples:\n  schema demo\n  schema demo --rows 2000000 --keep"
)]
pub struct Args {
    /// Rows in the example's large table
    #[arg(long, value_name = "N", default_value_t = 300_000)]
    pub rows: u64,
    /// Keep the server, and print how to reach it
    #[arg(long)]
    pub keep: bool,
}

/// Runs the command.
///
/// # Errors
/// Whatever keeps it from its result.
#[expect(clippy::unused_async, reason = "reads a database")]
pub async fn run(_args: Args, _global: &Global, _out: &mut Out) -> Result<Code, CliError> {
    Err(CliError::not_built("demo"))
}
