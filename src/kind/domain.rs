//! A domain: `domain email text not-null default="'x@y'" collation=C { check … }`.
//!
//! Its checks are objects of their own, so they are no part of CREATE DOMAIN here.

use serde::{Deserialize, Serialize};

use super::not_null::{self, NotNull};
use super::{Kind, Lowering, Row, Scope, collation_name, row, schema::Schema, sql_type};
use crate::catalog::id::quote;
use crate::catalog::{Id, Ident};
use crate::kdl::{Node, NodeOut, ValueOut};
use crate::plan::op::{Action, Alteration, Hazard};

/// A type with constraints of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Domain {
    /// Its schema.
    pub schema: Ident,
    /// Its name.
    pub name: Ident,
    /// The type beneath it.
    pub base: String,
    /// Its collation, where it is not the one of the type beneath.
    pub collation: Option<String>,
    /// Whether it refuses NULL.
    pub not_null: bool,
    /// The name of that, from PostgreSQL 17 on.
    #[serde(default)]
    pub constraint: NotNull,
    /// The default expression of its columns.
    pub default: Option<String>,
}

impl Domain {
    /// The name of its NOT NULL, on a server that has one.
    #[must_use]
    pub fn not_null_name(&self) -> Ident {
        self.constraint.name.clone().unwrap_or_else(|| not_null::usual_of_domain(&self.name))
    }
}

impl Kind for Domain {
    const KEYWORD: &'static str = "domain";
    const CATALOG: &'static str = "pg_type";
    const PARENTS: &'static [&'static str] = &["schema"];
    cast_to!(Domain);

    fn query(server: u32) -> Option<String> {
        let name = if server >= not_null::NAMED_OF_DOMAINS {
            "(SELECT k.conname::text FROM pg_constraint k WHERE k.contypid = t.oid AND k.contype = 'n')"
        } else {
            "NULL::text"
        };
        Some(format!(
            "SELECT t.oid::int8, 0::int8, n.nspname::text, t.typname::text, format_type(t.typbasetype, t.typtypmod), {}, t.typnotnull, {name}, \
             pg_get_expr(t.typdefaultbin, 0) \
             FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace \
             WHERE t.typtype = 'd' AND {} AND {} ORDER BY 3, 4",
            collation_name::column("t.typcollation", "t.typbasetype"),
            row::in_user_schema("t.typnamespace"),
            row::not_extension_member("pg_type", "t.oid")
        ))
    }

    fn from_row(row: &mut Row<'_>) -> Self {
        let (schema, name) = (row.name(), row.name());
        let usual = not_null::usual_of_domain(&name);
        Self {
            schema,
            name,
            base: row.text(),
            collation: collation_name::from_names(&row.names()),
            not_null: row.flag(),
            constraint: NotNull::found(row.opt_name(), &usual),
            default: row.opt_text(),
        }
    }

    fn read(node: &mut Node<'_>, at: &Scope<'_>, out: &mut Lowering) -> Option<Id> {
        let name = node.arg("a name", &mut out.findings)?;
        let base = node.arg("a type", &mut out.findings)?;
        let not_null = node.flag("not-null", &mut out.findings);
        let constraint = NotNull { name: node.value("constraint", &mut out.findings).map(|text| Ident::new(&text.value)), ..NotNull::default() };
        let default = node.value("default", &mut out.findings).map(|text| text.value);
        let collation = node.value("collation", &mut out.findings).map(|text| collation_name::from_kdl(&text.value));
        let (schema, name) = (Ident::new(at.schema), Ident::new(&name.value));
        Some(out.put(node, Self { schema, name, base: sql_type::canonical(&base.value), collation, not_null, constraint, default }))
    }

    fn write<'n>(&self, parent: &'n mut NodeOut) -> &'n mut NodeOut {
        let Self { schema: _, name, base, collation, not_null, constraint, default } = self;
        let mut node = NodeOut::new(Self::KEYWORD).arg(name.as_str()).arg(sql_type::display(base));
        if *not_null {
            node = node.arg("not-null");
        }
        constraint.write(&mut node);
        if let Some(default) = default {
            node.set("default", ValueOut::sql(default));
        }
        if let Some(collation) = collation {
            node.set("collation", collation_name::to_kdl(collation));
        }
        parent.add(node)
    }

    fn id(&self) -> Id {
        Id::new(Self::KEYWORD, [self.schema.clone(), self.name.clone()])
    }

    fn parent(&self) -> Option<Id> {
        Some(Schema::id_of(&self.schema))
    }

    fn texts(&self) -> Vec<&str> {
        [self.base.as_str()].into_iter().chain(self.default.as_deref()).chain(self.collation.as_deref()).collect()
    }

    fn type_names(&mut self) -> Vec<&mut String> {
        vec![&mut self.base]
    }

    fn create(&self) -> Action {
        let Self { schema: _, name: _, base, collation, not_null, constraint, default } = self;
        let collation = collation.as_ref().map_or(String::new(), |collation| format!(" COLLATE {collation}"));
        let default = default.as_ref().map_or(String::new(), |default| format!(" DEFAULT {default}"));
        let not_null = if *not_null { format!(" {}NOT NULL", constraint.prefix()) } else { String::new() };
        Action::new(format!("Create {}", self.id())).sql(format!("CREATE DOMAIN {} AS {base}{collation}{default}{not_null}", self.id().sql()))
    }

    fn drop(&self) -> Action {
        Action::new(format!("Drop {}", self.id())).sql(format!("DROP DOMAIN {}", self.id().sql()))
    }

    fn alter(old: &Self, new: &Self) -> Alteration {
        let Self { schema: _, name: _, base, collation, not_null, constraint, default } = new;
        if *base != old.base || *collation != old.collation {
            return Alteration::Replace;
        }
        let id = new.id();
        let statement = |clause: &str| format!("ALTER DOMAIN {} {clause}", id.sql());
        let mut actions = Vec::new();
        if *default != old.default {
            actions.push(match default {
                Some(default) => Action::new(format!("Set the default of {id}")).sql(statement(&format!("SET DEFAULT {default}"))),
                None => Action::new(format!("Drop the default of {id}")).sql(statement("DROP DEFAULT")),
            });
        }
        match (old.not_null, *not_null) {
            (true, true) if *constraint != old.constraint => {
                let (was, now) = (old.not_null_name(), new.not_null_name());
                let sql = statement(&format!("RENAME CONSTRAINT {} TO {}", quote(&was), quote(&now)));
                actions.push(Action::new(format!("Rename NOT NULL of {id} from {was} to {now}")).sql(sql));
            }
            (false, true) => actions.push(
                // It reads every table with a column of this type under SHARE
                // (validateDomainNotNullConstraint in src/backend/commands/typecmds.c); which ones
                // these are is not known here.
                Action::new(format!("Let {id} refuse NULL"))
                    .sql(match &constraint.name {
                        None => statement("SET NOT NULL"),
                        Some(_) => statement(&format!("ADD {}NOT NULL", constraint.prefix())),
                    })
                    .hazard(Hazard::Blocking, format!("writes to every table with a column of {id}, while it is read")),
            ),
            (true, false) => actions.push(Action::new(format!("Let {id} take NULL")).sql(statement("DROP NOT NULL"))),
            _ => {}
        }
        Alteration::Act(actions)
    }

    fn rename(old: &Id, new: &Id) -> Option<Action> {
        Some(super::table::rename_in_schema("DOMAIN", old, new))
    }

    fn grant_address(id: &Id) -> Option<String> {
        Some(format!("DOMAIN {}", id.sql()))
    }

    fn relation_name(&self) -> Option<String> {
        Some(self.id().sql())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::round_trip;

    fn email() -> Domain {
        Domain {
            schema: "app".into(),
            name: "email".into(),
            base: "text".to_owned(),
            collation: Some("pg_catalog.\"C\"".to_owned()),
            not_null: true,
            constraint: NotNull::default(),
            default: Some("'x@y'::text".to_owned()),
        }
    }

    #[test]
    fn create() {
        assert_eq!(email().create().sql, ["CREATE DOMAIN app.email AS text COLLATE pg_catalog.\"C\" DEFAULT 'x@y'::text NOT NULL"]);
    }

    #[test]
    fn alter() {
        let Alteration::Act(actions) = Domain::alter(&email(), &Domain { not_null: false, default: None, ..email() }) else {
            panic!("in place")
        };
        let sql: Vec<String> = actions.into_iter().flat_map(|action| action.sql).collect();
        assert_eq!(sql, ["ALTER DOMAIN app.email DROP DEFAULT", "ALTER DOMAIN app.email DROP NOT NULL"]);
        assert_eq!(Domain::alter(&email(), &Domain { base: "citext".to_owned(), ..email() }), Alteration::Replace);
    }

    #[test]
    fn reads_back() {
        assert_eq!(round_trip::check(&email()), "domain email text not-null default=\"'x@y'::text\" collation=C\n");
        round_trip::check(&Domain { default: Some("0".to_owned()), collation: None, base: "numeric(5,2)[]".to_owned(), not_null: false, ..email() });
    }
}
