//! A plan without a database: its effects, one after the other, must lead to the desired state.

use std::collections::BTreeSet;

use indexmap::IndexSet;

use super::draft::{Draft, Effect};
use super::overlay::Overlay;
use crate::catalog::{Catalog, Id, Indexed};

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

/// Runs the effects of a draft in order on the live state and compares with `desired`. `differing` holds (at least) every id
/// that is not the same in both: only those, and what the draft touches, are looked at.
#[must_use]
pub fn simulate(live: &Indexed<'_>, desired: &Catalog, differing: &[Id], draft: &Draft, order: &[usize]) -> Difference {
    let mut state = Overlay::new(live);
    let mut temporary: BTreeSet<Id> = BTreeSet::new();
    for at in order {
        for effect in &draft.ops[*at].effects {
            match effect {
                Effect::Put(object) => {
                    state.set(object.id(), Some(object));
                }
                Effect::Remove(id) => {
                    if !temporary.remove(id) {
                        state.remove(id);
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
        state.set(id.clone(), desired.get(id));
    }
    let mut difference = Difference::default();
    let looked_at: IndexSet<&Id> = differing.iter().chain(state.touched()).collect();
    for id in looked_at {
        match (state.get(id), desired.get(id)) {
            (Some(_), None) => difference.left.push(id.clone()),
            (is, should) if is != should => difference.wrong.push(id.clone()),
            _ => {}
        }
    }
    difference.left.extend(temporary);
    difference
}
