//! What of an old row is written to the log: `replica-identity full`, `replica-identity index=ix`.

use serde::{Deserialize, Serialize};

use super::cluster_on::index_ids;
use super::{Kind, Lowering, Rebuild, Row, Scope, Why, row};
use crate::catalog::id::quote;
use crate::catalog::{Id, Ident};
use crate::kdl::{Node, NodeOut};
use crate::plan::op::{Action, Alteration, Cost, LockMode};

/// `ALTER TABLE … REPLICA IDENTITY`, where it is not DEFAULT.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReplicaIdentity {
    /// The table.
    pub table: Id,
    /// FULL, NOTHING, or an index by name.
    pub mode: IdentityMode,
}

/// The ways other than DEFAULT.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum IdentityMode {
    /// The whole row.
    Full,
    /// Nothing.
    Nothing,
    /// The columns of a unique index.
    Index(Ident),
}

impl ReplicaIdentity {
    fn action(&self, title: String, mode: &str) -> Action {
        Action::new(title)
            .sql(format!("ALTER TABLE ONLY {} REPLICA IDENTITY {mode}", self.table.sql()))
            .lock(&self.table, LockMode::AccessExclusive, Cost::Instant)
    }
}

impl Kind for ReplicaIdentity {
    const KEYWORD: &'static str = "replica-identity";
    const CATALOG: &'static str = "";
    const PARENTS: &'static [&'static str] = &["table"];
    cast_to!(ReplicaIdentity);

    fn query(_server: u32) -> Option<String> {
        Some(format!(
            "SELECT 0::int8, 0::int8, n.nspname::text, c.relname::text, c.relreplident::text, (SELECT x.relname::text FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid WHERE i.indrelid = c.oid AND i.indisreplident) \
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.relkind IN ('r', 'p') AND c.relreplident <> 'd' AND c.relpersistence <> 't' AND {} AND {} ORDER BY 3, 4",
            row::in_user_schema("c.relnamespace"),
            row::not_extension_member("pg_class", "c.oid")
        ))
    }

    fn from_row(row: &mut Row<'_>) -> Self {
        let table = Id::new("table", [row.name(), row.name()]);
        let (mode, index) = (row.text(), row.opt_name());
        let mode = match (mode.as_str(), index) {
            ("f", _) => IdentityMode::Full,
            ("i", Some(index)) => IdentityMode::Index(index),
            // An index that was dropped leaves "i" behind, which means NOTHING.
            _ => IdentityMode::Nothing,
        };
        Self { table, mode }
    }

    fn read(node: &mut Node<'_>, at: &Scope<'_>, out: &mut Lowering) -> Option<Id> {
        let mode = if let Some(index) = node.value("index", &mut out.findings) { IdentityMode::Index(Ident::new(&index.value)) } else {
            let word = node.arg("`full`, `nothing` or `index=…`", &mut out.findings)?;
            crate::kdl::one_of(&word, Self::KEYWORD, &["full", "nothing"], &mut out.findings);
            if word.value == "full" { IdentityMode::Full } else { IdentityMode::Nothing }
        };
        Some(out.put(node, Self { table: at.parent().clone(), mode }))
    }

    fn write<'n>(&self, parent: &'n mut NodeOut) -> &'n mut NodeOut {
        let node = NodeOut::new(Self::KEYWORD);
        parent.add(match &self.mode {
            IdentityMode::Full => node.arg("full"),
            IdentityMode::Nothing => node.arg("nothing"),
            IdentityMode::Index(index) => node.prop("index", index.as_str()),
        })
    }

    fn id(&self) -> Id {
        self.table.as_kind(Self::KEYWORD)
    }

    fn parent(&self) -> Option<Id> {
        Some(self.table.clone())
    }

    fn needs(&self) -> Vec<Id> {
        match &self.mode {
            IdentityMode::Index(index) => index_ids(&self.table, index),
            _ => Vec::new(),
        }
    }

    fn create(&self) -> Action {
        let Self { table, mode } = self;
        let (what, mode) = match mode {
            IdentityMode::Full => ("full".to_owned(), "FULL".to_owned()),
            IdentityMode::Nothing => ("nothing".to_owned(), "NOTHING".to_owned()),
            IdentityMode::Index(index) => (format!("index {index}"), format!("USING INDEX {}", quote(index))),
        };
        self.action(format!("Set the replica identity of {table} to {what}"), &mode)
    }

    fn drop(&self) -> Action {
        self.action(format!("Reset the replica identity of {}", self.table), "DEFAULT")
    }

    fn alter(_old: &Self, new: &Self) -> Alteration {
        Alteration::Act(vec![new.create()])
    }

    fn rebuild(&self, why: Why) -> Rebuild {
        if why == Why::Retyped { Rebuild::Keep } else { Rebuild::Replace }
    }
}
