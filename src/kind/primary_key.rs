//! A primary key: `primary-key id`.

use serde::{Deserialize, Serialize};

use super::key::Key;
use super::{Inline, Kind, Lowering, Rebuild, Row, Scope, Why, check};
use crate::catalog::{Id, Indexed};
use crate::catalog::id::default_name;
use crate::kdl::{Node, NodeOut};
use crate::plan::op::{Action, Alteration, Violations};

/// A PRIMARY KEY constraint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PrimaryKey {
    /// Columns and the like.
    pub key: Key,
}

impl PrimaryKey {
    /// For CREATE TABLE.
    #[must_use]
    pub fn clause(&self) -> String {
        self.key.clause("PRIMARY KEY")
    }
}

impl Kind for PrimaryKey {
    const KEYWORD: &'static str = "primary-key";
    const CATALOG: &'static str = "pg_constraint";
    const EFFORT: u32 = 5;
    const PARENTS: &'static [&'static str] = &["table", "partition"];
    cast_to!(PrimaryKey);

    fn query(server: u32) -> Option<String> {
        Some(Key::query(server, 'p', ""))
    }

    fn from_row(row: &mut Row<'_>) -> Self {
        Self { key: Key::from_row(row) }
    }

    fn read(node: &mut Node<'_>, at: &Scope<'_>, out: &mut Lowering) -> Option<Id> {
        let (mut key, unnamed) = Key::read(node, at, "pkey", false, out)?;
        if unnamed {
            let id = out.default_id(&key.table.child(Self::KEYWORD, &key.name));
            key.name = id.name().into();
        }
        Some(out.put(node, Self { key }))
    }

    fn write<'n>(&self, parent: &'n mut NodeOut) -> &'n mut NodeOut {
        parent.add(self.key.write(Self::KEYWORD, &default_name(self.key.table.name(), "", "pkey")))
    }

    fn id(&self) -> Id {
        self.key.table.child(Self::KEYWORD, &self.key.name)
    }

    fn parent(&self) -> Option<Id> {
        Some(self.key.table.clone())
    }

    fn has_only_comments(&self) -> bool {
        true
    }

    fn needs(&self) -> Vec<Id> {
        self.key.needs()
    }

    fn inlines(&self) -> Inline {
        Inline::IfReady
    }

    fn create(&self) -> Action {
        let Self { key } = self;
        key.create(&self.id(), "PRIMARY KEY")
    }

    fn drop(&self) -> Action {
        self.key.drop(&self.id())
    }

    fn alter(old: &Self, new: &Self) -> Alteration {
        let Self { key } = new;
        key.alter(&old.key, &new.id()).map_or(Alteration::Replace, Alteration::Act)
    }

    fn violations(&self, live: &Indexed<'_>) -> Vec<Violations> {
        vec![self.key.duplicates(live, &self.id(), false)]
    }

    fn rename(old: &Id, new: &Id) -> Option<Action> {
        Some(check::rename_constraint(old, new))
    }

    fn rebuild(&self, why: Why) -> Rebuild {
        if why == Why::Retyped { Rebuild::Keep } else { Rebuild::Replace }
    }

    fn address(id: &Id) -> String {
        check::constraint_address(id)
    }

    fn relation_name(&self) -> Option<String> {
        Some(self.id().in_schema())
    }
}
