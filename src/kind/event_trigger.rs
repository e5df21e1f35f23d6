//! An event trigger: `event-trigger guard on=ddl_command_end execute="app.guard()" { tag "CREATE TABLE"; }`.
//!
//! Facts: manual, CREATE EVENT TRIGGER. Only a superuser makes one.

use serde::{Deserialize, Serialize};

use super::firing::Firing;
use super::trigger_call::Call;
use super::{Kind, Lowering, Row, Scope, row};
use crate::catalog::id::{literal, quote};
use crate::catalog::{Id, Ident};
use crate::kdl::{Finding, Node, NodeOut};
use crate::plan::op::{Action, Alteration};

/// A function that is called for DDL.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventTrigger {
    /// Its name.
    pub name: Ident,
    /// `ddl_command_start`, `ddl_command_end`, `sql_drop`, `table_rewrite`, `login`.
    pub event: String,
    /// The command tags it fires for, sorted; empty for all.
    pub tags: Vec<String>,
    /// The function.
    pub execute: Call,
    /// In which sessions it fires.
    pub enabled: Firing,
}

impl EventTrigger {
    fn enable(&self) -> String {
        format!("ALTER EVENT TRIGGER {} {}", quote(&self.name), self.enabled.sql())
    }
}

impl Kind for EventTrigger {
    const KEYWORD: &'static str = "event-trigger";
    const CATALOG: &'static str = "pg_event_trigger";
    const PARENTS: &'static [&'static str] = &[""];
    cast_to!(EventTrigger);

    fn query(_server: u32) -> Option<String> {
        Some(format!(
            "SELECT e.oid::int8, 0::int8, e.evtname::text, e.evtevent::text, ARRAY(SELECT t FROM unnest(e.evttags) t ORDER BY t COLLATE \"C\"), \
             {}, e.evtenabled::text FROM pg_event_trigger e JOIN pg_proc p ON p.oid = e.evtfoid JOIN pg_namespace pn ON pn.oid = p.pronamespace \
             WHERE {} AND {} ORDER BY e.evtname",
            Call::columns("''::bytea"),
            row::in_user_schema("p.pronamespace"),
            row::not_extension_member("pg_event_trigger", "e.oid")
        ))
    }

    fn from_row(row: &mut Row<'_>) -> Self {
        let (name, event, tags) = (row.name(), row.text(), row.texts());
        Self { name, event, tags, execute: Call::from_row(row), enabled: Firing::from_code(&row.text()) }
    }

    fn read(node: &mut Node<'_>, at: &Scope<'_>, out: &mut Lowering) -> Option<Id> {
        let name = node.arg("a name", &mut out.findings)?;
        let event = node.value("on", &mut out.findings);
        let execute = node.value("execute", &mut out.findings);
        let tags = node.values("tag", &mut out.findings).unwrap_or_default();
        let mut tags: Vec<String> = tags.into_iter().map(|tag| tag.value.to_uppercase()).collect();
        tags.sort();
        tags.dedup();
        let enabled = Firing::read(node, out);
        let (Some(event), Some(execute)) = (event, execute) else {
            let finding = Finding::at(node.span(), format!("event trigger `{}` needs an event and a function", name.value));
            out.findings.push(finding.help("for example: `on=ddl_command_end execute=\"app.guard()\"`"));
            return None;
        };
        // It stands in no schema, so its function's must be said.
        let call = Call::parse(&execute.value, at).filter(|call| !call.function.schema().is_empty() && call.arguments.is_empty());
        let Some(call) = call else {
            out.complain(&execute, "`execute` is a call of a function with its schema and without arguments", "for example: `execute=\"app.guard()\"`");
            return None;
        };
        Some(out.put(node, Self { name: Ident::new(&name.value), event: event.value, tags, execute: call, enabled }))
    }

    fn write<'n>(&self, parent: &'n mut NodeOut) -> &'n mut NodeOut {
        let Self { name, event, tags, execute, enabled } = self;
        let mut node = NodeOut::new("event-trigger").arg(name.as_str());
        node.set("on", event.as_str());
        node.set("execute", execute.sql());
        enabled.write(&mut node);
        if !tags.is_empty() {
            node.add(tags.iter().fold(NodeOut::new("tag"), |node, tag| node.arg(tag.as_str())));
        }
        parent.add(node)
    }

    fn id(&self) -> Id {
        Id::new(Self::KEYWORD, [self.name.clone()])
    }

    fn parent(&self) -> Option<Id> {
        None
    }

    fn needs(&self) -> Vec<Id> {
        vec![self.execute.function.clone()]
    }

    fn create(&self) -> Action {
        let Self { name, event, tags, execute, enabled } = self;
        let tags: Vec<String> = tags.iter().map(|tag| literal(tag)).collect();
        let when = if tags.is_empty() { String::new() } else { format!(" WHEN TAG IN ({})", tags.join(", ")) };
        let sql = format!("CREATE EVENT TRIGGER {} ON {}{when} EXECUTE FUNCTION {}", quote(name), quote(event), execute.sql());
        let action = Action::new(format!("Create {}", self.id())).sql(sql);
        if *enabled == Firing::Origin { action } else { action.sql(self.enable()) }
    }

    fn drop(&self) -> Action {
        Action::new(format!("Drop {}", self.id())).sql(format!("DROP EVENT TRIGGER {}", quote(&self.name)))
    }

    fn alter(old: &Self, new: &Self) -> Alteration {
        let Self { name: _, event, tags, execute, enabled: _ } = new;
        if (event, tags, execute) != (&old.event, &old.tags, &old.execute) {
            return Alteration::Replace;
        }
        Alteration::Act(vec![Action::new(format!("Enable or disable {}", new.id())).sql(new.enable())])
    }

    fn rename(old: &Id, new: &Id) -> Option<Action> {
        let sql = format!("ALTER EVENT TRIGGER {} RENAME TO {}", old.name_sql(), new.name_sql());
        Some(Action::new(format!("Rename {old} to {}", new.name())).sql(sql))
    }
}

#[cfg(test)]
mod tests {
    use super::super::round_trip::created;
    use super::*;

    #[test]
    fn the_forms_of_the_language() {
        let parent: Option<Id> = None;
        for (kdl, sql) in [
            (r#"event-trigger guard on=ddl_command_end execute="app.guard()" { tag "CREATE TABLE" "DROP TABLE"; }"#, &["CREATE EVENT TRIGGER guard ON ddl_command_end WHEN TAG IN ('CREATE TABLE', 'DROP TABLE') EXECUTE FUNCTION app.guard()"][..]),
            (r#"event-trigger off on=sql_drop execute="app.off()" enabled=disabled"#, &["CREATE EVENT TRIGGER off ON sql_drop EXECUTE FUNCTION app.off()", "ALTER EVENT TRIGGER off DISABLE"][..]),
        ] {
            assert_eq!(created::<EventTrigger>(kdl, parent.as_ref()), sql);
        }
    }
}
