//! A state of a database: a flat map from ids to objects, and who needs whom.

use std::collections::BTreeSet;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::id::Id;
use super::ranges::in_ranges;
use crate::kind::Object;

/// An id with its object in each of two states.
pub type Pair<'c> = (&'c Id, Option<&'c Object>, Option<&'c Object>);

/// All objects of one state, live or desired.
///
/// `needs` holds what the server recorded (`pg_depend`) or, for a state that no server has seen,
/// what was guessed from names; see [`super::closure`]. An id in `needs` may be absent from
/// `objects` only when it belongs to an extension.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Catalog {
    /// Every object, keyed by its id, in a deterministic order.
    pub objects: IndexMap<Id, Object>,
    /// For an object, the objects that must exist before it (beyond its own structure).
    pub needs: IndexMap<Id, BTreeSet<Id>>,
    /// What stands in a managed schema and is not modelled, by name: `policy public.t.p`.
    pub unmodelled: BTreeSet<String>,
}

impl Catalog {
    /// The object with this id.
    #[must_use]
    pub fn get(&self, id: &Id) -> Option<&Object> {
        self.objects.get(id)
    }

    /// Adds or replaces an object under its own id.
    pub fn put(&mut self, object: Object) {
        self.objects.insert(object.id(), object);
    }

    /// Takes an object away, with its edges; the order of the others stays.
    pub fn remove(&mut self, id: &Id) -> Option<Object> {
        self.needs.shift_remove(id);
        self.objects.shift_remove(id)
    }

    /// Whether an object with this id is there.
    #[must_use]
    pub fn contains(&self, id: &Id) -> bool {
        self.objects.contains_key(id)
    }

    /// Everything that is not the same in both states, with its form in each: in the order of `self`, then what
    /// only `other` holds.
    #[must_use]
    pub fn differences<'c>(&'c self, other: &'c Self) -> Vec<Pair<'c>> {
        let compared = in_ranges(self.objects.len(), |places| {
            let mut differences = Vec::new();
            let (mut place, mut matched) = (places.start, 0);
            for (id, old) in self.objects.get_range(places).into_iter().flatten() {
                let new = other.at_or_near(id, &mut place);
                matched += usize::from(new.is_some());
                if new != Some(old) {
                    differences.push((id, Some(old), new));
                }
            }
            (differences, matched)
        });
        let matched: usize = compared.iter().map(|(_, matched)| matched).sum();
        let mut differences: Vec<Pair<'c>> = compared.into_iter().flat_map(|(differences, _)| differences).collect();
        if matched < other.objects.len() {
            let mut place = 0;
            differences.extend(
                other.objects.iter().filter(|(id, _)| self.at_or_near(id, &mut place).is_none()).map(|(id, new)| (id, None, Some(new))),
            );
        }
        differences
    }

    /// Whether two states hold the same objects, in whatever order.
    #[must_use]
    pub fn same_objects(&self, other: &Self) -> bool {
        let mut place = 0;
        self.objects.len() == other.objects.len()
            && self.objects.iter().all(|(id, object)| other.at_or_near(id, &mut place) == Some(object))
    }

    /// The object with this id, looked for at `place` first, which moves on: two states of one database are in
    /// nearly the same order, and reading both in order is several times as fast as hashing.
    fn at_or_near(&self, id: &Id, place: &mut usize) -> Option<&Object> {
        if let Some((_, object)) = self.objects.get_index(*place).filter(|(next, _)| *next == id) {
            *place += 1;
            return Some(object);
        }
        let (found, _, object) = self.objects.get_full(id)?;
        *place = found + 1;
        Some(object)
    }

    /// The direct children of every object, in the order of `objects`.
    #[must_use]
    pub fn children(&self) -> IndexMap<Id, Vec<&Object>> {
        let mut children: IndexMap<Id, Vec<&Object>> = IndexMap::with_capacity(self.objects.len());
        for object in self.objects.values() {
            if let Some(parent) = object.parent() {
                children.entry(parent).or_default().push(object);
            }
        }
        children
    }

    /// The typed objects of one kind, in order.
    pub fn of<'c, K: crate::kind::Kind + 'c>(&'c self) -> impl Iterator<Item = &'c K> {
        self.objects.values().filter_map(|object| K::cast(object))
    }

    /// The object with this id, if it is of kind `K`.
    #[must_use]
    pub fn get_as<K: crate::kind::Kind>(&self, id: &Id) -> Option<&K> {
        self.get(id).and_then(K::cast)
    }

    /// What must exist before `object`: its parent, what its own fields name, and what the server
    /// recorded. Only ids that are in this catalog.
    #[must_use]
    pub fn all_needs(&self, object: &Object) -> BTreeSet<Id> {
        let id = object.id();
        let recorded = self.needs.get(&id).into_iter().flatten().cloned();
        object.needs().into_iter().chain(object.parent()).chain(recorded).filter(|need| *need != id && self.contains(need)).collect()
    }

    /// The objects of `self` sorted by id, for comparison and printing.
    pub fn sort(&mut self) {
        self.objects.sort_unstable_keys();
        self.needs.sort_unstable_keys();
    }
}
