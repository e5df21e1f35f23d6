//! A column's default: `default="now()"`. An object of its own, because it may need what needs the
//! table.

use serde::{Deserialize, Serialize};

use super::{Inline, Kind, Lowering, Row, Scope, row};
use crate::catalog::Id;
use crate::catalog::id::quote;
use crate::kdl::{Node, NodeOut, ValueOut};
use crate::plan::op::{Action, Alteration, Cost, LockMode};

/// The default of a column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Default {
    /// The column.
    pub column: Id,
    /// The expression.
    pub expression: String,
}

impl Default {
    /// The id of the default of a column.
    #[must_use]
    pub fn id_of(column: &Id) -> Id {
        column.as_kind(Self::KEYWORD)
    }

    fn action(&self, title: String, clause: &str) -> Action {
        Action::new(title)
            .sql(format!("ALTER TABLE {} ALTER COLUMN {} {clause}", self.column.relation(), quote(self.column.name())))
            .lock(&self.column, LockMode::AccessExclusive, Cost::Instant)
    }
}

impl Kind for Default {
    const KEYWORD: &'static str = "default";
    const CATALOG: &'static str = "pg_attrdef";
    const EFFORT: u32 = 5;
    const PARENTS: &'static [&'static str] = &[];
    cast_to!(Default);

    fn query(_server: u32) -> Option<String> {
        Some(format!(
            "SELECT d.oid::int8, 0::int8, n.nspname::text, c.relname::text, a.attname::text, pg_get_expr(d.adbin, d.adrelid) \
             FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum \
             JOIN pg_class c ON c.oid = d.adrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE a.attgenerated = '' AND c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND {} AND {} ORDER BY 3, 4, a.attnum",
            row::in_user_schema("c.relnamespace"),
            row::not_extension_member("pg_class", "c.oid")
        ))
    }

    fn from_row(row: &mut Row<'_>) -> Self {
        Self { column: Id::new("column", [row.name(), row.name(), row.name()]), expression: row.text() }
    }

    fn read(_node: &mut Node<'_>, _at: &Scope<'_>, _out: &mut Lowering) -> Option<Id> {
        None
    }

    fn write<'n>(&self, parent: &'n mut NodeOut) -> &'n mut NodeOut {
        parent.set("default", ValueOut::sql(&self.expression));
        parent
    }

    fn id(&self) -> Id {
        Self::id_of(&self.column)
    }

    fn parent(&self) -> Option<Id> {
        Some(self.column.clone())
    }

    fn texts(&self) -> Vec<&str> {
        vec![&self.expression]
    }

    fn inlines(&self) -> Inline {
        Inline::IfReady
    }

    fn create(&self) -> Action {
        let Self { column, expression } = self;
        self.action(format!("Set the default of {column}"), &format!("SET DEFAULT {expression}"))
    }

    fn drop(&self) -> Action {
        self.action(format!("Drop the default of {}", self.column), "DROP DEFAULT")
    }

    fn alter(_old: &Self, new: &Self) -> Alteration {
        Alteration::Act(vec![new.create()])
    }
}
