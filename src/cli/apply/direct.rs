//! `schema apply --direct`: from the source to the database, without a plan file.

use super::consent::Consent;
use super::{Args, check_hazards};
use crate::apply::status::plans as ledger_plans;
use crate::apply::{Options, PlanState, ledger};
use crate::cli::once::Once;
use crate::cli::signals::Signals;
use crate::cli::{Out, planning};
use crate::config::Place;
use crate::error::{CliError, Code};
use crate::plan::policy::Policy;
use crate::plan::{Hazard, Plan, Policy as PlanPolicy};
use crate::project::{Project, described, session, target};

/// From the source to the database in as few transactions as possible, without a plan file.
pub(super) async fn run(args: &Args, project: &Project, place: &Place<'_>, signals: &Signals, out: &Out) -> Result<Code, CliError> {
    if let Some(environment) = place.environment.filter(|environment| environment.approvals > 0) {
        return Err(CliError::refused(
            format!("{} needs approvals, so nothing is applied to it directly", environment.name),
            "make a plan: schema plan",
        ));
    }
    let scope = planning::scope(project);
    let mut bench = planning::bench(project, out);
    let desired = planning::source(project, &scope, &mut bench).await?;
    let first = session(place).await?;
    let seen_epoch = Some(ledger::epoch(first.client()).await?);
    if let Some(unfinished) =
        ledger_plans(first.client()).await?.iter().find(|status| !matches!(status.state, PlanState::Done | PlanState::RolledBack))
    {
        return Err(CliError::refused(
            format!("{} is not finished on {}", unfinished.name, described(&first)),
            format!("finish it first: schema apply{} {} --all", project.env_flag(), unfinished.name),
        ));
    }
    let policy = PlanPolicy { small_table_rows: project.config.small_table_rows, direct: true, quarantine: None };
    let mut plan = planning::from_database(&first, desired, &scope, policy, false, &mut bench).await?.plan;
    bench.stop().await;
    if plan.is_empty() {
        out.notice(&format!(
            "Nothing to do: {} is in the desired state. (Applied directly, from the source; plans play no part.)",
            described(&first)
        ));
        return Ok(Code::Done);
    }
    "direct".clone_into(&mut plan.name);
    super::super::allow(&mut plan, &args.allow, None);
    // What nobody else is there to feel needs no leave; what is lost does.
    plan.hazards.retain(|note| {
        matches!(note.hazard, Hazard::DropTable | Hazard::DropColumn | Hazard::DropData | Hazard::LossyCast | Hazard::Irreversible)
    });
    check_direct(&plan, place.policy)?;
    let consent =
        Consent { target: described(&first), environment: place.environment.map(|environment| environment.name.as_str()), by_name: false };
    let summary: Vec<String> = plan.summary.iter().map(|one| format!("  {} {}", one.sign, one.subject)).collect();
    out.notice(&format!("Directly from the source to {}, without a plan:", described(&first)));
    out.notice(&summary.join("\n"));
    if !args.yes && !consent.ask_direct(out)? {
        return Err(CliError::message(Code::Refused, "nothing was applied"));
    }
    let command = format!("schema apply --direct{}", project.env_flag());
    let options = Options { max_time: args.max_time, preflight: !args.no_preflight, seen_epoch, ..Options::direct() };
    Once { target: target(place)?, project, command, signals, options }.show(first, &plan, out).await?;
    out.notice("Done.");
    Ok(Code::Done)
}

/// As [`check_hazards`], with the command that allows.
fn check_direct(plan: &Plan, policy: &Policy) -> Result<(), CliError> {
    check_hazards(plan, policy).map_err(|_| {
        let names: Vec<&str> =
            plan.hazards.iter().map(|note| note.hazard.name()).collect::<std::collections::BTreeSet<_>>().into_iter().collect();
        let subjects: Vec<String> = plan.hazards.iter().map(|note| format!("{} ({})", note.hazard, note.subject)).collect();
        CliError::refused(
            format!("this has hazards that nobody allowed: {}", subjects.join(", ")),
            format!("if that is meant: schema apply --direct --allow {}", names.join(",")),
        )
    })
}
