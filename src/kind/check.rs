//! A CHECK constraint of a table: `check "total >= 0" name=sane`.

use serde::{Deserialize, Serialize};

use super::{Inline, Kind, Lowering, Rebuild, Row, Scope, Why, row, violations};
use crate::catalog::expr::unwrap_parens;
use crate::catalog::id::quote;
use crate::catalog::{Id, Ident, Indexed};
use crate::kdl::{Finding, Node, NodeOut, ValueOut};
use crate::plan::op::{Action, Alteration, Cost, LockMode, Violations};

/// A CHECK constraint of a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// The table.
    pub table: Id,
    /// Its name.
    pub name: Ident,
    /// The condition, without enclosing parentheses.
    pub expression: String,
    /// Not inherited by children.
    pub no_inherit: bool,
    /// Not checked for rows that were there before.
    pub not_valid: bool,
}

impl Check {
    /// `CONSTRAINT name CHECK (…)`, for CREATE TABLE and ADD.
    #[must_use]
    pub fn clause(&self) -> String {
        let Self { table: _, name, expression, no_inherit, not_valid } = self;
        let no_inherit = if *no_inherit { " NO INHERIT" } else { "" };
        let not_valid = if *not_valid { " NOT VALID" } else { "" };
        format!("CONSTRAINT {} CHECK ({expression}){no_inherit}{not_valid}", quote(name))
    }

    fn altering(&self, title: String, clause: &str, mode: LockMode, cost: Cost) -> Action {
        Action::new(title).sql(format!("ALTER TABLE {} {clause}", self.table.sql())).lock(&self.table, mode, cost)
    }

    /// Adds it without looking at the rows that are there.
    #[must_use]
    pub fn add_not_valid(&self) -> Action {
        let check = Self { not_valid: true, ..self.clone() };
        check.altering(format!("Add {}, not yet validated", self.id()), &format!("ADD {}", check.clause()), LockMode::AccessExclusive, Cost::Instant)
    }

    /// Looks at the rows that are there; reads and writes go on (SHARE UPDATE EXCLUSIVE).
    #[must_use]
    pub fn validate(&self) -> Action {
        self.altering(format!("Validate {}", self.id()), &format!("VALIDATE CONSTRAINT {}", quote(&self.name)), LockMode::ShareUpdateExclusive, Cost::Scan)
    }
}

impl Kind for Check {
    const KEYWORD: &'static str = "check";
    const CATALOG: &'static str = "pg_constraint";
    const EFFORT: u32 = 3;
    const PARENTS: &'static [&'static str] = &["table"];
    cast_to!(Check);

    fn query(server: u32) -> Option<String> {
        Some(format!(
            "SELECT k.oid::int8, 0::int8, n.nspname::text, c.relname::text, k.conname::text, \
             pg_get_expr(k.conbin, k.conrelid), k.connoinherit, NOT k.convalidated \
             FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE k.contype = 'c' AND c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND {} AND {} AND {} ORDER BY 3, 4, 5",
            row::is_known_constraint("k", server),
            row::in_user_schema("n.oid"),
            row::not_extension_member("pg_class", "k.conrelid")
        ))
    }

    fn from_row(row: &mut Row<'_>) -> Self {
        Self {
            table: Id::new("table", [row.name(), row.name()]),
            name: row.name(),
            expression: unwrap_parens(&row.text()).to_owned(),
            no_inherit: row.flag(),
            not_valid: row.flag(),
        }
    }

    fn read(node: &mut Node<'_>, at: &Scope<'_>, out: &mut Lowering) -> Option<Id> {
        let expression = node.arg("a condition", &mut out.findings)?;
        let name = node.value("name", &mut out.findings);
        let no_inherit = node.property_flag("no-inherit", &mut out.findings);
        let not_valid = node.property_flag("not-valid", &mut out.findings);
        let Some(name) = name else {
            out.findings.push(
                Finding::at(node.title(), "a check needs a name")
                    .help("PostgreSQL would derive one from the parsed SQL; write for example: `check \"total >= 0\" name=total_not_negative`"),
            );
            return None;
        };
        Some(out.put(node, Self { table: at.parent().clone(), name: Ident::new(&name.value), expression: expression.value, no_inherit, not_valid }))
    }

    fn write<'n>(&self, parent: &'n mut NodeOut) -> &'n mut NodeOut {
        let mut node = NodeOut::new("check").arg(self.expression.as_str());
        node.set("name", self.name.as_str());
        for (flag, set) in [("no-inherit", self.no_inherit), ("not-valid", self.not_valid)] {
            if set {
                node.set(flag, ValueOut::Bool(true));
            }
        }
        parent.add(node)
    }

    fn id(&self) -> Id {
        self.table.child(Self::KEYWORD, &self.name)
    }

    fn parent(&self) -> Option<Id> {
        Some(self.table.clone())
    }

    fn has_only_comments(&self) -> bool {
        true
    }

    fn texts(&self) -> Vec<&str> {
        vec![&self.expression]
    }

    fn inlines(&self) -> Inline {
        if self.not_valid { Inline::Never } else { Inline::IfReady }
    }

    fn create(&self) -> Action {
        let cost = if self.not_valid { Cost::Instant } else { Cost::Scan };
        self.altering(format!("Add {}", self.id()), &format!("ADD {}", self.clause()), LockMode::AccessExclusive, cost)
    }

    fn drop(&self) -> Action {
        self.altering(format!("Drop {}", self.id()), &format!("DROP CONSTRAINT {}", quote(&self.name)), LockMode::AccessExclusive, Cost::Instant)
    }

    fn alter(old: &Self, new: &Self) -> Alteration {
        let Self { table: _, name: _, expression, no_inherit, not_valid } = new;
        if *expression == old.expression && *no_inherit == old.no_inherit && old.not_valid && !*not_valid {
            return Alteration::Act(vec![new.validate()]);
        }
        Alteration::Replace
    }

    fn violations(&self, live: &Indexed<'_>) -> Vec<Violations> {
        let Self { table, name, expression, no_inherit, not_valid } = self;
        if *not_valid {
            return Vec::new();
        }
        let only = if *no_inherit { "ONLY " } else { "" };
        let condition = format!("NOT ({expression})");
        vec![Violations {
            title: format!("rows of {table} break check {name}"),
            rows: violations::rows(live, table, only, &[], &condition),
            help: format!("correct or delete them, or change the check ({expression})"),
            ..Violations::default()
        }]
    }

    fn rename(old: &Id, new: &Id) -> Option<Action> {
        Some(rename_constraint(old, new))
    }

    fn rebuild(&self, why: Why) -> Rebuild {
        if why == Why::Retyped { Rebuild::Keep } else { Rebuild::Replace }
    }

    fn address(id: &Id) -> String {
        constraint_address(id)
    }
}

/// `CONSTRAINT name ON schema.table`, for COMMENT.
#[must_use]
pub fn constraint_address(id: &Id) -> String {
    format!("CONSTRAINT {} ON {}", id.name_sql(), id.relation())
}

/// ALTER TABLE … RENAME CONSTRAINT.
#[must_use]
pub fn rename_constraint(old: &Id, new: &Id) -> Action {
    Action::new(format!("Rename {old} to {}", new.name()))
        .sql(format!("ALTER TABLE {} RENAME CONSTRAINT {} TO {}", old.relation(), old.name_sql(), new.name_sql()))
        .lock(old, LockMode::AccessExclusive, Cost::Instant)
}
