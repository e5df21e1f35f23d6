//! The pure planner: two states, hints, facts and a policy to a plan.

use super::assemble;
use super::change::changes;
use super::draft::{Context, Op};
use super::facts::{Facts, Policy};
use super::graph::{self, Cycle};
use super::plan::{Plan, Proof, StageName};
use super::renames::{InPlace, in_place, told};
use super::simulate::{Difference, simulate};
use crate::catalog::{Catalog, Fingerprint, Id, Indexed};
use crate::kind::lowering::Hints;
use crate::recipe;

/// What a plan is made from.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The live state, with its dependencies.
    pub live: &'a Catalog,
    /// The desired state, elaborated, with its dependencies.
    pub desired: &'a Catalog,
    /// Renames, backfills.
    pub hints: &'a Hints,
    /// Sizes, versions.
    pub facts: &'a Facts,
    /// What the project wants.
    pub policy: &'a Policy,
}

/// Why no plan can be made.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A defect of a kind or recipe.
    #[error(transparent)]
    Cycle(#[from] Cycle),
    /// A defect of a kind or recipe: the plan would not end in the desired state.
    #[error("the plan would not end in the desired state; this is a defect of schema, nothing was touched.\nwrong: {}\nleft over: {}", list(&.0.wrong), list(&.0.left))]
    Unsound(Difference),
    /// A defect of a kind or recipe: a step would run in a stage that was over.
    #[error("steps of the plan stand in stages that go back: {0}")]
    Backwards(String),
}

fn list(ids: &[Id]) -> String {
    if ids.is_empty() { "nothing".to_owned() } else { ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ") }
}

/// Computes the plan. Its name, the place of elaboration and the proof are filled in by the caller.
/// An empty plan has no stages.
///
/// # Errors
/// Only for defects of `schema` itself.
pub fn plan(input: &Input<'_>) -> Result<Plan, PlanError> {
    let Input { live: before, desired, .. } = *input;
    // Both fingerprints read every object; nothing else here does so more than once.
    let (planned, from, to) = std::thread::scope(|scope| {
        let fingerprints = [before, desired].map(|state| scope.spawn(|| Fingerprint::of_catalog(state)));
        let planned = steps(input);
        let [from, to] = fingerprints.map(|thread| thread.join().expect("objects are plain, sized data"));
        (planned, from, to)
    });
    Ok(Plan { from, to, ..planned? })
}

/// The plan without the fingerprints of its two states: what is left for a change of one column is a single
/// comparison of the two.
///
/// # Errors
/// Only for defects of `schema` itself.
pub fn steps(input: &Input<'_>) -> Result<Plan, PlanError> {
    let Input { live: before, desired, hints, facts, policy } = *input;
    let desired = &Indexed::new(desired);
    let InPlace { renames, after: mut moved } = in_place(input);
    if let Some(moved) = &mut moved {
        told(moved, before, &facts.after_renames);
    }
    let facts = &facts.renamed(hints);
    let live = &Indexed::new(moved.as_ref().unwrap_or(before));
    let cx = Context { live, desired, hints, facts, policy };
    let mut pending = changes(live, desired);
    let differing: Vec<Id> = pending.keys().cloned().collect();
    let mut draft = recipe::draft(&cx, &mut pending);
    graph::connect(&cx, &mut draft);
    // Renames in place come before everything that uses the new names, in their own order.
    let count = draft.ops.len();
    let mut previous = None;
    let mut ends = Vec::new();
    for (op, end) in renames {
        let at = draft.push(op);
        for other in 0..count {
            draft.order(at, other);
        }
        if let Some(previous) = previous {
            draft.order(previous, at);
        }
        previous = Some(at);
        if let Some(end) = end {
            let table = end.id.clone();
            let end = draft.push(end);
            ends.push(end);
            draft.order(at, end);
            // The view under the old name still shows the columns that go.
            for other in 0..count {
                let Op { id, stage, .. } = &draft.ops[other];
                if *stage == StageName::Contract && id.path.starts_with(&table.path) {
                    draft.order(end, other);
                }
            }
        }
    }
    let order = graph::order(&mut draft)?;
    recipe::undo::derive(&cx, &mut draft, &order);
    for end in ends {
        recipe::rename::out_of_the_way(&mut draft, end);
    }
    recipe::excluded::make_way_back(&cx, &mut draft, &order);
    recipe::rights::restore(&cx, &mut draft);
    recipe::part_column::set_back(&cx, &mut draft);
    recipe::part_default::set_back(&cx, &mut draft, &order);
    recipe::default_grants::taken_of_made_again(&cx, &mut draft);
    let difference = simulate(live, desired, &differing, &draft, &order);
    if !difference.is_empty() {
        return Err(PlanError::Unsound(difference));
    }
    let stages = assemble::stages(&cx, &draft, &order);
    if let Some(steps) = assemble::backwards(&stages) {
        return Err(PlanError::Backwards(steps));
    }
    Ok(Plan {
        name: String::new(),
        made_by: format!("schema {}", env!("CARGO_PKG_VERSION")),
        elaborated_on: String::new(),
        from: Fingerprint::default(),
        to: Fingerprint::default(),
        relies_on: assemble::relies_on(before, &draft),
        assumes: assemble::assumptions(&cx, &draft),
        hazards: assemble::hazards(&draft, &order),
        allowances: Vec::new(),
        summary: assemble::summary(&Context { live: &Indexed::new(before), ..cx }, before, moved.is_none().then_some(differing.as_slice())),
        stages,
        proof: Proof::Skipped,
        gate: None,
    })
}
