//! The command line: one file per command. The only room that prints; results go to stdout,
//! progress and notices to stderr.

pub mod allow;
pub mod apply;
pub mod approve;
pub mod backfill;
pub mod check;
pub mod clean;
pub mod completions;
pub mod demo;
pub mod diff;
pub mod explain;
pub mod fmt;
pub mod global;
pub mod history;
pub mod init;
pub mod inspect;
pub mod mark;
mod once;
pub mod out;
pub mod plan;
pub mod planning;
mod progress;
pub mod purge;
pub mod rehearse;
pub mod rollback;
pub mod show;
mod signals;
pub mod status;
pub mod time;
pub mod topics;
pub mod undrop;
pub mod wait;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use self::allow::{Allowed, allow, allowed};
pub use self::global::{Format, Global};
pub use self::out::Out;
use crate::error::{CliError, Code};

/// Declarative, zero-downtime schema changes for PostgreSQL.
#[derive(Debug, Parser)]
#[command(
    name = "schema",
    version,
    about = "Declarative, zero-downtime schema changes for PostgreSQL",
    long_about = "Declarative, zero-downtime schema changes for PostgreSQL and TimescaleDB.\n\n\
        Describe the tables you want in schema/*.kdl. `schema plan` compares them\nwith a database and writes a plan: a file that people review. `schema apply`\n\
        executes it in stages, without blocking or breaking running clients.",
    after_help = "Start with `schema init`, or see it at work: `schema demo`.",
    after_long_help = EXIT_CODES,
    max_term_width = 80,
    propagate_version = false,
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct Cli {
    /// What holds for every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "\
Start with `schema init`, or see it at work: `schema demo`.

Exit codes:
  0  done, or nothing to do
  1  error
  2  there are differences (diff and plan with --exit-code, check, fmt --check)
  3  refused: not approved, stale, a forbidden hazard, a gate that is not met
  4  the database cannot be reached
  5  interrupted; it can be resumed";

/// The commands.
#[derive(Debug, Subcommand)]
#[expect(missing_docs, reason = "the arguments of each command say what it does; a text here would hide theirs")]
pub enum Command {
    Init(init::Args),
    Demo(demo::Args),
    Inspect(inspect::Args),
    Fmt(fmt::Args),
    Check(check::Args),
    Diff(diff::Args),
    Plan(plan::Args),
    Show(show::Args),
    Rehearse(rehearse::Args),
    Approve(approve::Args),
    Apply(apply::Args),
    Status(status::Args),
    Wait(wait::Args),
    Backfill(backfill::Args),
    History(history::Args),
    Rollback(rollback::Args),
    Mark(mark::Args),
    Undrop(undrop::Args),
    Purge(purge::Args),
    Clean(clean::Args),
    Explain(explain::Args),
    Completions(completions::Args),
}

/// Runs the program with these arguments, the first being its name.
#[must_use]
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => return usage(&error).into(),
    };
    let mut out = Out::new(&cli.global);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return out.error(&CliError::message(Code::Error, format!("cannot start: {error}"))).into(),
    };
    let result = runtime.block_on(run(cli, &mut out));
    // A task that still blocks (a name that is being looked up) must not hold the program.
    runtime.shutdown_background();
    match result {
        Ok(code) => code.into(),
        Err(error) => out.error(&error).into(),
    }
}

async fn run(cli: Cli, out: &mut Out) -> Result<Code, CliError> {
    let Cli { global, command } = cli;
    match command {
        Command::Init(args) => Box::pin(init::run(args, &global, out)).await,
        Command::Demo(args) => Box::pin(demo::run(args, &global, out)).await,
        Command::Inspect(args) => inspect::run(args, &global, out).await,
        Command::Fmt(args) => fmt::run(&args, &global, out),
        Command::Check(args) => Box::pin(check::run(args, &global, out)).await,
        Command::Diff(args) => Box::pin(diff::run(args, &global, out)).await,
        Command::Plan(args) => Box::pin(plan::run(args, &global, out)).await,
        Command::Show(args) => show::run(&args, &global, out),
        Command::Rehearse(args) => Box::pin(rehearse::run(args, &global, out)).await,
        Command::Approve(args) => approve::run(&args, &global, out),
        Command::Apply(args) => Box::pin(apply::run(args, &global, out)).await,
        Command::Status(args) => status::run(&args, &global, out).await,
        Command::Wait(args) => wait::run(&args, &global, out).await,
        Command::Backfill(args) => backfill::run(&args, &global, out).await,
        Command::History(args) => history::run(&args, &global, out).await,
        Command::Rollback(args) => rollback::run(args, &global, out).await,
        Command::Mark(args) => Box::pin(mark::run(&args, &global, out)).await,
        Command::Undrop(args) => undrop::run(&args, &global, out).await,
        Command::Purge(args) => purge::run(&args, &global, out).await,
        Command::Clean(args) => Box::pin(clean::run(&args, &global, out)).await,
        Command::Explain(args) => explain::run(&args, &global, out),
        Command::Completions(args) => completions::run(&args, out),
    }
}

/// Help and versions are results; everything else is an error with exit code 1 (clap's own is 2,
/// which here means differences).
fn usage(error: &clap::Error) -> Code {
    let asked = !error.use_stderr();
    // Nothing can be said about a stream that is closed.
    let _ = error.print();
    if asked { Code::Done } else { Code::Error }
}

#[cfg(test)]
mod tests;
