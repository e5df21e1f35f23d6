//! A plan without a database: its effects, one after the other, must lead to the desired state.

use std::cell::OnceCell;
use std::collections::BTreeSet;

use indexmap::{IndexMap, IndexSet};

use super::draft::{Draft, Effect};
use crate::catalog::{Catalog, Id};
use crate::kind::Object;

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

/// Runs the effects of a draft in order on `live` and compares with `desired`. `differing` holds (at least) every id
/// that is not the same in both: only those, and what the draft touches, are looked at.
#[must_use]
pub fn simulate(live: &Catalog, desired: &Catalog, differing: &[Id], draft: &Draft, order: &[usize]) -> Difference {
    let mut state = Overlay { live, children: OnceCell::new(), touched: IndexMap::new() };
    let mut temporary: BTreeSet<Id> = BTreeSet::new();
    for at in order {
        for effect in &draft.ops[*at].effects {
            match effect {
                Effect::Put(object) => {
                    state.touched.insert(object.id(), Some(object));
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
        state.touched.insert(id.clone(), desired.get(id));
    }
    let mut difference = Difference::default();
    let looked_at: IndexSet<&Id> = differing.iter().chain(state.touched.keys()).collect();
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

/// A state as the live one with what was done to it: nothing is copied.
struct Overlay<'a> {
    live: &'a Catalog,
    /// The live children of every object, once something is removed.
    children: OnceCell<IndexMap<Id, Vec<&'a Object>>>,
    touched: IndexMap<Id, Option<&'a Object>>,
}

impl<'a> Overlay<'a> {
    fn get(&self, id: &Id) -> Option<&'a Object> {
        match self.touched.get(id) {
            Some(object) => *object,
            None => self.live.get(id),
        }
    }

    /// Takes an object away with everything that hangs on it.
    fn remove(&mut self, id: &Id) {
        let mut going = vec![id.clone()];
        let mut gone = BTreeSet::new();
        while let Some(id) = going.pop() {
            let live = self.children.get_or_init(|| self.live.children()).get(&id).into_iter().flatten().map(|child| child.id());
            let put = self.touched.values().flatten().filter(|object| object.parent().as_ref() == Some(&id)).map(|child| child.id());
            let children: Vec<Id> =
                live.chain(put).filter(|child| self.get(child).is_some_and(|child| child.parent().as_ref() == Some(&id))).collect();
            if gone.insert(id) {
                going.extend(children);
            }
        }
        for id in gone {
            self.touched.insert(id, None);
        }
    }
}
