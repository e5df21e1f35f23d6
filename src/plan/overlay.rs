//! A state as another one with what was done to it: nothing is copied.

use std::collections::{BTreeSet, HashMap};

use indexmap::IndexMap;

use crate::catalog::{Id, Indexed};
use crate::kind::Object;

/// The state.
#[derive(Debug)]
pub struct Overlay<'a> {
    live: &'a Indexed<'a>,
    /// What was put, by parent; some of it may be gone again.
    put: HashMap<Id, Vec<Id>>,
    touched: IndexMap<Id, Option<&'a Object>>,
}

impl<'a> Overlay<'a> {
    /// `live`, untouched.
    #[must_use]
    pub fn new(live: &'a Indexed<'a>) -> Self {
        Self { live, put: HashMap::new(), touched: IndexMap::new() }
    }

    /// The object with this id, as it is now.
    #[must_use]
    pub fn get(&self, id: &Id) -> Option<&'a Object> {
        match self.touched.get(id) {
            Some(object) => *object,
            None => self.live.get(id),
        }
    }

    /// Says how the object with this id is from now on.
    pub fn set(&mut self, id: Id, object: Option<&'a Object>) {
        if let Some(parent) = object.and_then(Object::parent) {
            self.put.entry(parent).or_default().push(id.clone());
        }
        self.touched.insert(id, object);
    }

    /// An object with everything that hangs on it, each after what it hangs on.
    #[must_use]
    pub fn whole(&self, id: &Id) -> Vec<&'a Object> {
        let mut seen = BTreeSet::new();
        let mut going = vec![id.clone()];
        let mut found = Vec::new();
        while let Some(id) = going.pop() {
            let Some(object) = self.get(&id).filter(|_| seen.insert(id.clone())) else { continue };
            found.push(object);
            let live = self.live.parts(&id).into_iter().map(Object::id);
            let put = self.put.get(&id).into_iter().flatten().cloned();
            going.extend(live.chain(put).filter(|child| self.get(child).is_some_and(|child| child.parent().as_ref() == Some(&id))));
        }
        found
    }

    /// Takes an object away with everything that hangs on it.
    pub fn remove(&mut self, id: &Id) {
        for object in self.whole(id) {
            self.touched.insert(object.id(), None);
        }
        self.touched.insert(id.clone(), None);
    }

    /// Whatever is or was not as in the untouched state.
    pub fn touched(&self) -> impl Iterator<Item = &Id> {
        self.touched.keys()
    }
}
