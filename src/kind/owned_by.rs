//! That a sequence belongs to a column and goes away with it: `owned-by=orders.no`.
//!
//! An object of its own, so that a column whose default draws from the sequence is no circle.

use serde::{Deserialize, Serialize};

use super::{Kind, Lowering, Row, Scope, row, sequence::Sequence};
use crate::catalog::id::{dotted, quote};
use crate::catalog::{Id, Ident};
use crate::kdl::{Node, NodeOut, Text};
use crate::plan::op::{Action, Alteration};

/// A sequence and the column that owns it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OwnedBy {
    /// The sequence.
    pub sequence: Id,
    /// The column.
    pub column: Id,
}

impl OwnedBy {
    /// Reads the `owned-by` property of a sequence.
    pub fn read_property(sequence: &Id, column: &Text, at: &Scope<'_>, node: &Node<'_>, out: &mut Lowering) {
        let mut path = crate::catalog::id::undotted(&column.value);
        if path.len() == 2 {
            path.insert(0, Ident::new(at.schema));
        }
        if path.len() < 3 {
            out.complain(column, "`owned-by` names a column", "write the table too: `owned-by=table.column`");
            return;
        }
        out.put(node, Self { sequence: sequence.clone(), column: Id::new("column", path) });
    }
}

impl Kind for OwnedBy {
    const KEYWORD: &'static str = "owned-by";
    const CATALOG: &'static str = "";
    const PARENTS: &'static [&'static str] = &[];
    cast_to!(OwnedBy);

    fn query(_server: u32) -> Option<String> {
        Some(format!(
            "SELECT 0::int8, 0::int8, n.nspname::text, c.relname::text, tn.nspname::text, t.relname::text, a.attname::text \
             FROM pg_depend d JOIN pg_class c ON c.oid = d.objid AND c.relkind = 'S' JOIN pg_namespace n ON n.oid = c.relnamespace \
             JOIN pg_class t ON t.oid = d.refobjid JOIN pg_namespace tn ON tn.oid = t.relnamespace \
             JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid \
             WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype = 'a' AND {} AND {} ORDER BY 3, 4",
            row::in_user_schema("c.relnamespace"),
            row::not_extension_member("pg_class", "c.oid")
        ))
    }

    fn from_row(row: &mut Row<'_>) -> Self {
        Self {
            sequence: Id::new(Sequence::KEYWORD, [row.name(), row.name()]),
            column: Id::new("column", [row.name(), row.name(), row.name()]),
        }
    }

    fn read(_node: &mut Node<'_>, _at: &Scope<'_>, _out: &mut Lowering) -> Option<Id> {
        None
    }

    fn write<'n>(&self, parent: &'n mut NodeOut) -> &'n mut NodeOut {
        let skip = usize::from(self.column.schema() == self.sequence.schema());
        parent.set("owned-by", dotted(&self.column.path[skip..]));
        parent
    }

    fn id(&self) -> Id {
        self.sequence.satellite(Self::KEYWORD, None)
    }

    fn parent(&self) -> Option<Id> {
        Some(self.sequence.clone())
    }

    fn needs(&self) -> Vec<Id> {
        vec![self.column.clone()]
    }

    fn references(&mut self) -> Vec<&mut Id> {
        vec![&mut self.column]
    }

    fn create(&self) -> Action {
        let Self { sequence, column } = self;
        Action::new(format!("Let {column} own {sequence}"))
            .sql(format!("ALTER SEQUENCE {} OWNED BY {}.{}", sequence.sql(), column.relation(), quote(column.name())))
    }

    fn drop(&self) -> Action {
        Action::new(format!("Let {} be owned by no column", self.sequence)).sql(format!("ALTER SEQUENCE {} OWNED BY NONE", self.sequence.sql()))
    }

    fn alter(_old: &Self, new: &Self) -> Alteration {
        Alteration::Act(vec![new.create()])
    }
}
