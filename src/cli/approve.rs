//! `schema approve`

use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use super::{Global, Out, time};
use crate::error::{CliError, Code};
use crate::plan::file::{Approval, read_approvals, write_approval};
use crate::project::{files, plans};

/// Arguments of `schema approve`.
#[derive(clap::Args, Debug)]
#[command(
    about = "Record that you approve a plan",
    long_about = "Records that you reviewed a plan, in plans/NNNN-name.approvals.kdl, to be\ncommitted. An approval holds for the plan as it is now: once a step, a hazard or\nan allowance changes, it counts no more.",
    after_help = "Examples:
  schema approve 7
  schema approve 0007-severity-level --by \"Ann <ann@example.org>\""
)]
pub struct Args {
    /// The plan: its name, number or file
    #[arg(value_name = "PLAN")]
    pub plan: String,
    /// Who you are [default: as git knows you]
    #[arg(long, value_name = "NAME <MAIL>")]
    pub by: Option<String>,
}

/// Records the approval.
///
/// # Errors
/// No such plan, nobody known who approves.
pub fn run(args: &Args, global: &Global, out: &Out) -> Result<Code, CliError> {
    global.format(&[super::Format::Text])?;
    let project = global.project()?;
    let plan = plans::find(&project.config.plans, &args.plan)?;
    let by = match &args.by {
        Some(by) => by.clone(),
        None => git_identity().ok_or_else(|| {
            CliError::failed("who approves?", "say --by \"Ann <ann@example.org>\", or set git's user.name and user.email")
        })?,
    };
    if plan.approvers()?.contains(&by) {
        out.notice(&format!("{by} has already approved {}: {}", plan.plan.name, plan.hash));
        return Ok(Code::Done);
    }
    let path = plan.approvals_path();
    let mut text = files::read_if_there(&path)?.unwrap_or_default();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(&write_approval(&Approval { plan: plan.hash.clone(), by: by.clone(), at: time::rfc3339(SystemTime::now()) }));
    // What is written must be readable by everybody who applies it.
    read_approvals(&path, &text)?;
    files::write(&path, &text)?;
    out.notice(&format!("{by} approves {}: {}", plan.plan.name, plan.hash));
    out.notice(&format!("Wrote {}. Next: commit it.", project.shown(&path)));
    Ok(Code::Done)
}

/// Name and mail address as git knows them here.
#[must_use]
pub fn git_identity() -> Option<String> {
    let get = |key: &str| {
        let output = Command::new("git").args(["config", "--get", key]).current_dir(Path::new(".")).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
        (output.status.success() && !text.is_empty()).then_some(text)
    };
    Some(format!("{} <{}>", get("user.name")?, get("user.email")?))
}
