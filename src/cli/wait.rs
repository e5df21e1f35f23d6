//! `schema wait`

use std::time::{Duration, Instant};

use super::{Format, Global, Out};
use crate::apply::gate::look;
use crate::apply::status::{PlanStatus, plan_text, plans as ledger_plans};
use crate::apply::{PlanState, status};
use crate::config::duration;
use crate::error::{CliError, Code};
use crate::pg::Session;
use crate::plan::plan::{Gate, StageName};
use crate::project::plans::fits;
use crate::project::session;

/// How often it is looked.
const EVERY: Duration = Duration::from_secs(2);

/// Arguments of `schema wait`.
#[derive(clap::Args, Debug)]
#[command(
    about = "Wait until a plan has come so far",
    long_about = "Waits until a plan has come so far on a database: for pipelines that deploy the\nnew release behind a stage. It reads the ledger every two seconds. With\n\
        --for gate it looks each time which clients are still there, as `status` does.",
    after_help = "Exit codes: 0 it has; 1 the plan failed; 3 not within the time, or it was rolled\nback.

Examples:
  schema wait 7 --for switch --timeout 30m     the new release may be deployed
  schema wait 7 --for gate --timeout 24h       no old client is left
  schema wait 7 --for done"
)]
pub struct Args {
    /// The plan: its name or number
    #[arg(value_name = "PLAN")]
    pub plan: String,
    /// expand, backfill, switch, gate or done
    #[arg(long = "for", value_name = "STAGE", default_value = "done", value_parser = aim)]
    pub aim: Aim,
    /// How long at most
    #[arg(long, value_name = "DURATION", default_value = "30m", value_parser = duration::parse)]
    pub timeout: Duration,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aim {
    /// A stage and all before it are done.
    Stage(StageName),
    /// The gate before contract is met.
    Gate,
    /// The whole plan is done.
    Done,
}

fn aim(word: &str) -> Result<Aim, String> {
    match word {
        "gate" => Ok(Aim::Gate),
        "done" | "contract" => Ok(Aim::Done),
        word => StageName::from_name(word).map(Aim::Stage).ok_or_else(|| "wait for expand, backfill, switch, gate or done".to_owned()),
    }
}

/// Waits.
///
/// # Errors
/// It failed, was rolled back, or the time is over.
pub async fn run(args: &Args, global: &Global, out: &Out) -> Result<Code, CliError> {
    global.format(&[Format::Text])?;
    let project = global.project()?;
    let place = project.place()?;
    let mut connected = session(&place).await?;
    let gates: Vec<Gate> = place.environment.and_then(|environment| environment.gate.clone()).into_iter().collect();
    let begun = Instant::now();
    let mut told = String::new();
    loop {
        let why = match look_for(args, &connected, &gates, &project.env_flag()).await {
            Ok(None) => return Ok(Code::Done),
            Ok(Some(why)) => why,
            // A server that is restarted comes back.
            Err(lost) if lost.code() == Code::Unreachable => match session(&place).await {
                Ok(again) => {
                    connected = again;
                    format!("the connection was lost ({lost}); there is another one")
                }
                Err(error) if error.code() == Code::Unreachable => format!("the connection was lost ({lost}), and there is no other yet"),
                Err(error) => return Err(error),
            },
            Err(error) => return Err(error),
        };
        let left = args.timeout.saturating_sub(begun.elapsed());
        if left.is_zero() {
            return Err(CliError::refused(
                format!("{} did not come so far within {}: {why}", args.plan, duration::format(args.timeout)),
                "see `schema status`",
            ));
        }
        if why != told {
            out.notice(&format!("{}: {why}", args.plan));
            told = why;
        }
        tokio::time::sleep(EVERY.min(left)).await;
    }
}

async fn look_for(args: &Args, session: &Session, gates: &[Gate], env: &str) -> Result<Option<String>, CliError> {
    let plans = ledger_plans(session.client()).await?;
    let exact = plans.iter().find(|status| status.name == args.plan);
    match exact.or_else(|| plans.iter().find(|status| fits(&status.name, &args.plan))) {
        None => Ok(Some("nothing of it was applied yet".to_owned())),
        Some(status) => missing(session, status, args.aim, gates, env).await,
    }
}

/// What it still waits for; nothing when it is there.
///
/// # Errors
/// It cannot come there any more.
async fn missing(session: &Session, status: &PlanStatus, aim: Aim, gates: &[Gate], env: &str) -> Result<Option<String>, CliError> {
    let name = &status.name;
    match status.state {
        PlanState::RollingBack => {
            return Err(CliError::refused(format!("{name} is being rolled back"), format!("go on with: schema rollback{env} {name}")));
        }
        PlanState::RolledBack => {
            return Err(CliError::refused(
                format!("{name} was rolled back"),
                format!("to run it once more: schema apply{env} {name} --again"),
            ));
        }
        PlanState::Failed if !matches!(aim, Aim::Stage(stage) if status.reached(stage)) => {
            let step = status.steps.iter().find(|step| step.state == "failed");
            let why = step.map(|step| format!(" at step {}: {}", step.number, step.error.as_deref().unwrap_or_default()));
            return Err(CliError::failed(
                format!("{name} failed{}", why.unwrap_or_default()),
                format!("go on with: schema apply{env} {name}"),
            ));
        }
        PlanState::Failed | PlanState::Running | PlanState::Waiting | PlanState::Done => {}
    }
    let there = match aim {
        Aim::Done => status.state == PlanState::Done,
        Aim::Stage(stage) => status.reached(stage),
        Aim::Gate => {
            let Some(text) = plan_text(session.client(), name).await? else { return Ok(Some("its text is not in the ledger".to_owned())) };
            let plan = crate::plan::file::read(std::path::Path::new(name), &text)?;
            let gates: Vec<Gate> = plan.gate.iter().chain(gates).cloned().collect();
            if gates.is_empty() {
                return Err(CliError::refused(
                    format!("{name} has no gate: nothing tells when the clients of the old release are gone"),
                    "write a `gate` into schema.kdl, for the environment; or wait for switch, and say --confirm old-clients-gone yourself",
                ));
            }
            let evidence = look(session.client(), &plan, &gates).await?;
            return Ok((!evidence.unmet.is_empty()).then(|| evidence.unmet.join("; ")));
        }
    };
    Ok((!there).then(|| standing(status)))
}

fn standing(status: &PlanStatus) -> String {
    let running = |step: &&status::StepStatus| step.state != "done";
    status.steps.iter().find(running).map_or_else(
        || "its last step is being recorded".to_owned(),
        |step| format!("step {} of {} ({}) is {}", step.number, status.steps.len(), step.title, step.state),
    )
}
