//! The index by which CLUSTER orders a table: `cluster-on ix`.

use serde::{Deserialize, Serialize};

use super::{Kind, Lowering, Rebuild, Row, Scope, Why, row};
use crate::catalog::id::quote;
use crate::catalog::{Id, Ident};
use crate::kdl::{Node, NodeOut};
use crate::plan::op::{Action, Alteration, Cost, LockMode};

/// `ALTER TABLE … CLUSTER ON`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClusterOn {
    /// The table or materialized view.
    pub on: Id,
    /// The index's name.
    pub index: Ident,
}

/// The ids that an index name of a relation can mean: an index of its own or a constraint's.
#[must_use]
pub fn index_ids(on: &Id, name: &str) -> Vec<Id> {
    ["index", "primary-key", "unique", "exclude"].map(|kind| on.child(kind, name)).into()
}

impl ClusterOn {
    fn action(&self, title: String, clause: &str) -> Action {
        let word = if self.on.kind == "materialized-view" { "MATERIALIZED VIEW" } else { "TABLE" };
        Action::new(title).sql(format!("ALTER {word} {} {clause}", self.on.sql())).lock(&self.on, LockMode::ShareUpdateExclusive, Cost::Instant)
    }
}

impl Kind for ClusterOn {
    const KEYWORD: &'static str = "cluster-on";
    const CATALOG: &'static str = "";
    const PARENTS: &'static [&'static str] = &["table", "materialized-view"];
    cast_to!(ClusterOn);

    fn query(_server: u32) -> Option<String> {
        Some(format!(
            "SELECT 0::int8, 0::int8, CASE c.relkind WHEN 'm' THEN 'materialized-view' ELSE 'table' END, n.nspname::text, c.relname::text, x.relname::text \
             FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE i.indisclustered AND c.relpersistence <> 't' AND {} AND {} ORDER BY 4, 5",
            row::in_user_schema("c.relnamespace"),
            row::not_extension_member("pg_class", "c.oid")
        ))
    }

    fn from_row(row: &mut Row<'_>) -> Self {
        Self { on: Id::new(&row.text(), [row.name(), row.name()]), index: row.name() }
    }

    fn read(node: &mut Node<'_>, at: &Scope<'_>, out: &mut Lowering) -> Option<Id> {
        let index = node.arg("the name of an index", &mut out.findings)?;
        Some(out.put(node, Self { on: at.parent().clone(), index: Ident::new(&index.value) }))
    }

    fn write<'n>(&self, parent: &'n mut NodeOut) -> &'n mut NodeOut {
        parent.add(NodeOut::new(Self::KEYWORD).arg(self.index.as_str()))
    }

    fn id(&self) -> Id {
        self.on.satellite(Self::KEYWORD, None)
    }

    fn parent(&self) -> Option<Id> {
        Some(self.on.clone())
    }

    fn needs(&self) -> Vec<Id> {
        index_ids(&self.on, &self.index)
    }

    fn create(&self) -> Action {
        let Self { on, index } = self;
        self.action(format!("Cluster {on} on {index}"), &format!("CLUSTER ON {}", quote(index)))
    }

    fn drop(&self) -> Action {
        self.action(format!("Cluster {} on nothing", self.on), "SET WITHOUT CLUSTER")
    }

    fn alter(_old: &Self, new: &Self) -> Alteration {
        Alteration::Act(vec![new.create()])
    }

    fn rebuild(&self, why: Why) -> Rebuild {
        if why == Why::Retyped { Rebuild::Keep } else { Rebuild::Replace }
    }
}
