//! Planning while another plan is under way: what that one touches stays as it is until it is done.

use std::collections::BTreeSet;

use crate::catalog::{Catalog, Id};
use crate::plan::Plan;

/// What stands directly in a schema and is touched by a plan, helpers of its recipes included.
#[must_use]
pub fn touched(plan: &Plan) -> BTreeSet<Id> {
    let parts = plan.steps().flat_map(|(_, step)| step.makes.iter().chain(&step.takes));
    let mut units: BTreeSet<Id> = plan.relies_on.iter().map(|reliance| reliance.id.clone()).collect();
    for part in parts {
        let satellite = matches!(part.kind.as_str(), "comment" | "owner" | "grant" | "owned-by" | "cluster-on");
        let path = if satellite { &part.path[1..] } else { &part.path[..] };
        units.insert(part.clone());
        if path.len() > 2 {
            units.extend(["table", "view", "materialized-view", "domain"].map(|kind| Id::new(kind, path[..2].to_vec())));
        }
    }
    units
}

/// The desired state, where everything in `units` is as it is live.
#[must_use]
pub fn hold(live: &Catalog, mut raw: Catalog, units: &BTreeSet<Id>) -> Catalog {
    let held = |catalog: &Catalog, id: &Id| {
        let mut at = id.clone();
        loop {
            if units.contains(&at) {
                return true;
            }
            match catalog.get(&at).and_then(crate::kind::Object::parent) {
                Some(parent) => at = parent,
                None => return false,
            }
        }
    };
    let away: Vec<Id> = raw.objects.keys().filter(|id| held(&raw, id)).cloned().collect();
    for id in away {
        raw.objects.shift_remove(&id);
        raw.needs.shift_remove(&id);
    }
    for (id, object) in live.objects.iter().filter(|(id, _)| held(live, id)) {
        raw.objects.insert(id.clone(), object.clone());
        if let Some(needs) = live.needs.get(id) {
            raw.needs.insert(id.clone(), needs.clone());
        }
    }
    raw
}
