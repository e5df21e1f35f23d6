//! Two states to what must change. Names no kind.

use std::collections::BTreeSet;

use indexmap::IndexMap;

use super::op::{Action, Alteration};
use crate::catalog::{Catalog, Id, Indexed};
use crate::kind::{Object, Rebuild, Why};

/// What happens to one object.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// It is made.
    Create,
    /// It is taken away.
    Drop,
    /// It stays and is altered in place.
    Alter(Vec<Action>),
    /// It is dropped and made again.
    Replace,
    /// It stays, and is converted to what was made again beneath it.
    Convert(Action),
}

/// The changes, by id, in a deterministic order: live ones first, then new ones.
pub type Changes = IndexMap<Id, Change>;

/// The changes between two states, with everything that has to give way to them.
#[must_use]
pub fn changes(live: &Indexed<'_>, desired: &Catalog) -> Changes {
    let mut changes = Changes::new();
    let mut worklist: Vec<(Id, Why)> = Vec::new();
    for (id, old, new) in live.differences(desired) {
        match (old, new) {
            (None, _) => {
                changes.insert(id.clone(), Change::Create);
            }
            (_, None) => {
                changes.insert(id.clone(), Change::Drop);
            }
            (Some(old), Some(new)) => match Object::alter(old, new) {
                Alteration::Act(actions) => {
                    changes.insert(id.clone(), Change::Alter(actions));
                }
                Alteration::Retype(actions) => {
                    changes.insert(id.clone(), Change::Alter(actions));
                    worklist.push((id.clone(), Why::Retyped));
                }
                Alteration::Replace => {
                    changes.insert(id.clone(), Change::Replace);
                    worklist.push((id.clone(), Why::Replaced));
                }
            },
        }
    }
    // What is dropped takes its dependants along where they stay: they are made again.
    worklist.extend(changes.iter().filter(|(_, change)| **change == Change::Drop).map(|(id, _)| (id.clone(), Why::Replaced)));
    if !worklist.is_empty() {
        close(live, desired, &mut changes, worklist);
    }
    changes
}

/// Adds what has to give way: dependants of what is made again or changes its type.
fn close(live: &Indexed<'_>, desired: &Catalog, changes: &mut Changes, mut worklist: Vec<(Id, Why)>) {
    let mut seen: BTreeSet<(Id, bool)> = BTreeSet::new();
    while let Some((id, why)) = worklist.pop() {
        if !seen.insert((id.clone(), why == Why::Replaced)) {
            continue;
        }
        let dropped = changes.get(&id) == Some(&Change::Drop);
        if why == Why::Replaced {
            for child in live.parts(&id).into_iter().filter(|child| !dropped || owned(child, &id)) {
                let child = child.id();
                // What hangs on it goes with it and is made again where it is still wanted.
                if desired.contains(&child) && !dropped {
                    changes.insert(child.clone(), Change::Replace);
                    worklist.push((child, Why::Replaced));
                }
            }
        }
        for dependant in live.dependants(&id) {
            let (Some(old), Some(new)) = (live.get(dependant), desired.get(dependant)) else { continue };
            // An object whose new form no longer needs what is dropped, or changes its type, is altered in place, if it can.
            let leaves = dropped || why == Why::Retyped;
            if leaves && !still_needs(desired, new, &id) && matches!(changes.get(dependant), Some(Change::Alter(_))) {
                continue;
            }
            match old.rebuild(why) {
                Rebuild::Keep => {}
                Rebuild::Replace => {
                    if changes.get(dependant) != Some(&Change::Replace) {
                        changes.insert(dependant.clone(), Change::Replace);
                    }
                    worklist.push((dependant.clone(), Why::Replaced));
                }
                Rebuild::Convert(action) => {
                    if dropped {
                        // The column has another type by then, or goes too.
                        continue;
                    }
                    match changes.get(dependant) {
                        Some(Change::Replace | Change::Drop) => {}
                        // Its own alteration changes the type already.
                        Some(Change::Alter(actions)) if actions.iter().any(|action| action.title.starts_with("Change the type")) => {
                            worklist.push((dependant.clone(), Why::Retyped));
                        }
                        _ => {
                            let action = match new.rebuild(why) {
                                Rebuild::Convert(action) => action,
                                _ => action,
                            };
                            changes.insert(dependant.clone(), Change::Convert(*action));
                            worklist.push((dependant.clone(), Why::Retyped));
                        }
                    }
                }
            }
        }
    }
}

fn owned(child: &Object, parent: &Id) -> bool {
    parent.kind != "schema" && child.parent().as_ref() == Some(parent)
}

fn still_needs(desired: &Catalog, object: &Object, id: &Id) -> bool {
    desired.needs.get(&object.id()).is_some_and(|needs| needs.contains(id))
}
