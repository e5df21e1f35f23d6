//! A trigger: `trigger touch before insert update { when "…"; execute "touch('a', 1)"; }`.
//!
//! Facts: manual, CREATE TRIGGER; locks: measured (create, enable and disable take SHARE ROW
//! EXCLUSIVE), dropping and renaming take ACCESS EXCLUSIVE (`RemoveTriggerById`, `renametrig`).

use serde::{Deserialize, Serialize};

use super::definition::condition;
use super::firing::Firing;
use super::trigger_call::Call;
use super::{Kind, Lowering, Row, Scope, row};
use crate::catalog::id::{dotted, quote, quoted_list};
use crate::catalog::{Id, Ident};
use crate::kdl::{Finding, Node, NodeOut, one_of};
use crate::plan::op::{Action, Alteration, Cost, LockMode};

/// When a trigger fires, in the order of KDL words and SQL words.
const TIMINGS: [(&str, &str); 3] = [("before", "BEFORE"), ("after", "AFTER"), ("instead-of", "INSTEAD OF")];

/// What a trigger fires for, in the order in which PostgreSQL writes them.
const EVENTS: [&str; 4] = ["insert", "delete", "update", "truncate"];

/// What makes a trigger a constraint trigger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConstraintTrigger {
    /// Can be put off to the end of the transaction.
    pub deferrable: bool,
    /// Is put off unless the transaction says otherwise.
    pub initially_deferred: bool,
    /// The other table of the constraint.
    pub from: Option<Id>,
}

/// A trigger on a table or a view.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trigger {
    /// The table or view.
    pub relation: Id,
    /// Its name.
    pub name: Ident,
    /// `before`, `after` or `instead-of`.
    pub timing: String,
    /// `insert`, `delete`, `update`, `truncate`, in this order.
    pub events: Vec<String>,
    /// The columns of UPDATE OF.
    pub update_of: Vec<Ident>,
    /// Fires for every row, not once for a statement.
    pub for_each_row: bool,
    /// The condition.
    pub when: Option<String>,
    /// The function and its arguments.
    pub execute: Call,
    /// For a constraint trigger.
    pub constraint: Option<ConstraintTrigger>,
    /// The name of the transition table with the rows before.
    pub old_table: Option<Ident>,
    /// The name of the transition table with the rows after.
    pub new_table: Option<Ident>,
    /// In which sessions it fires.
    pub enabled: Firing,
}

impl Trigger {
    fn statement(&self, create: &str) -> String {
        let Self { relation, name, timing, events, update_of, for_each_row, when, execute, constraint, old_table, new_table, enabled: _ } = self;
        let timing = TIMINGS.iter().find(|(word, _)| word == timing).map_or("AFTER", |(_, sql)| sql);
        let events: Vec<String> = events
            .iter()
            .map(|event| match event.as_str() {
                "update" if !update_of.is_empty() => format!("UPDATE OF {}", quoted_list(update_of)),
                event => event.to_uppercase(),
            })
            .collect();
        let word = if constraint.is_some() { "CONSTRAINT TRIGGER" } else { "TRIGGER" };
        let mut sql = format!("{create} {word} {} {timing} {} ON {}", quote(name), events.join(" OR "), relation.sql());
        if let Some(ConstraintTrigger { deferrable, initially_deferred, from }) = constraint {
            if let Some(from) = from {
                sql += &format!(" FROM {}", from.sql());
            }
            if *deferrable {
                sql += if *initially_deferred { " DEFERRABLE INITIALLY DEFERRED" } else { " DEFERRABLE" };
            }
        }
        if old_table.is_some() || new_table.is_some() {
            sql += " REFERENCING";
            for (word, table) in [("OLD", old_table), ("NEW", new_table)] {
                if let Some(table) = table {
                    sql += &format!(" {word} TABLE AS {}", quote(table));
                }
            }
        }
        sql += if *for_each_row { " FOR EACH ROW" } else { " FOR EACH STATEMENT" };
        if let Some(when) = when {
            sql += &format!(" WHEN ({when})");
        }
        format!("{sql} EXECUTE FUNCTION {}", execute.sql())
    }

    fn enable(&self) -> String {
        format!("ALTER TABLE {} {} TRIGGER {}", self.relation.sql(), self.enabled.sql(), quote(&self.name))
    }

    fn action(&self, title: &str, mode: LockMode) -> Action {
        Action::new(format!("{title} {}", self.id())).lock(&self.relation, mode, Cost::Instant)
    }

    fn read_constraint(node: &mut Node<'_>, at: &Scope<'_>, out: &mut Lowering) -> Option<ConstraintTrigger> {
        let is_constraint = node.flag("constraint", &mut out.findings);
        let words = ["initially-deferred", "initially-immediate", "true", "false"];
        let deferrable = node.word("deferrable", &words, &mut out.findings);
        let from = node.value("from", &mut out.findings).map(|table| Id::new("table", at.path(&table.value)));
        if !is_constraint {
            if deferrable.is_some() || from.is_some() {
                let finding = Finding::at(node.title(), "only a constraint trigger is deferrable or has a second table");
                out.findings.push(finding.help("add `constraint`"));
            }
            return None;
        }
        let word = deferrable.map_or_else(|| "false".to_owned(), |word| word.value);
        Some(ConstraintTrigger { deferrable: word != "false", initially_deferred: word == "initially-deferred", from })
    }
}

impl Kind for Trigger {
    const KEYWORD: &'static str = "trigger";
    const CATALOG: &'static str = "pg_trigger";
    const PARENTS: &'static [&'static str] = &["table", "view"];
    cast_to!(Trigger);

    /// A partition's copy of its parent's trigger (`tgparentid`) comes and goes with that; the
    /// triggers of a hypertable call functions in `TimescaleDB`'s own schemas.
    fn query(_server: u32) -> Option<String> {
        Some(format!(
            "SELECT t.oid::int8, 0::int8, CASE c.relkind WHEN 'v' THEN 'view' ELSE 'table' END, n.nspname::text, c.relname::text, t.tgname::text, \
             t.tgtype::int8, ARRAY(SELECT a.attname::text FROM unnest(t.tgattr::int2[]) WITH ORDINALITY u(n, i) \
             JOIN pg_attribute a ON a.attrelid = t.tgrelid AND a.attnum = u.n ORDER BY u.i), \
             CASE WHEN t.tgqual IS NOT NULL THEN pg_get_triggerdef(t.oid) END, {}, \
             t.tgconstraint <> 0, t.tgdeferrable, t.tginitdeferred, fn.nspname::text, f.relname::text, \
             t.tgoldtable::text, t.tgnewtable::text, t.tgenabled::text \
             FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
             JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_namespace pn ON pn.oid = p.pronamespace \
             LEFT JOIN pg_class f ON f.oid = t.tgconstrrelid LEFT JOIN pg_namespace fn ON fn.oid = f.relnamespace \
             WHERE NOT t.tgisinternal AND t.tgparentid = 0 AND c.relpersistence <> 't' AND pn.nspname !~ '^_timescaledb_' \
             AND {} AND {} AND {} ORDER BY n.nspname, c.relname, t.tgname",
            Call::columns("t.tgargs"),
            row::in_user_schema("c.relnamespace"),
            row::not_extension_member("pg_class", "c.oid"),
            row::not_extension_member("pg_trigger", "t.oid")
        ))
    }

    fn from_row(row: &mut Row<'_>) -> Self {
        let kind = row.text();
        let relation = Id::new(&kind, [row.name(), row.name()]);
        let name = row.name();
        // Bits of `tgtype`: src/include/catalog/pg_trigger.h.
        let bits = row.int();
        let timing = if bits & 2 != 0 {
            "before"
        } else if bits & 64 != 0 {
            "instead-of"
        } else {
            "after"
        };
        let events = [("insert", 4), ("delete", 8), ("update", 16), ("truncate", 32)];
        let events = events.iter().filter(|(_, bit)| bits & bit != 0).map(|(event, _)| (*event).to_owned()).collect();
        let update_of = row.names();
        let when = row.opt_text().and_then(|definition| condition(&definition).map(str::to_owned));
        let execute = Call::from_row(row);
        let (is_constraint, deferrable, initially_deferred) = (row.flag(), row.flag(), row.flag());
        let from = row.opt_name().zip(row.opt_name()).map(|(schema, table)| Id::new("table", [schema, table]));
        let constraint = is_constraint.then_some(ConstraintTrigger { deferrable, initially_deferred, from });
        let (old_table, new_table) = (row.opt_name(), row.opt_name());
        let enabled = Firing::from_code(&row.text());
        let for_each_row = bits & 1 != 0;
        Self { relation, name, timing: timing.to_owned(), events, update_of, for_each_row, when, execute, constraint, old_table, new_table, enabled }
    }

    fn read(node: &mut Node<'_>, at: &Scope<'_>, out: &mut Lowering) -> Option<Id> {
        let name = node.arg("a name", &mut out.findings)?;
        let constraint = Self::read_constraint(node, at, out);
        let (mut timing, mut events) = (None, Vec::new());
        let words: Vec<&str> = TIMINGS.iter().map(|(word, _)| *word).chain(EVENTS).collect();
        let before = out.findings.len();
        for word in node.args() {
            if !one_of(&word, "word of a trigger", &words, &mut out.findings) {
            } else if EVENTS.contains(&word.value.as_str()) {
                events.push(word.value);
            } else if timing.replace(word.value.clone()).is_some() {
                out.complain(&word, "a trigger fires either before, after or instead of its events", "keep one of them");
            }
        }
        events.sort_by_key(|event| EVENTS.iter().position(|one| one == event));
        events.dedup();
        let update_of = node.values("update-of", &mut out.findings).unwrap_or_default();
        let for_each = node.word("for-each", &["row", "statement"], &mut out.findings);
        let when = node.value("when", &mut out.findings).map(|text| text.value);
        let execute = node.value("execute", &mut out.findings);
        let (mut old_table, mut new_table) = (None, None);
        if let Some(mut referencing) = node.child("referencing", &mut out.findings) {
            old_table = referencing.value("old-table", &mut out.findings).map(|text| Ident::new(&text.value));
            new_table = referencing.value("new-table", &mut out.findings).map(|text| Ident::new(&text.value));
            referencing.finish(&mut out.findings);
        }
        let enabled = Firing::read(node, out);
        if events.is_empty() && !update_of.is_empty() {
            events.push("update".to_owned());
        }
        let (Some(timing), false) = (timing, events.is_empty()) else {
            let finding = Finding::at(node.title(), format!("trigger `{}` needs to say when it fires", name.value));
            if out.findings.len() > before {
                return None;
            }
            out.findings.push(finding.help("a time (before, after, instead-of) and events (insert, update, delete, truncate): `trigger touch before insert update …`"));
            return None;
        };
        let Some(execute) = execute else {
            let finding = Finding::at(node.title(), format!("trigger `{}` needs the function that it calls", name.value));
            out.findings.push(finding.help(format!("add it, for example: `trigger {} {timing} {} execute=\"touch()\"`", name.value, events.join(" "))));
            return None;
        };
        let Some(execute) = Call::parse(&execute.value, at) else {
            out.complain(&execute, "`execute` is a call of a trigger function", "for example: `execute=\"touch('a')\"`");
            return None;
        };
        // TRUNCATE knows no rows.
        let for_each_row = for_each.map_or(!events.iter().any(|event| event == "truncate"), |word| word.value == "row");
        let trigger = Self {
            relation: at.parent().clone(),
            name: Ident::new(&name.value),
            timing,
            events,
            update_of: update_of.iter().map(|column| Ident::new(&column.value)).collect(),
            for_each_row,
            when,
            execute,
            constraint,
            old_table,
            new_table,
            enabled,
        };
        Some(out.put(node, trigger))
    }

    fn write<'n>(&self, parent: &'n mut NodeOut) -> &'n mut NodeOut {
        let Self { relation, name, timing, events, update_of, for_each_row, when, execute, constraint, old_table, new_table, enabled } = self;
        let mut node = events.iter().fold(NodeOut::new("trigger").arg(name.as_str()).arg(timing.as_str()), |node, event| node.arg(event.as_str()));
        if let Some(ConstraintTrigger { deferrable, initially_deferred, from }) = constraint {
            node = node.arg("constraint");
            if *deferrable {
                node.set("deferrable", if *initially_deferred { "initially-deferred" } else { "initially-immediate" });
            }
            if let Some(from) = from {
                node.set("from", dotted(&from.path[usize::from(from.schema() == relation.schema())..]));
            }
        }
        if !for_each_row {
            node.set("for-each", "statement");
        }
        enabled.write(&mut node);
        if !update_of.is_empty() {
            node.add(update_of.iter().fold(NodeOut::new("update-of"), |node, column| node.arg(column.as_str())));
        }
        if old_table.is_some() || new_table.is_some() {
            let referencing = node.add(NodeOut::new("referencing"));
            for (word, table) in [("old-table", old_table), ("new-table", new_table)] {
                if let Some(table) = table {
                    referencing.set(word, table.as_str());
                }
            }
        }
        if let Some(when) = when {
            node.add(NodeOut::new("when").arg(when.as_str()));
        }
        if node.children.is_empty() {
            node.set("execute", execute.sql());
        } else {
            node.add(NodeOut::new("execute").arg(execute.sql()));
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

    fn needs(&self) -> Vec<Id> {
        let from = self.constraint.iter().filter_map(|constraint| constraint.from.clone());
        let columns = self.update_of.iter().map(|column| self.relation.child("column", column));
        [self.execute.function.clone()].into_iter().chain(from).chain(columns).collect()
    }

    fn texts(&self) -> Vec<&str> {
        self.when.as_deref().into_iter().collect()
    }

    fn references(&mut self) -> Vec<&mut Id> {
        let from = self.constraint.iter_mut().filter_map(|constraint| constraint.from.as_mut());
        [&mut self.execute.function].into_iter().chain(from).collect()
    }

    fn create(&self) -> Action {
        let action = self.action("Create", LockMode::ShareRowExclusive).sql(self.statement("CREATE"));
        if self.enabled == Firing::Origin { action } else { action.sql(self.enable()) }
    }

    fn drop(&self) -> Action {
        self.action("Drop", LockMode::AccessExclusive).sql(format!("DROP TRIGGER {} ON {}", quote(&self.name), self.relation.sql()))
    }

    /// CREATE OR REPLACE (PostgreSQL 14) does not know constraint triggers. It enables the trigger.
    fn alter(old: &Self, new: &Self) -> Alteration {
        let Self {
            relation: _,
            name: _,
            timing: _,
            events: _,
            update_of: _,
            for_each_row: _,
            when: _,
            execute: _,
            constraint,
            old_table: _,
            new_table: _,
            enabled,
        } = new;
        let only_enabled = Self { enabled: *enabled, ..old.clone() } == *new;
        if only_enabled {
            return Alteration::Act(vec![new.action("Enable or disable", LockMode::ShareRowExclusive).sql(new.enable())]);
        }
        if constraint.is_some() || old.constraint.is_some() {
            return Alteration::Replace;
        }
        let action = new.action("Change", LockMode::ShareRowExclusive).sql(new.statement("CREATE OR REPLACE"));
        Alteration::Act(vec![if *enabled == Firing::Origin { action } else { action.sql(new.enable()) }])
    }

    fn rename(old: &Id, new: &Id) -> Option<Action> {
        super::table::rename_on_relation("TRIGGER", old, new)
    }

    fn address(id: &Id) -> String {
        format!("TRIGGER {} ON {}", id.name_sql(), id.relation())
    }
}

#[cfg(test)]
mod tests {
    use super::super::round_trip::{created, read};
    use super::*;

    #[test]
    fn the_forms_of_the_language() {
        let table = Id::new("table", ["app", "orders"]);
        for (kdl, sql) in [
            (
                r#"trigger touch before insert update { update-of qty total; when "OLD.* IS DISTINCT FROM NEW.*"; execute "touch('a', 1)"; }"#,
                &["CREATE TRIGGER touch BEFORE INSERT OR UPDATE OF qty, total ON app.orders FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) \
                   EXECUTE FUNCTION app.touch('a', '1')"][..],
            ),
            (
                r#"trigger audit after delete for-each=statement execute="audit()" enabled=always { referencing old-table=gone; }"#,
                &[
                    "CREATE TRIGGER audit AFTER DELETE ON app.orders REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION app.audit()",
                    "ALTER TABLE app.orders ENABLE ALWAYS TRIGGER audit",
                ],
            ),
            (
                r#"trigger late after insert constraint deferrable=initially-deferred execute="chk()""#,
                &["CREATE CONSTRAINT TRIGGER late AFTER INSERT ON app.orders DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION app.chk()"],
            ),
            (r#"trigger gone after truncate execute="util.gone""#, &["CREATE TRIGGER gone AFTER TRUNCATE ON app.orders FOR EACH STATEMENT EXECUTE FUNCTION util.gone()"]),
        ] {
            assert_eq!(created::<Trigger>(kdl, Some(&table)), sql);
        }
    }

    #[test]
    fn replacing_enables_again() {
        let read = |kdl: &str| read::<Trigger>(kdl, Some(&Id::new("table", ["app", "t"])));
        let old = read(r#"trigger a before insert execute="f()" enabled=disabled"#);
        let sql = |new: &Trigger| match Trigger::alter(&old, new) {
            Alteration::Act(actions) => actions.into_iter().flat_map(|action| action.sql).collect(),
            Alteration::Replace | Alteration::Retype(_) => vec!["replace".to_owned()],
        };
        let replaced = "CREATE OR REPLACE TRIGGER a BEFORE UPDATE ON app.t FOR EACH ROW EXECUTE FUNCTION app.f()";
        let disabled = "ALTER TABLE app.t DISABLE TRIGGER a";
        assert_eq!(sql(&read(r#"trigger a before update execute="f()" enabled=disabled"#)), [replaced, disabled]);
        assert_eq!(sql(&read(r#"trigger a before update execute="f()""#)), [replaced]);
        assert_eq!(sql(&read(r#"trigger a before insert execute="f()""#)), ["ALTER TABLE app.t ENABLE TRIGGER a"]);
        assert_eq!(sql(&read(r#"trigger a after insert constraint execute="f()""#)), ["replace"]);
    }
}
