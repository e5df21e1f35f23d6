//! A catalog as KDL nodes: every object into the node of its parent.

use indexmap::IndexMap;

use crate::catalog::{Catalog, Id};
use crate::kdl::{NodeOut, render};
use crate::kind::{Object, weight};

/// The whole catalog as one document.
#[must_use]
pub fn document(catalog: &Catalog) -> String {
    render(&nodes(catalog))
}

/// The top nodes of a catalog, with everything that hangs on them.
#[must_use]
pub fn nodes(catalog: &Catalog) -> Vec<NodeOut> {
    let written = Written::new(catalog);
    let mut root = NodeOut::new("");
    for object in written.sorted(catalog.objects.values().filter(|object| object.parent().is_none())) {
        written.write(object, &mut root);
    }
    root.children
}

/// The node of one object with everything that hangs on it.
#[must_use]
pub fn node(catalog: &Catalog, id: &Id) -> Option<NodeOut> {
    let written = Written::new(catalog);
    let mut root = NodeOut::new("");
    written.write(catalog.get(id)?, &mut root);
    root.children.pop()
}

/// A catalog prepared for writing: children by parent, without what reading adds by itself.
pub struct Written<'c> {
    children: IndexMap<Id, Vec<&'c Object>>,
    implied: std::collections::HashSet<Id>,
}

impl<'c> Written<'c> {
    /// Prepares a catalog.
    #[must_use]
    pub fn new(catalog: &'c Catalog) -> Self {
        Self { children: catalog.children(), implied: implied_by_partitioning(catalog) }
    }

    /// Writes an object and all that hangs on it into the node of its parent.
    pub fn write(&self, object: &Object, parent: &mut NodeOut) {
        let id = object.id();
        if self.implied.contains(&id) {
            return;
        }
        let node = object.write(parent);
        for child in self.sorted(self.children.get(&id).into_iter().flatten().copied()) {
            self.write(child, node);
        }
    }

    /// In the order of creation by kind; within a kind as they come (columns by position).
    #[must_use]
    pub fn sorted<'o>(&self, objects: impl Iterator<Item = &'o Object>) -> Vec<&'o Object> {
        let mut objects: Vec<&Object> = objects.collect();
        objects.sort_by_key(|object| match object {
            // What is said on the node itself comes first, so that it stands in its header.
            Object::Comment(_) | Object::Owner(_) | Object::Default(_) | Object::OwnedBy(_) | Object::Partition(_) => 0,
            object => weight(&object.id().kind) + 1,
        });
        objects
    }
}

/// Columns, defaults and checks of partitions that are as their table's.
fn implied_by_partitioning(catalog: &Catalog) -> std::collections::HashSet<Id> {
    use crate::kind::partition::Partition;
    let parents: std::collections::HashMap<Id, Id> = catalog.of::<Partition>().map(|place| (place.table.clone(), place.parent.clone())).collect();
    if parents.is_empty() {
        return std::collections::HashSet::new();
    }
    let mut implied = std::collections::HashSet::new();
    let mut explicit_columns = std::collections::HashSet::new();
    for (id, object) in &catalog.objects {
        match object {
            Object::Column(column) => {
                let Some(parent) = parents.get(&column.table) else { continue };
                let above = parent.child("column", &column.name);
                let default = |column: &Id| catalog.get(&column.as_kind("default")).and_then(|object| match object {
                    Object::Default(default) => Some(default.expression.as_str()),
                    _ => None,
                });
                let same = matches!(catalog.get(&above), Some(Object::Column(theirs)) if (crate::kind::column::Column { table: theirs.table.clone(), identity: theirs.identity.clone(), ..column.clone() }) == *theirs)
                    && default(id) == default(&above);
                let bare = !catalog.objects.values().any(|other| matches!(other, Object::Comment(_) | Object::Grant(_)) && other.parent().as_ref() == Some(id));
                if same && bare {
                    implied.insert(id.clone());
                    implied.insert(id.as_kind("default"));
                } else {
                    explicit_columns.insert(id.clone());
                }
            }
            Object::Check(check) => {
                let Some(parent) = parents.get(&check.table) else { continue };
                if matches!(catalog.get(&parent.child("check", &check.name)), Some(Object::Check(theirs)) if theirs.expression == check.expression && theirs.not_valid == check.not_valid && !theirs.no_inherit) {
                    implied.insert(id.clone());
                }
            }
            _ => {}
        }
    }
    implied
}
