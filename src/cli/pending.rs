//! Plans that wait for their contract stage on a database: what they will still take away is theirs,
//! not a difference that a new plan should see to.

use crate::apply::PlanState;
use crate::apply::status::{plan_text, plans as ledger_plans};
use crate::catalog::{Catalog, Id};
use crate::error::CliError;
use crate::kind::Kind as _;
use crate::kind::trigger::Trigger;
use crate::pg::Session;
use crate::plan::file;
use crate::plan::plan::StageName;
use crate::project::Project;

/// Takes out of `live` what the contract stages of unfinished plans will take away; gives the names
/// of these plans.
///
/// # Errors
/// A plan that stopped before its contract stage, or whose contract stage still makes something: what
/// it leads to cannot be told from the live state, so it goes first.
pub async fn account_for(session: &Session, live: &mut Catalog, project: &Project) -> Result<Vec<String>, CliError> {
    let mut waiting = Vec::new();
    for status in ledger_plans(session.client()).await? {
        if matches!(status.state, PlanState::Done | PlanState::RolledBack) || !status.begun() {
            continue;
        }
        if !status.reached(StageName::Switch) {
            return Err(CliError::refused(
                format!("{} is not finished on this database, so a plan from what is there now would undo half of it", status.name),
                format!("go on with it first: schema apply {}", status.name),
            ));
        }
        let Some(text) = plan_text(session.client(), &status.name).await? else { continue };
        let plan = file::read(&project.config.plans.join(format!("{}.kdl", status.name)), &text)?;
        let left: Vec<_> = plan.steps().map(|(_, step)| step).filter(|step| status.steps.iter().any(|known| known.number == step.number && known.state != "done")).collect();
        if let Some(made) = left.iter().flat_map(|step| &step.makes).next() {
            return Err(CliError::refused(
                format!("the contract stage of {} still makes {made}", status.name),
                format!("finish it first: schema apply {} --through contract", status.name),
            ));
        }
        for id in left.iter().flat_map(|step| &step.takes) {
            take(live, id);
        }
        waiting.push(status.name);
    }
    Ok(waiting)
}

/// Removes an object with what hangs on it; the function of a recipe's trigger goes with the trigger.
fn take(live: &mut Catalog, id: &Id) {
    if let Some(trigger) = live.get_as::<Trigger>(id) {
        let function = trigger.execute.function.clone();
        let used = live.of::<Trigger>().any(|other| other.id() != *id && other.execute.function == function);
        if !used && id.path.last().is_some_and(|name| name.trim_start_matches(['!', '~']) == function.path[1].as_str()) {
            remove(live, &function);
        }
    }
    remove(live, id);
}

fn remove(live: &mut Catalog, id: &Id) {
    live.remove(id);
    let about = |other: &Id| matches!(other.kind.as_str(), "comment" | "owner" | "grant") && other.path.len() > id.path.len() && other.path[0] == id.kind.as_str() && other.path[1..=id.path.len()] == id.path[..];
    let hanging: Vec<Id> = live.objects.keys().filter(|other| about(other)).cloned().collect();
    for other in hanging {
        live.remove(&other);
    }
}
