//! `schema history`

use std::fmt::Write;

use super::status::when;
use super::{Format, Global, Out, time};
use crate::apply::status::{PlanStatus, plans as ledger_plans};
use crate::error::{CliError, Code};
use crate::project::{described, session};

/// Arguments of `schema history`.
#[derive(clap::Args, Debug)]
#[command(
    about = "Show what was applied to a database, and when",
    long_about = "Shows the chain of plans that a database went through, with times and hashes,\nas its ledger has it. Needs no files.",
    after_help = "Examples:
  schema history --env production
  schema history 0007-severity-level    every step of one plan"
)]
pub struct Args {
    /// Only this plan, step by step
    #[arg(value_name = "PLAN")]
    pub plan: Option<String>,
}

/// Prints what was applied.
///
/// # Errors
/// No database, no such plan in its ledger.
pub async fn run(args: &Args, global: &Global, out: &Out) -> Result<Code, CliError> {
    let format = global.format(&[Format::Text, Format::Json])?;
    let project = global.project()?;
    let place = project.place()?;
    let session = session(&place).await?;
    let mut plans = ledger_plans(session.client()).await?;
    if let Some(name) = &args.plan {
        plans.retain(|plan| plan.name == *name || plan.name.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with('-')));
        if plans.is_empty() {
            return Err(CliError::failed(format!("the ledger has no plan `{name}`"), "`schema history` lists all"));
        }
    }
    let text = match format {
        Format::Json => format!("{:#}\n", serde_json::json!({ "format": 1, "plans": plans.iter().map(json).collect::<Vec<_>>() })),
        _ => text(&plans, &described(&session), out.verbose || args.plan.is_some()),
    };
    out.result(&text)?;
    Ok(Code::Done)
}

fn json(plan: &PlanStatus) -> serde_json::Value {
    let step = |step: &crate::apply::status::StepStatus| {
        serde_json::json!({
            "number": step.number,
            "stage": step.stage,
            "title": step.title,
            "state": step.state,
            "attempt": step.attempt,
            "started": step.started.map(time::rfc3339),
            "ended": step.ended.map(time::rfc3339),
            "waited_ms": step.waited_ms,
            "error": step.error,
        })
    };
    serde_json::json!({
        "name": plan.name,
        "hash": plan.hash,
        "from": plan.from,
        "to": plan.to,
        "state": plan.state.name(),
        "who": plan.who,
        "started": time::rfc3339(plan.started),
        "ended": plan.ended.map(time::rfc3339),
        "steps": plan.steps.iter().map(step).collect::<Vec<_>>(),
    })
}

fn text(plans: &[PlanStatus], target: &str, steps: bool) -> String {
    let mut out = format!("{target}\n\n");
    if plans.is_empty() {
        out.push_str("Nothing was applied to this database.\n");
    }
    let width = plans.iter().map(|plan| plan.name.chars().count()).max().unwrap_or_default();
    for plan in plans {
        let _ = writeln!(out, "  {:width$}  {:11} {}", plan.name, plan.state.name(), when(plan));
        let _ = writeln!(out, "  {:width$}  {} by {}", "", plan.hash, plan.who);
        if !steps {
            continue;
        }
        for step in &plan.steps {
            let took = step.started.zip(step.ended).and_then(|(started, ended)| ended.duration_since(started).ok());
            let took = took.map(|took| format!(" in {}", time::span(took))).unwrap_or_default();
            let attempt = if step.attempt > 1 { format!(", attempt {}", step.attempt) } else { String::new() };
            let _ = writeln!(out, "    {:>3}  {:8} {}: {}{took}{attempt}", step.number, step.stage.name(), step.title, step.state);
            if let Some(error) = &step.error {
                let _ = writeln!(out, "         {}", error.replace('\n', "\n         "));
            }
        }
    }
    out
}
