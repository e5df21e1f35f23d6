//! `schema backfill`

use super::{Format, Global, Out};
use crate::apply::lock::find_holder;
use crate::apply::set_control;
use crate::apply::status::{BackfillStatus, PlanStatus, plans as ledger_plans};
use crate::error::{CliError, Code};
use crate::plan::render::number;
use crate::project::{described, plans, session};

/// Arguments of `schema backfill`.
#[derive(clap::Args, Debug)]
#[command(
    about = "Pause, resume or stop a backfill",
    long_about = "Pauses, resumes or stops the backfill that `schema apply` runs in another\nterminal. The applier looks between two batches; what is committed stays.",
    after_help = "Exit codes: 0 it was told; 1 no backfill is under way.

Examples:
  schema backfill pause --env production     hold, until it is resumed
  schema backfill resume 7
  schema backfill stop 7                     apply ends with exit code 5",
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct Args {
    /// What it is to do
    #[command(subcommand)]
    pub wish: Wish,
}

/// What a backfill is to do.
#[derive(clap::Subcommand, Debug)]
pub enum Wish {
    /// Hold behind the running batch, also when apply is started anew
    Pause(Which),
    /// Go on
    Resume(Which),
    /// End apply behind the running batch, with exit code 5
    Stop(Which),
}

/// Whose backfill is meant.
#[derive(clap::Args, Debug)]
pub struct Which {
    /// The plan: its name or number; without it, every plan
    #[arg(value_name = "PLAN")]
    pub plan: Option<String>,
}

impl Wish {
    /// The word in the ledger, and whose backfill is meant.
    const fn parts(&self) -> (&'static str, &Which) {
        match self {
            Self::Pause(which) => ("pause", which),
            Self::Resume(which) => ("run", which),
            Self::Stop(which) => ("stop", which),
        }
    }
}

/// Tells the applier.
///
/// # Errors
/// No database, or no such backfill.
pub async fn run(args: &Args, global: &Global, out: &Out) -> Result<Code, CliError> {
    global.format(&[Format::Text])?;
    let project = global.project()?;
    let session = session(&project.place()?).await?;
    let (control, which) = args.wish.parts();
    let ledger = ledger_plans(session.client()).await?;
    let meant = |status: &&PlanStatus| which.plan.as_deref().is_none_or(|meant| status.name == meant || plans::fits(&status.name, meant));
    let under_way: Vec<_> = ledger.iter().filter(meant).filter_map(|status| Some((status, under_way(status)?))).collect();
    if under_way.is_empty() {
        let of = which.plan.as_ref().map(|plan| format!(" of {plan}")).unwrap_or_default();
        return Err(CliError::failed(format!("no backfill{of} is under way on {}", described(&session)), "see `schema status`"));
    }
    let env = project.env_flag();
    // Its default must not decide whether a backfill can be stopped.
    session.client().batch_execute("SET default_transaction_read_only = off").await?;
    let at_work = find_holder(session.client()).await?.is_some_and(|holder| !holder.orphan);
    for (status, (step, backfill)) in under_way {
        let name = &status.name;
        if set_control(session.client(), Some(name), control).await? == 0 {
            out.notice(&format!("{name}: its backfill is done by now."));
            continue;
        }
        let rows = |rows: i64| number(rows.max(0).unsigned_abs());
        let of = backfill.rows_total.map(|total| format!(" of {}", rows(total))).unwrap_or_default();
        let place = format!("{name}, step {step}: {}{of} rows", rows(backfill.rows_seen));
        out.notice(&match args.wish {
            Wish::Pause(_) if at_work => {
                format!("{place}; it holds behind the running batch. To go on: schema backfill resume{env} {name}")
            }
            Wish::Pause(_) => {
                format!("{place}; nobody is at work, and it holds when apply comes. To go on: schema backfill resume{env} {name}")
            }
            Wish::Resume(_) if at_work => format!("{place}; it goes on."),
            Wish::Resume(_) => format!("{place}; nobody is at work: schema apply{env} {name}"),
            Wish::Stop(_) if at_work => format!("{place}; apply ends behind the running batch. To go on: schema apply{env} {name}"),
            Wish::Stop(_) => format!("{place}; nobody is at work. To go on: schema apply{env} {name}"),
        });
    }
    Ok(Code::Done)
}

/// The step whose backfill was begun and is not done.
fn under_way(status: &PlanStatus) -> Option<(u32, &BackfillStatus)> {
    let mut unfinished = status.steps.iter().filter(|step| matches!(step.state.as_str(), "running" | "failed"));
    unfinished.find_map(|step| Some((step.number, step.backfill.as_ref()?)))
}
