//! `schema completions`

use clap::CommandFactory;

use super::{Cli, Out};
use crate::error::{CliError, Code};

/// Arguments of `schema completions`.
#[derive(clap::Args, Debug)]
#[command(
    about = "Print a completion script for a shell",
    after_help = "Examples:
  schema completions bash > /etc/bash_completion.d/schema
  schema completions zsh > ~/.zfunc/_schema
  schema completions fish > ~/.config/fish/completions/schema.fish"
)]
pub struct Args {
    /// The shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// Prints the script.
///
/// # Errors
/// A stdout that cannot be written to.
pub fn run(args: &Args, out: &Out) -> Result<Code, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "schema", &mut script);
    out.result(&String::from_utf8_lossy(&script))?;
    Ok(Code::Done)
}
