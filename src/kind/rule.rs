//! A rewrite rule: `rule no_delete on=delete instead do="NOTHING"`.
//!
//! Facts: manual, CREATE RULE. Creating, dropping, enabling and renaming take ACCESS EXCLUSIVE
//! (`DefineQueryRewrite`, `RemoveRewriteRuleById`, `RenameRewriteRule`).

use serde::{Deserialize, Serialize};

use super::definition::rule_parts;
use super::firing::Firing;
use super::{Kind, Lowering, Row, Scope, row};
use crate::catalog::id::quote;
use crate::catalog::{Id, Ident};
use crate::kdl::{Finding, Node, NodeOut};
use crate::plan::op::{Action, Alteration, Cost, LockMode};

/// The events with their `ev_type`.
const EVENTS: [(&str, &str); 4] = [("select", "1"), ("update", "2"), ("insert", "3"), ("delete", "4")];

/// What PostgreSQL does besides or instead of a statement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// The table or view.
    pub relation: Id,
    /// Its name.
    pub name: Ident,
    /// `select`, `insert`, `update` or `delete`.
    pub event: String,
    /// Instead of the statement, not besides it.
    pub instead: bool,
    /// The condition.
    pub condition: Option<String>,
    /// `NOTHING`, a statement, or several in parentheses.
    pub action: String,
    /// In which sessions it is used.
    pub enabled: Firing,
}

impl Rule {
    fn statement(&self, create: &str) -> String {
        let Self { relation, name, event, instead, condition, action, enabled: _ } = self;
        let condition = condition.as_ref().map(|condition| format!(" WHERE ({condition})")).unwrap_or_default();
        let instead = if *instead { " INSTEAD" } else { "" };
        format!("{create} RULE {} AS ON {} TO {}{condition} DO{instead} {action}", quote(name), event.to_uppercase(), relation.sql())
    }

    fn enable(&self) -> String {
        format!("ALTER TABLE {} {} RULE {}", self.relation.sql(), self.enabled.sql(), quote(&self.name))
    }

    fn act(&self, title: &str) -> Action {
        Action::new(format!("{title} {}", self.id())).lock(&self.relation, LockMode::AccessExclusive, Cost::Instant)
    }
}

impl Kind for Rule {
    const KEYWORD: &'static str = "rule";
    const CATALOG: &'static str = "pg_rewrite";
    const PARENTS: &'static [&'static str] = &["table", "view"];
    cast_to!(Rule);

    /// `_RETURN` is the query of a view.
    fn query(_server: u32) -> Option<String> {
        Some(format!(
            "SELECT r.oid::int8, 0::int8, CASE c.relkind WHEN 'v' THEN 'view' ELSE 'table' END, n.nspname::text, c.relname::text, \
             r.rulename::text, r.ev_type::text, r.is_instead, pg_get_ruledef(r.oid), r.ev_enabled::text \
             FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE r.rulename <> '_RETURN' AND c.relpersistence <> 't' AND {} AND {} ORDER BY n.nspname, c.relname, r.rulename",
            row::in_user_schema("c.relnamespace"),
            row::not_extension_member("pg_class", "c.oid")
        ))
    }

    fn from_row(row: &mut Row<'_>) -> Self {
        let kind = row.text();
        let relation = Id::new(&kind, [row.name(), row.name()]);
        let (name, code, instead) = (row.name(), row.text(), row.flag());
        let event = EVENTS.iter().find(|(_, one)| *one == code).map_or(code.as_str(), |(word, _)| *word).to_owned();
        let (condition, action) = rule_parts(&row.text());
        Self { relation, name, event, instead, condition, action, enabled: Firing::from_code(&row.text()) }
    }

    fn read(node: &mut Node<'_>, at: &Scope<'_>, out: &mut Lowering) -> Option<Id> {
        let name = node.arg("a name", &mut out.findings)?;
        let instead = node.flag("instead", &mut out.findings);
        let event = node.word("on", &EVENTS.map(|(word, _)| word), &mut out.findings);
        let condition = node.value("where", &mut out.findings).map(|text| text.value);
        let action = node.value("do", &mut out.findings);
        let enabled = Firing::read(node, out);
        let (Some(event), Some(action)) = (event, action) else {
            let finding = Finding::at(node.span(), format!("rule `{}` needs an event and what to do", name.value));
            out.findings.push(finding.help("for example: `rule no_delete on=delete instead do=\"NOTHING\"`"));
            return None;
        };
        let (relation, name) = (at.parent().clone(), Ident::new(&name.value));
        Some(out.put(node, Self { relation, name, event: event.value, instead, condition, action: action.value, enabled }))
    }

    fn write<'n>(&self, parent: &'n mut NodeOut) -> &'n mut NodeOut {
        let Self { relation: _, name, event, instead, condition, action, enabled } = self;
        let mut node = NodeOut::new("rule").arg(name.as_str());
        if *instead {
            node = node.arg("instead");
        }
        node.set("on", event.as_str());
        enabled.write(&mut node);
        if let Some(condition) = condition {
            node.set("where", condition.as_str());
        }
        if action.contains('\n') {
            node.add(NodeOut::new("do").arg(action.as_str()));
        } else {
            node.set("do", action.as_str());
        }
        parent.add(node)
    }

    fn id(&self) -> Id {
        self.relation.child(Self::KEYWORD, &self.name)
    }

    fn parent(&self) -> Option<Id> {
        Some(self.relation.clone())
    }

    fn has_only_comments(&self) -> bool {
        true
    }

    fn texts(&self) -> Vec<&str> {
        self.condition.as_deref().into_iter().chain([self.action.as_str()]).collect()
    }

    fn create(&self) -> Action {
        let action = self.act("Create").sql(self.statement("CREATE"));
        if self.enabled == Firing::Origin { action } else { action.sql(self.enable()) }
    }

    fn drop(&self) -> Action {
        self.act("Drop").sql(format!("DROP RULE {} ON {}", quote(&self.name), self.relation.sql()))
    }

    /// CREATE OR REPLACE leaves it enabled or disabled as it was (`InsertRule`).
    fn alter(old: &Self, new: &Self) -> Alteration {
        let Self { relation: _, name: _, event, instead, condition, action, enabled } = new;
        let mut act = new.act("Change");
        if (event, instead, condition, action) != (&old.event, &old.instead, &old.condition, &old.action) {
            act = act.sql(new.statement("CREATE OR REPLACE"));
        }
        if *enabled != old.enabled {
            act = act.sql(new.enable());
        }
        Alteration::Act(vec![act])
    }

    fn rename(old: &Id, new: &Id) -> Option<Action> {
        super::table::rename_on_relation("RULE", old, new)
    }

    fn address(id: &Id) -> String {
        format!("RULE {} ON {}", id.name_sql(), id.relation())
    }
}

#[cfg(test)]
mod tests {
    use super::super::round_trip::created;
    use super::*;

    #[test]
    fn the_forms_of_the_language() {
        let parent = Some(Id::new("table", ["app", "orders"]));
        for (kdl, sql) in [
            (r#"rule no_delete on=delete instead do="NOTHING""#, &["CREATE RULE no_delete AS ON DELETE TO app.orders DO INSTEAD NOTHING"][..]),
            (r#"rule n on=update where="new.a > 1" do="NOTIFY x" enabled=replica"#, &["CREATE RULE n AS ON UPDATE TO app.orders WHERE (new.a > 1) DO NOTIFY x", "ALTER TABLE app.orders ENABLE REPLICA RULE n"][..]),
        ] {
            assert_eq!(created::<Rule>(kdl, parent.as_ref()), sql);
        }
    }
}
