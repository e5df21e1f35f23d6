//! A plan without a database: its effects, one after the other, must lead to the desired state.

use std::collections::BTreeSet;

use super::draft::{Draft, Effect};
use crate::catalog::{Catalog, Id};

/// What a simulation found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Objects that are desired and would not be there, or would be in another form.
    pub wrong: Vec<Id>,
    /// Objects that would be left over, temporary ones included.
    pub left: Vec<Id>,
}

impl Difference {
    /// Whether the plan leads to the desired state.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.wrong.is_empty() && self.left.is_empty()
    }
}

/// Runs the effects of a draft in order on `live` and compares with `desired`.
#[must_use]
pub fn simulate(live: &Catalog, desired: &Catalog, draft: &Draft, order: &[usize]) -> Difference {
    let mut state = live.clone();
    let mut temporary: BTreeSet<Id> = BTreeSet::new();
    for at in order {
        for effect in &draft.ops[*at].effects {
            match effect {
                Effect::Put(object) => {
                    state.objects.insert(object.id(), object.clone());
                }
                Effect::Remove(id) => {
                    if !temporary.remove(id) {
                        remove(&mut state, id);
                    }
                }
                Effect::PutTemporary(id) => {
                    temporary.insert(id.clone());
                }
            }
        }
    }
    // What comes by itself with something else's change.
    for id in draft.followers.iter().map(|(id, _)| id).chain(&draft.silent) {
        match desired.get(id) {
            Some(object) => {
                state.objects.insert(id.clone(), object.clone());
            }
            None => {
                state.objects.shift_remove(id);
            }
        }
    }
    let wrong = desired.objects.iter().filter(|(id, object)| state.get(id) != Some(*object)).map(|(id, _)| id.clone()).collect();
    let left = state.objects.keys().filter(|id| !desired.contains(id)).cloned().chain(temporary).collect();
    Difference { wrong, left }
}

/// Takes an object away with everything that hangs on it.
fn remove(state: &mut Catalog, id: &Id) {
    let mut gone: BTreeSet<Id> = BTreeSet::from([id.clone()]);
    loop {
        let before = gone.len();
        let more: Vec<Id> = state.objects.values().filter(|object| object.parent().is_some_and(|parent| gone.contains(&parent))).map(crate::kind::Object::id).collect();
        gone.extend(more);
        if gone.len() == before {
            break;
        }
    }
    state.objects.retain(|id, _| !gone.contains(id));
}
