//! A unique constraint: `unique name`.

use serde::{Deserialize, Serialize};

use super::key::Key;
use super::{Inline, Kind, Lowering, Rebuild, Row, Scope, Why, check};
use crate::catalog::{Id, Indexed};
use crate::catalog::id::default_name;
use crate::kdl::{Node, NodeOut, ValueOut};
use crate::plan::op::{Action, Alteration, Violations};

/// A UNIQUE constraint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unique {
    /// Columns and the like.
    pub key: Key,
    /// Whether two NULLs collide (PostgreSQL 15).
    pub nulls_not_distinct: bool,
}

impl Unique {
    /// UNIQUE or UNIQUE NULLS NOT DISTINCT.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        if self.nulls_not_distinct { "UNIQUE NULLS NOT DISTINCT" } else { "UNIQUE" }
    }

    /// For CREATE TABLE.
    #[must_use]
    pub fn clause(&self) -> String {
        self.key.clause(self.word())
    }
}

impl Kind for Unique {
    const KEYWORD: &'static str = "unique";
    const CATALOG: &'static str = "pg_constraint";
    const PARENTS: &'static [&'static str] = &["table", "partition"];
    cast_to!(Unique);

    fn query(server: u32) -> Option<String> {
        Some(Key::query(server, 'u', if server >= 150_000 { ", i.indnullsnotdistinct" } else { ", false" }))
    }

    fn from_row(row: &mut Row<'_>) -> Self {
        Self { key: Key::from_row(row), nulls_not_distinct: row.flag() }
    }

    fn read(node: &mut Node<'_>, at: &Scope<'_>, out: &mut Lowering) -> Option<Id> {
        let nulls_not_distinct = node.property_flag("nulls-not-distinct", &mut out.findings);
        let (mut key, unnamed) = Key::read(node, at, "key", true, out)?;
        if unnamed {
            let id = out.default_id(&key.table.child(Self::KEYWORD, &key.name));
            key.name = id.name().into();
        }
        Some(out.put(node, Self { key, nulls_not_distinct }))
    }

    fn write<'n>(&self, parent: &'n mut NodeOut) -> &'n mut NodeOut {
        let mut node = self.key.write(Self::KEYWORD, &default_name(self.key.table.name(), &self.key.columns.join("_"), "key"));
        if self.nulls_not_distinct {
            node.set("nulls-not-distinct", ValueOut::Bool(true));
        }
        parent.add(node)
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
        let Self { key, nulls_not_distinct: _ } = self;
        key.create(&self.id(), self.word())
    }

    fn drop(&self) -> Action {
        self.key.drop(&self.id())
    }

    fn alter(old: &Self, new: &Self) -> Alteration {
        let Self { key, nulls_not_distinct } = new;
        if *nulls_not_distinct != old.nulls_not_distinct {
            return Alteration::Replace;
        }
        key.alter(&old.key, &new.id()).map_or(Alteration::Replace, Alteration::Act)
    }

    fn violations(&self, live: &Indexed<'_>) -> Vec<Violations> {
        vec![self.key.duplicates(live, &self.id(), self.nulls_not_distinct)]
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
