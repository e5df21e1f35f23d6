//! Recording a plan as done that was done by hand.

use super::context::Context;
use super::error::ApplyError;
use super::event::Options;
use super::halt::Halt;
use super::ledger;
use super::leftovers::End;
use super::lock;
use crate::catalog::{Catalog, Fingerprint, Id};
use crate::pg::{Session, Target, connect};
use crate::plan::Plan;

/// What speaks against a plan being done, as far as the plan itself can tell; nothing where `live` is exactly the
/// state that it leads to. Its verify queries are the caller's to run.
#[must_use]
pub fn not_yet(plan: &Plan, live: &Catalog) -> Vec<String> {
    if Fingerprint::of_catalog(live) == plan.to {
        return Vec::new();
    }
    let end = End::of(plan);
    // Who owns what, and may do what, is in the plan only where the project manages it.
    let counts = |id: &&&Id| !matches!(id.kind.as_str(), "owner" | "grant" | "view-column");
    let missing = end.there.iter().filter(counts).filter(|id| !live.contains(id)).map(|id| format!("{id} is not there"));
    let left = end.gone.iter().filter(counts).filter(|id| live.contains(id)).map(|id| format!("{id} is still there"));
    let before = plan.relies_on.iter().flat_map(|one| &one.parts);
    let same = before
        .filter(|(id, was)| end.there.contains(id) && live.get(id).is_some_and(|object| Fingerprint::of(object) == *was))
        // An object that comes again as it was (under a view that is made anew) says nothing.
        .filter(|(id, _)| alters(plan, id))
        .map(|(id, _)| format!("{id} is as it was before the plan"));
    missing.chain(left).chain(same).collect()
}

/// Whether the plan changes an object in place: it makes it and never takes it away.
fn alters(plan: &Plan, id: &Id) -> bool {
    plan.steps().any(|(_, step)| step.makes.contains(id)) && !plan.steps().any(|(_, step)| step.takes.contains(id))
}

/// Enters `plan` as done, every step of it.
///
/// # Errors
/// See [`ApplyError`].
pub async fn mark(session: Session, target: &Target, plan: &Plan, text: &str, hash: &str, options: &Options) -> Result<(), ApplyError> {
    let watching = connect(target).await?;
    let events = &mut |_| {};
    let mut context = Context::new(session, watching, target, plan, options, events);
    let result = run(&mut context, text, hash).await;
    lock::farewell(context).await;
    match result {
        Ok(()) => Ok(()),
        Err(Halt::Failed(error)) => Err(error),
        Err(Halt::Interrupted(reason)) => {
            let doing = "marking the plan as done".to_owned();
            Err(ApplyError::Query { doing, cause: reason, command: options.command.clone() })
        }
    }
}

async fn run(context: &mut Context<'_>, text: &str, hash: &str) -> Result<(), Halt> {
    lock::acquire(context).await?;
    ledger::check_epoch(context).await?;
    ledger::ensure(context).await?;
    context.epoch = Some(ledger::take_epoch(context).await?);
    ledger::enter(context, text, hash).await?;
    ledger::all_done(context).await?;
    Ok(())
}
