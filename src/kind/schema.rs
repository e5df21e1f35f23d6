//! A schema: `schema app { … }`.

use serde::{Deserialize, Serialize};

use super::{Kind, Lowering, Row, Scope, row};
use crate::catalog::{Id, Ident};
use crate::kdl::{Node, NodeOut};
use crate::plan::op::{Action, Alteration};

/// A namespace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schema {
    /// Its name.
    pub name: Ident,
}

impl Schema {
    /// The id of the schema with this name.
    #[must_use]
    pub fn id_of(name: &str) -> Id {
        Id::new(Self::KEYWORD, [name])
    }
}

impl Kind for Schema {
    const KEYWORD: &'static str = "schema";
    const CATALOG: &'static str = "pg_namespace";
    const PARENTS: &'static [&'static str] = &[""];
    cast_to!(Schema);

    fn query(_server: u32) -> Option<String> {
        Some(format!(
            "SELECT n.oid::int8, 0::int8, n.nspname::text FROM pg_namespace n WHERE {} AND {} ORDER BY n.nspname",
            row::USER_SCHEMA,
            row::not_extension_member("pg_namespace", "n.oid")
        ))
    }

    fn from_row(row: &mut Row<'_>) -> Self {
        Self { name: row.name() }
    }

    fn read(node: &mut Node<'_>, _at: &Scope<'_>, out: &mut Lowering) -> Option<Id> {
        let name = node.arg("a name", &mut out.findings)?;
        Some(out.put(node, Self { name: Ident::new(&name.value) }))
    }

    fn write<'n>(&self, parent: &'n mut NodeOut) -> &'n mut NodeOut {
        parent.add(NodeOut::new("schema").arg(self.name.as_str()))
    }

    fn id(&self) -> Id {
        Self::id_of(&self.name)
    }

    fn parent(&self) -> Option<Id> {
        None
    }

    fn create(&self) -> Action {
        let Self { name: _ } = self;
        let id = self.id();
        // Every database has `public`: where it was dropped or is new, both end in the same state.
        let exists = if self.name == "public" { "IF NOT EXISTS " } else { "" };
        Action::new(format!("Create {id}")).sql(format!("CREATE SCHEMA {exists}{}", id.sql()))
    }

    fn drop(&self) -> Action {
        Action::new(format!("Drop {}", self.id())).sql(format!("DROP SCHEMA {}", self.id().sql()))
    }

    fn alter(old: &Self, new: &Self) -> Alteration {
        let Self { name: _ } = new;
        debug_assert_eq!(old, new, "a schema is nothing but its name");
        Alteration::Act(Vec::new())
    }

    fn rename(old: &Id, new: &Id) -> Option<Action> {
        Some(Action::new(format!("Rename {old} to {}", new.name())).sql(format!("ALTER SCHEMA {} RENAME TO {}", old.sql(), new.name_sql())))
    }

    fn grant_address(id: &Id) -> Option<String> {
        Some(format!("SCHEMA {}", id.sql()))
    }
}
