//! What stands on a table and stays on its old form, whatever that is called: views, rules, policies, triggers,
//! functions that speak of its rows. It is dropped at the switch and made again behind it.

use std::collections::BTreeSet;

use super::tree::{AT_SWITCH, objects};
use crate::catalog::{Catalog, Id};
use crate::kind::Object;
use crate::plan::change::{Change, Changes};
use crate::plan::draft::Context;
use crate::recipe::retype::followers::ordered;

/// The kinds that can be made again in an instant, or (a materialized view) while it is named.
const KINDS: [&str; 8] = ["view", "materialized-view", "policy", "trigger", "rule", "statistics", "function", "procedure"];

/// What goes away by itself with what it stands on, or is seen to elsewhere.
const APART: [&str; 8] = ["comment", "owner", "grant", "cluster-on", "view-column", "owned-by", "foreign-key", "replica-identity"];

/// What is dropped, and what is made, in the order of making.
pub(super) fn of(cx: &Context<'_>, changes: &Changes, old: &[Id], new: &[Id]) -> Result<(Vec<Id>, Vec<Id>), String> {
    let own: BTreeSet<Id> = objects(cx.live, old).map(Object::id).collect();
    let mut again: BTreeSet<Id> = BTreeSet::new();
    let mut open: Vec<Id> = own.iter().cloned().collect();
    while let Some(id) = open.pop() {
        let is_own = own.contains(&id);
        for dependant in cx.live.dependants(&id).filter(|dependant| !own.contains(*dependant)) {
            let kind = dependant.kind.as_str();
            if APART.contains(&kind) {
                continue;
            }
            // An index of a materialized view goes and comes with that.
            let carried = !is_own && cx.live.get(dependant).and_then(Object::parent).as_ref() == Some(&id);
            if !carried && !KINDS.contains(&kind) {
                return Err(match kind {
                    "publication" => format!("{dependant} names it: its subscribers come first"),
                    _ => format!("{dependant} uses {id}"),
                });
            }
            if !cx.desired.contains(dependant) {
                // It stays on the old form until both go.
                if is_own {
                    continue;
                }
                return Err(format!("{dependant} uses {id} and goes in the same plan: make two plans of it"));
            }
            if again.insert(dependant.clone()) {
                open.push(dependant.clone());
            }
        }
        if !is_own {
            for child in cx.live.parts(&id).into_iter().map(Object::id).filter(|child| cx.desired.contains(child)) {
                if again.insert(child.clone()) {
                    open.push(child);
                }
            }
        }
    }
    for id in &again {
        let needs = cx.live.get(id).map(|object| cx.live.all_needs(object)).unwrap_or_default();
        let other = needs.iter().filter(|need| !again.contains(*need) && !own.contains(*need)).find(|need| {
            let differs = need.kind == "column" && cx.live.get(need) != cx.desired.get(need);
            matches!(changes.get(*need), Some(Change::Replace | Change::Convert(_))) || differs && changes.contains_key(*need)
        });
        if let Some(other) = other {
            return Err(format!("{id} uses {other} as well, which changes in the same plan: make two plans of it"));
        }
    }
    let with_own = |state: &Catalog, tables: &[Id]| {
        let acts: BTreeSet<Id> =
            objects(state, tables).filter(|object| is_at_switch(state, object)).map(Object::id).chain(again.iter().cloned()).collect();
        ordered(state, &acts)
    };
    Ok((with_own(cx.live, old), with_own(cx.desired, new)))
}

/// Whether an object of a table is made with the switch: itself, or what it hangs on.
pub(super) fn is_at_switch(state: &Catalog, object: &Object) -> bool {
    AT_SWITCH.contains(&object.id().kind.as_str())
        || object.parent().and_then(|parent| state.get(&parent)).is_some_and(|parent| AT_SWITCH.contains(&parent.id().kind.as_str()))
}
