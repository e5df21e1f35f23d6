//! What plans leave when they end otherwise than by their last step: helpers that stayed, indexes that were never
//! finished. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::beside::Beside;
use crate::catalog::id::derived_name;
use crate::catalog::{Catalog, Id};
use crate::kind::schema::Schema;
use crate::kind::{Object, weight};
use crate::plan::Transaction;
use crate::plan::op::Action;
use crate::plan::plan::{Plan, Stage, StageName, Step, Undo, Work};

/// What a plan leads to: ids that are there in the end, and ids that are gone, its own helpers among them.
#[derive(Debug, Default)]
pub struct End<'p> {
    /// Made or altered.
    pub there: BTreeSet<&'p Id>,
    /// Taken away.
    pub gone: BTreeSet<&'p Id>,
    /// Of those, what the plan itself had made: shadow columns, triggers, indexes under another name.
    pub helpers: BTreeSet<&'p Id>,
}

impl<'p> End<'p> {
    /// Of all steps of a plan.
    #[must_use]
    pub fn of(plan: &'p Plan) -> Self {
        let mut end = Self::default();
        let before: BTreeSet<&Id> = plan.relies_on.iter().flat_map(|one| one.parts.iter().map(|(id, _)| id)).collect();
        for (_, step) in plan.steps() {
            for id in &step.takes {
                if end.there.remove(id) && !before.contains(id) {
                    end.helpers.insert(id);
                }
                end.gone.insert(id);
            }
            // What a step takes away and makes is made anew.
            for id in &step.makes {
                end.gone.remove(id);
                end.helpers.remove(id);
                end.there.insert(id);
            }
        }
        end
    }
}

/// What stands in `live` and belongs to no plan any more. `finished` are the plans that were done or rolled back,
/// `unfinished` those that still own their helpers. Dependants first.
#[must_use]
pub fn leftovers<'c>(finished: &[Plan], unfinished: &[Plan], live: &'c Catalog) -> Vec<&'c Object> {
    let ends: Vec<End<'_>> = finished.iter().map(End::of).collect();
    let mut owned: BTreeSet<Id> = ends.iter().flat_map(|end| end.there.iter().map(|id| (*id).clone())).collect();
    owned.extend(unfinished.iter().flat_map(Plan::steps).flat_map(|(_, step)| step.makes.iter().chain(&step.takes)).cloned());
    let mut wanted: BTreeSet<Id> = ends.iter().flat_map(|end| end.helpers.iter().map(|id| (*id).clone())).collect();
    for id in finished.iter().flat_map(Plan::steps).flat_map(|(_, step)| step.makes.iter().chain(&step.takes)) {
        wanted.extend(unfinished_indexes(id).into_iter().filter(|id| is_invalid(live, id)));
        if id.kind == "index" && is_invalid(live, id) && !unfinished.iter().flat_map(Plan::steps).any(|(_, step)| step.makes.contains(id)) {
            owned.remove(id);
            wanted.insert(id.clone());
        }
    }
    let mut found: BTreeMap<(usize, Id), &Object> = BTreeMap::new();
    for id in wanted.difference(&owned) {
        if let Some(object) = live.get(id) {
            found.insert((usize::MAX - weight(&id.kind), id.clone()), object);
        }
    }
    // What goes with its table's column or with its table needs no statement of its own.
    let ids: BTreeSet<Id> = found.keys().map(|(_, id)| id.clone()).collect();
    found.into_values().filter(|object| object.parent().is_none_or(|parent| !ids.contains(&parent))).collect()
}

/// The names under which indexes are built on the way back and by REINDEX CONCURRENTLY.
fn unfinished_indexes(id: &Id) -> Vec<Id> {
    if !matches!(id.kind.as_str(), "index" | "primary-key" | "unique") {
        return Vec::new();
    }
    ["_back", "_ccnew", "_ccold"].map(|end| id.renamed(&derived_name(id.name(), end)).as_kind("index")).to_vec()
}

fn is_invalid(live: &Catalog, id: &Id) -> bool {
    matches!(live.get(id), Some(Object::Index(index)) if index.invalid)
}

/// The plan that takes them away; it is run without the ledger.
#[must_use]
pub fn sweep(objects: &[&Object], beside: &[Beside]) -> Plan {
    let mut steps = Vec::new();
    for object in objects {
        let action = match object {
            Object::Index(index) if index.part_of.is_none() => index.drop_concurrently(),
            _ => object.drop(),
        };
        let number = u32::try_from(steps.len() + 1).unwrap_or(u32::MAX);
        steps.push(step(number, action, object.id()));
    }
    for one in beside {
        let number = u32::try_from(steps.len() + 1).unwrap_or(u32::MAX);
        let action = Action { sql: one.sql.clone(), ..Action::new(format!("Drop schema {} and what is in it", one.schema)) };
        steps.push(step(number, action, Schema::id_of(&one.schema)));
    }
    let stage = Stage { name: StageName::Expand, note: String::new(), steps };
    Plan { name: "clean".to_owned(), stages: vec![stage], ..Plan::default() }
}

fn step(number: u32, action: Action, id: Id) -> Step {
    let Action { title, sql, locks, transaction, hazards: _, loses: _, probe } = action;
    let probe = probe.filter(|_| transaction == Transaction::Outside);
    Step {
        number,
        title,
        recipe: "clean".to_owned(),
        work: Work::Sql(sql),
        transaction,
        locks,
        undo: Undo::Impossible,
        loses: Vec::new(),
        makes: Vec::new(),
        takes: vec![id],
        probe,
        preflight: Vec::new(),
        verify: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::sample;

    #[test]
    fn a_plan_ends_without_its_helpers() {
        let plan = sample::severity_level();
        let end = End::of(&plan);
        assert!(end.there.iter().any(|id| id.name() == "severity_level"), "{:?}", end.there);
        assert!(end.gone.iter().any(|id| id.name() == "severity"), "{:?}", end.gone);
        assert!(end.helpers.iter().all(|id| !end.there.contains(*id)));
        assert!(leftovers(&[plan], &[], &Catalog::default()).is_empty());
    }
}
