//! What reading KDL builds up: the catalog as written, the hints, and where everything stands.

use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::Object;
use crate::catalog::id::undotted;
use crate::catalog::{Catalog, Id, Ident};
use crate::kdl::{Finding, Findings, Node, Span, Text};

/// Where a node stands: in which object, in which schema.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The enclosing object; `None` at the top of a document.
    pub parent: Option<&'a Id>,
    /// The enclosing schema; empty at the top.
    pub schema: &'a str,
}

impl Scope<'_> {
    /// The id of the enclosing object.
    ///
    /// # Panics
    /// At the top of a document: kinds whose `PARENTS` exclude it may rely on a parent.
    #[must_use]
    pub fn parent(&self) -> &Id {
        self.parent.expect("the reader checked that this kind stands inside another")
    }

    /// The path that a dotted reference means: one name is looked up in the enclosing schema.
    #[must_use]
    pub fn path(&self, reference: &str) -> Vec<Ident> {
        let mut path = undotted(reference);
        if path.len() == 1 && !self.schema.is_empty() {
            path.insert(0, Ident::new(self.schema));
        }
        path
    }
}

/// What a desired state says besides the state itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Hints {
    /// `was=`: from the new id to the old one.
    pub renames: IndexMap<Id, Id>,
    /// `was=` of a column that names one of another table: from the new column to the old one.
    pub moved: IndexMap<Id, Id>,
    /// `was=` on the values of an enum and the attributes of a type: (owner, new name) to old name.
    pub part_renames: BTreeMap<(Id, Ident), Ident>,
    /// `backfill`: the column's value for rows that are already there.
    pub backfills: BTreeMap<Id, String>,
    /// `backfill` on an enum: (enum, value that goes) to what rows get that hold it.
    pub value_backfills: BTreeMap<(Id, Ident), Ident>,
    /// `revert`: the way back for a changed type or meaning.
    pub reverts: BTreeMap<Id, String>,
    /// `revert … of=`: for a column that others take the place of, how it is computed from them.
    pub given_back: BTreeMap<Id, GivenBack>,
    /// Renames that the author wants in place, whatever clients say: `rename="in-place"`.
    pub in_place: BTreeSet<Id>,
    /// Objects whose name nobody wrote: PostgreSQL's default one was filled in.
    pub unnamed: BTreeSet<Id>,
}

/// How a column that goes is computed from those that take its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenBack {
    /// The new column that says so.
    pub by: Id,
    /// The expression, over the new columns.
    pub expression: String,
}

/// Where an object was defined, and the texts in it that PostgreSQL may complain about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// What a person calls it: the node's name and its first argument.
    pub name: Span,
    /// The whole node, children included.
    pub node: Span,
    /// Its values, so that a position in SQL can be mapped back.
    pub texts: Vec<Text>,
    /// The names of further nodes that say the same object: a schema that is opened again, a second
    /// grant to one role.
    pub others: Vec<Span>,
}

impl Origin {
    /// Where `was` says the old name, or the name where that was not found.
    #[must_use]
    pub fn was(&self, old: &str) -> Span {
        self.texts.iter().skip(1).find(|text| text.value.ends_with(old)).map_or(self.name, |text| text.span)
    }
}

/// The finding that shows both definitions of an object.
#[must_use]
pub fn defined_twice(id: &Id, first: Span, second: Span) -> Finding {
    let help = match id.kind.as_str() {
        "comment" | "owner" | "default" => "keep one of them",
        "function" | "procedure" | "aggregate" => "remove one of the two; an overload needs other argument types",
        _ => "remove one of the two, or give it another name",
    };
    Finding::at(second, format!("{id} is defined twice")).label("here again").other(first, "first defined here").help(help)
}

/// The catalog as written, with hints, origins and findings.
#[derive(Clone, Debug, Default)]
pub struct Lowering {
    /// The objects as written: names resolved where they could be, texts as they stand.
    pub catalog: Catalog,
    /// Renames, backfills.
    pub hints: Hints,
    /// Where each object stands.
    pub origins: IndexMap<Id, Origin>,
    /// What is wrong.
    pub findings: Findings,
    /// What was defined a second time: what stands in it needs no finding of its own.
    pub repeated: BTreeSet<Id>,
    /// The names of nodes that could not be read: that they are not defined needs no finding.
    pub unread: BTreeSet<String>,
}

impl Lowering {
    /// Puts an object that `node` defines. A second definition of the same id is a finding that
    /// shows both places.
    pub fn put(&mut self, node: &Node<'_>, object: impl Into<Object>) -> Id {
        let object = object.into();
        let id = object.id();
        if let Some(first) = self.origins.get_mut(&id) {
            // A schema may be opened as often as one likes.
            if id.kind == "schema" {
                first.others.push(node.title());
            } else {
                self.findings.push(defined_twice(&id, first.name, node.title()));
                self.repeated.insert(id.clone());
            }
            return id;
        }
        self.origins.insert(id.clone(), Origin { name: node.title(), node: node.whole_span(), texts: node.texts(), others: Vec::new() });
        self.catalog.objects.insert(id.clone(), object);
        id
    }

    /// Reports a problem with a value.
    pub fn complain(&mut self, at: &Text, message: impl Into<String>, help: impl Into<String>) {
        self.findings.push(Finding::at(at.span, message).help(help));
    }

    /// A default name that nothing else in this state has: PostgreSQL appends 1, 2, … when its
    /// first choice is taken. Marks the id as unnamed.
    pub fn default_id(&mut self, id: &Id) -> Id {
        let mut chosen = id.clone();
        let mut count = 0;
        while self.origins.contains_key(&chosen) {
            count += 1;
            chosen = id.renamed(&format!("{}{count}", id.name()));
        }
        self.hints.unnamed.insert(chosen.clone());
        chosen
    }
}
