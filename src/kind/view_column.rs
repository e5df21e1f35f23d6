//! A column of a view or a materialized view that a comment or a grant hangs on:
//! `view v { column a comment="x"; … }`. An attribute of a composite type with a comment is one too.
//!
//! The column itself comes and goes with its relation's definition, so nothing is ever done to it.

use serde::{Deserialize, Serialize};

use super::{Kind, Lowering, Row, Scope, composite::Composite, materialized_view::MaterializedView, row, view::View};
use crate::catalog::{Id, Ident};
use crate::kdl::{Node, NodeOut, ValueOut};
use crate::plan::op::{Action, Alteration};

/// What carries the comment and the grants of a column that has no definition of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ViewColumn {
    /// The view, the materialized view or the composite type.
    pub relation: Id,
    /// The column's name.
    pub name: Ident,
}

impl Kind for ViewColumn {
    const KEYWORD: &'static str = "view-column";
    const NODE: &'static str = "column";
    const CATALOG: &'static str = "pg_class";
    const PARENTS: &'static [&'static str] = &[View::KEYWORD, MaterializedView::KEYWORD];
    cast_to!(ViewColumn);

    fn query(_server: u32) -> Option<String> {
        Some(format!(
            "SELECT c.oid::int8, a.attnum::int8, CASE c.relkind WHEN 'v' THEN '{}' WHEN 'm' THEN '{}' ELSE '{}' END, \
             n.nspname::text, c.relname::text, a.attname::text \
             FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.relkind IN ('v', 'm', 'c') AND c.relpersistence <> 't' AND a.attnum > 0 AND NOT a.attisdropped \
             AND (a.attacl IS NOT NULL OR EXISTS (SELECT FROM pg_description d \
             WHERE d.classoid = 'pg_class'::regclass AND d.objoid = c.oid AND d.objsubid = a.attnum)) \
             AND {} AND {} AND {} ORDER BY 4, 5, a.attnum",
            View::KEYWORD,
            MaterializedView::KEYWORD,
            Composite::KEYWORD,
            row::in_user_schema("c.relnamespace"),
            row::not_extension_member("pg_class", "c.oid"),
            // A composite type belongs to an extension through its row of pg_type.
            row::not_extension_member("pg_type", "c.reltype")
        ))
    }

    fn from_row(row: &mut Row<'_>) -> Self {
        let kind = row.text();
        Self { relation: Id::new(&kind, [row.name(), row.name()]), name: row.name() }
    }

    fn read(node: &mut Node<'_>, at: &Scope<'_>, out: &mut Lowering) -> Option<Id> {
        let name = node.arg("a name", &mut out.findings)?;
        Some(out.put(node, Self { relation: at.parent().clone(), name: Ident::new(&name.value) }))
    }

    fn write<'n>(&self, parent: &'n mut NodeOut) -> &'n mut NodeOut {
        let Self { relation, name } = self;
        if relation.kind != Composite::KEYWORD {
            return parent.add(NodeOut::new(Self::NODE).arg(name.as_str()));
        }
        // The type has written all of its attributes; this is one of them.
        let is_own = |child: &NodeOut| child.name == "attribute" && child.args.first() == Some(&ValueOut::Text(name.to_string()));
        match parent.children.iter().position(is_own) {
            Some(at) => &mut parent.children[at],
            None => parent,
        }
    }

    fn id(&self) -> Id {
        self.relation.child(Self::KEYWORD, &self.name)
    }

    fn parent(&self) -> Option<Id> {
        Some(self.relation.clone())
    }

    fn create(&self) -> Action {
        let Self { relation: _, name: _ } = self;
        Action::new(format!("Know {}", self.id()))
    }

    fn drop(&self) -> Action {
        Action::new(format!("Forget {}", self.id()))
    }

    fn alter(_old: &Self, new: &Self) -> Alteration {
        let Self { relation: _, name: _ } = new;
        Alteration::Act(Vec::new())
    }

    fn address(id: &Id) -> String {
        format!("COLUMN {}", id.sql())
    }

    fn grant_address(id: &Id) -> Option<String> {
        Some(format!("TABLE {}", id.relation()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::{composite::Attribute, round_trip};

    #[test]
    fn reads_back() {
        let column = ViewColumn { relation: Id::new("view", ["app", "v"]), name: "User Id".into() };
        assert_eq!(round_trip::check(&column), "column \"User Id\"\n");
        assert_eq!(ViewColumn::address(&column.id()), "COLUMN app.v.\"User Id\"");
    }

    #[test]
    fn an_attribute_is_written_by_its_type() {
        let attribute = |name: &str| Attribute { name: Ident::new(name), data_type: "integer".to_owned(), collation: None };
        let pair = Composite { schema: "app".into(), name: "pair".into(), attributes: vec![attribute("a"), attribute("b")] };
        let mut parent = NodeOut::new("schema");
        let node = pair.write(&mut parent);
        ViewColumn { relation: pair.id(), name: "b".into() }.write(node).set("comment", "second");
        assert_eq!(node.children.len(), 2);
        assert_eq!(node.children[1].props.get("comment"), Some(&ValueOut::from("second")));
    }
}
