//! A CHECK constraint of a domain: `check "VALUE ~ '@'" name=email_at` inside `domain`.

use serde::{Deserialize, Serialize};

use super::{Kind, Lowering, Row, Scope, row};
use crate::catalog::expr::unwrap_parens;
use crate::catalog::id::quote;
use crate::catalog::{Id, Ident};
use crate::kdl::{Finding, Node, NodeOut, ValueOut};
use crate::plan::op::{Action, Alteration};

/// A CHECK constraint of a domain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DomainCheck {
    /// The domain.
    pub domain: Id,
    /// Its name.
    pub name: Ident,
    /// The condition on `VALUE`, without enclosing parentheses.
    pub expression: String,
    /// Not checked for values that were there before.
    pub not_valid: bool,
}

impl DomainCheck {
    /// Adds it for new values only: locks no table (safe-changes.md).
    #[must_use]
    pub fn add_not_valid(&self) -> Action {
        let unproven = Self { not_valid: true, ..self.clone() };
        let mut action = unproven.create();
        action.title.push_str(", not yet validated");
        action
    }

    /// Proves it for the values that are there: SHARE on every table that uses the domain.
    #[must_use]
    pub fn validate(&self) -> Action {
        self.altering(format!("Validate {}", self.id()), &format!("VALIDATE CONSTRAINT {}", quote(&self.name)))
    }

    fn altering(&self, title: String, clause: &str) -> Action {
        Action::new(title).sql(format!("ALTER DOMAIN {} {clause}", self.domain.sql()))
    }
}

impl Kind for DomainCheck {
    const KEYWORD: &'static str = "domain-check";
    const NODE: &'static str = "check";
    const CATALOG: &'static str = "pg_constraint";
    const PARENTS: &'static [&'static str] = &["domain"];
    cast_to!(DomainCheck);

    fn query(_server: u32) -> Option<String> {
        Some(format!(
            "SELECT k.oid::int8, 0::int8, n.nspname::text, t.typname::text, k.conname::text, pg_get_expr(k.conbin, 0), NOT k.convalidated \
             FROM pg_constraint k JOIN pg_type t ON t.oid = k.contypid JOIN pg_namespace n ON n.oid = t.typnamespace \
             WHERE k.contype = 'c' AND {} AND {} ORDER BY 3, 4, 5",
            row::in_user_schema("n.oid"),
            row::not_extension_member("pg_type", "k.contypid")
        ))
    }

    fn from_row(row: &mut Row<'_>) -> Self {
        Self {
            domain: Id::new("domain", [row.name(), row.name()]),
            name: row.name(),
            expression: unwrap_parens(&row.text()).to_owned(),
            not_valid: row.flag(),
        }
    }

    fn read(node: &mut Node<'_>, at: &Scope<'_>, out: &mut Lowering) -> Option<Id> {
        let expression = node.arg("a condition", &mut out.findings)?;
        let name = node.value("name", &mut out.findings);
        let not_valid = node.property_flag("not-valid", &mut out.findings);
        let Some(name) = name else {
            out.findings.push(Finding::at(node.title(), "a check needs a name").help("write for example: `check \"VALUE > 0\" name=positive`"));
            return None;
        };
        Some(out.put(node, Self { domain: at.parent().clone(), name: Ident::new(&name.value), expression: expression.value, not_valid }))
    }

    fn write<'n>(&self, parent: &'n mut NodeOut) -> &'n mut NodeOut {
        let mut node = NodeOut::new(Self::NODE).arg(self.expression.as_str());
        node.set("name", self.name.as_str());
        if self.not_valid {
            node.set("not-valid", ValueOut::Bool(true));
        }
        parent.add(node)
    }

    fn id(&self) -> Id {
        self.domain.child(Self::KEYWORD, &self.name)
    }

    fn parent(&self) -> Option<Id> {
        Some(self.domain.clone())
    }

    fn has_only_comments(&self) -> bool {
        true
    }

    fn texts(&self) -> Vec<&str> {
        vec![&self.expression]
    }

    fn create(&self) -> Action {
        let Self { domain: _, name, expression, not_valid } = self;
        let not_valid = if *not_valid { " NOT VALID" } else { "" };
        self.altering(format!("Add {}", self.id()), &format!("ADD CONSTRAINT {} CHECK ({expression}){not_valid}", quote(name)))
    }

    fn drop(&self) -> Action {
        self.altering(format!("Drop {}", self.id()), &format!("DROP CONSTRAINT {}", quote(&self.name)))
    }

    fn alter(old: &Self, new: &Self) -> Alteration {
        let Self { domain: _, name: _, expression, not_valid } = new;
        if *expression == old.expression && old.not_valid && !*not_valid {
            return Alteration::Act(vec![new.validate()]);
        }
        Alteration::Replace
    }

    fn rename(old: &Id, new: &Id) -> Option<Action> {
        Some(Action::new(format!("Rename {old} to {}", new.name())).sql(format!("ALTER DOMAIN {} RENAME CONSTRAINT {} TO {}", old.relation(), old.name_sql(), new.name_sql())))
    }

    fn address(id: &Id) -> String {
        format!("CONSTRAINT {} ON DOMAIN {}", id.name_sql(), id.relation())
    }
}
