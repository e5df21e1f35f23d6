//! `schema inspect`

use std::path::PathBuf;

use super::{Global, Out};
use crate::error::{CliError, Code};

/// Arguments of `schema inspect`.
#[derive(clap::Args, Debug)]
#[command(
    about = "Write a live database as KDL",
    long_about = "Writes a live database, or an SQL dump, as KDL: to stdout, or as one file per\ntable below --out. Over a folder that is there already, it changes only the\nnodes that differ.",
    after_help = "Examples:\n  schema inspect --url postgres://me@db1/shop\n  schema inspect --env dev --out schema\n  schema inspect --from dump.sql --out schema"
)]
pub struct Args {
    /// Read an SQL file instead of a database
    #[arg(long, value_name = "FILE.sql", conflicts_with_all = ["env", "url"])]
    pub from: Option<PathBuf>,
    /// Write files into this folder
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Only these schemas
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub schemas: Vec<String>,
}

/// Runs the command.
///
/// # Errors
/// Whatever keeps it from its result.
#[expect(clippy::unused_async, reason = "reads a database")]
pub async fn run(_args: Args, _global: &Global, _out: &mut Out) -> Result<Code, CliError> {
    Err(CliError::not_built("inspect"))
}
