//! A foreign key: `foreign-key model_id on-delete=cascade { references models id; }`.

use serde::{Deserialize, Serialize};

use super::key::Deferrable;
use super::{Kind, Lowering, Rebuild, Row, Scope, Why, check, row, violations};
use crate::catalog::id::{default_name, dotted, quote, quoted_list};
use crate::catalog::{Id, Ident, Indexed};
use crate::kdl::{Finding, Node, NodeOut, ValueOut};
use crate::plan::op::{Action, Alteration, Cost, LockMode, Violations};

/// A FOREIGN KEY constraint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ForeignKey {
    /// The referencing table.
    pub table: Id,
    /// Its name.
    pub name: Ident,
    /// The referencing columns.
    pub columns: Vec<Ident>,
    /// The referenced table.
    pub references: Id,
    /// The referenced columns.
    pub referenced_columns: Vec<Ident>,
    /// What happens on DELETE, as SQL: `CASCADE`, `SET NULL (a)`; empty for NO ACTION.
    pub on_delete: String,
    /// What happens on UPDATE, as SQL; empty for NO ACTION.
    pub on_update: String,
    /// MATCH FULL, else SIMPLE.
    pub match_full: bool,
    /// When it is checked.
    pub deferrable: Deferrable,
    /// Not checked for rows that were there before.
    pub not_valid: bool,
}

const ACTIONS: &[(&str, &str)] = &[("cascade", "CASCADE"), ("restrict", "RESTRICT"), ("set-null", "SET NULL"), ("set-default", "SET DEFAULT"), ("no-action", "")];

impl ForeignKey {
    /// `CONSTRAINT name FOREIGN KEY …`.
    #[must_use]
    pub fn clause(&self) -> String {
        let Self { table: _, name, columns, references, referenced_columns, on_delete, on_update, match_full, deferrable, not_valid } = self;
        let mut sql = format!("CONSTRAINT {} FOREIGN KEY ({}) REFERENCES {}", quote(name), quoted_list(columns), references.sql());
        if !referenced_columns.is_empty() {
            sql += &format!(" ({})", quoted_list(referenced_columns));
        }
        if *match_full {
            sql += " MATCH FULL";
        }
        for (event, action) in [("UPDATE", on_update), ("DELETE", on_delete)] {
            if !action.is_empty() {
                sql += &format!(" ON {event} {action}");
            }
        }
        sql += deferrable.clause();
        if *not_valid {
            sql += " NOT VALID";
        }
        sql
    }

    fn adding(&self, title: String, cost: Cost) -> Action {
        Action::new(title)
            .sql(format!("ALTER TABLE {} ADD {}", self.table.sql(), self.clause()))
            .lock(&self.table, LockMode::ShareRowExclusive, cost)
            .lock(&self.references, LockMode::ShareRowExclusive, cost)
    }

    /// Adds it without looking at the rows that are there.
    #[must_use]
    pub fn add_not_valid(&self) -> Action {
        Self { not_valid: true, ..self.clone() }.adding(format!("Add {}, not yet validated", self.id()), Cost::Instant)
    }

    /// Looks at the rows that are there; reads and writes go on.
    #[must_use]
    pub fn validate(&self) -> Action {
        Action::new(format!("Validate {}", self.id()))
            .sql(format!("ALTER TABLE {} VALIDATE CONSTRAINT {}", self.table.sql(), quote(&self.name)))
            .lock(&self.table, LockMode::ShareUpdateExclusive, Cost::Scan)
            .lock(&self.references, LockMode::RowShare, Cost::Scan)
    }

    fn action_to_kdl(action: &str) -> &str {
        ACTIONS.iter().find(|(_, sql)| *sql == action).map_or(action, |(word, _)| word)
    }

    fn action_from_kdl(node: &mut Node<'_>, name: &'static str, out: &mut Lowering) -> String {
        let Some(text) = node.value(name, &mut out.findings) else { return String::new() };
        if let Some((_, sql)) = ACTIONS.iter().find(|(word, _)| *word == text.value) {
            return (*sql).to_owned();
        }
        // `SET NULL (model)` names columns (PostgreSQL 15).
        let upper = text.value.to_uppercase();
        if upper.starts_with("SET NULL") || upper.starts_with("SET DEFAULT") {
            let (action, columns) = text.value.split_once('(').map_or((text.value.as_str(), None), |(action, rest)| (action, Some(rest)));
            let columns = columns.map(|rest| {
                let names = rest.trim_end().trim_end_matches(')').split(',').map(|name| quote(name.trim().trim_matches('"')));
                format!(" ({})", names.collect::<Vec<_>>().join(", "))
            });
            return format!("{}{}", action.trim().to_uppercase(), columns.unwrap_or_default());
        }
        crate::kdl::one_of(&text, name, &ACTIONS.iter().map(|(word, _)| *word).collect::<Vec<_>>(), &mut out.findings);
        String::new()
    }
}

impl Kind for ForeignKey {
    const KEYWORD: &'static str = "foreign-key";
    const CATALOG: &'static str = "pg_constraint";
    const EFFORT: u32 = 5;
    const PARENTS: &'static [&'static str] = &["table", "partition"];
    cast_to!(ForeignKey);

    fn query(server: u32) -> Option<String> {
        let action = |column: &str| {
            format!("CASE {column} WHEN 'c' THEN 'CASCADE' WHEN 'r' THEN 'RESTRICT' WHEN 'n' THEN 'SET NULL' WHEN 'd' THEN 'SET DEFAULT' ELSE '' END")
        };
        let set_columns = if server >= 150_000 {
            "CASE WHEN k.confdelsetcols IS NULL THEN '' ELSE COALESCE(' (' || (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY o) FROM unnest(k.confdelsetcols) WITH ORDINALITY u(attnum, o) JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.attnum) || ')', '') END".to_string()
        } else {
            "''".to_owned()
        };
        Some(format!(
            "SELECT k.oid::int8, 0::int8, n.nspname::text, c.relname::text, k.conname::text, {}, fn.nspname::text, f.relname::text, {}, \
             {} || {set_columns}, {}, k.confmatchtype = 'f', k.condeferrable, k.condeferred, NOT k.convalidated \
             FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
             JOIN pg_class f ON f.oid = k.confrelid JOIN pg_namespace fn ON fn.oid = f.relnamespace \
             WHERE k.contype = 'f' AND k.conparentid = 0 AND c.relpersistence <> 't' AND {} AND {} AND {} ORDER BY 3, 4, 5",
            row::column_names("k.conrelid", "k.conkey"),
            row::column_names("k.confrelid", "k.confkey"),
            action("k.confdeltype"),
            action("k.confupdtype"),
            row::is_known_constraint("k", server),
            row::in_user_schema("c.relnamespace"),
            row::not_extension_member("pg_class", "c.oid")
        ))
    }

    fn from_row(row: &mut Row<'_>) -> Self {
        Self {
            table: Id::new("table", [row.name(), row.name()]),
            name: row.name(),
            columns: row.names(),
            references: Id::new("table", [row.name(), row.name()]),
            referenced_columns: row.names(),
            on_delete: row.text(),
            on_update: row.text(),
            match_full: row.flag(),
            deferrable: Deferrable::from_row(row),
            not_valid: row.flag(),
        }
    }

    fn read(node: &mut Node<'_>, at: &Scope<'_>, out: &mut Lowering) -> Option<Id> {
        let table = at.parent().as_kind("table");
        let columns: Vec<Ident> = node.args().iter().map(|text| Ident::new(&text.value)).collect();
        if columns.is_empty() {
            out.findings.push(Finding::at(node.title(), "a foreign key needs at least one column").help("write for example: `foreign-key model_id { references models id; }`"));
            return None;
        }
        let Some(mut target) = node.child("references", &mut out.findings) else {
            out.findings.push(Finding::at(node.title(), "a foreign key needs what it references").help("add it in a block: `{ references models id; }`"));
            return None;
        };
        let references = Id::new("table", at.path(&target.arg("a table", &mut out.findings)?.value));
        let referenced_columns = target.args().iter().map(|text| Ident::new(&text.value)).collect();
        for option in ["on-delete", "on-update", "match", "deferrable", "not-valid"] {
            for misplaced in target.children(option) {
                let text = format!("`{option}` belongs to the foreign key, not to what it references");
                out.findings.push(Finding::at(misplaced.title(), text).help(format!("write it before the block: `foreign-key … {option}… {{ references …; }}`")));
            }
        }
        target.finish(&mut out.findings);
        let name = node.value("name", &mut out.findings).map(|text| Ident::new(&text.value));
        let on_delete = Self::action_from_kdl(node, "on-delete", out);
        let on_update = Self::action_from_kdl(node, "on-update", out);
        let match_full = node.word("match", &["full", "simple"], &mut out.findings).is_some_and(|word| word.value == "full");
        let deferrable = Deferrable::read(node, out);
        let not_valid = node.property_flag("not-valid", &mut out.findings);
        let name = name.unwrap_or_else(|| {
            let usual = default_name(table.name(), &columns.join("_"), "fkey");
            out.default_id(&table.child(Self::KEYWORD, &usual)).name().into()
        });
        Some(out.put(node, Self { table, name, columns, references, referenced_columns, on_delete, on_update, match_full, deferrable, not_valid }))
    }

    fn write<'n>(&self, parent: &'n mut NodeOut) -> &'n mut NodeOut {
        let Self { table, name, columns, references, referenced_columns, on_delete, on_update, match_full, deferrable, not_valid } = self;
        let mut node = columns.iter().fold(NodeOut::new(Self::KEYWORD), |node, column| node.arg(column.as_str()));
        if *name != default_name(table.name(), &columns.join("_"), "fkey") {
            node.set("name", name.as_str());
        }
        for (property, action) in [("on-delete", on_delete), ("on-update", on_update)] {
            if !action.is_empty() {
                node.set(property, Self::action_to_kdl(action));
            }
        }
        if *match_full {
            node.set("match", "full");
        }
        deferrable.write(&mut node);
        if *not_valid {
            node.set("not-valid", ValueOut::Bool(true));
        }
        let skip = usize::from(references.schema() == table.schema());
        let target = NodeOut::new("references").arg(dotted(&references.path[skip..]));
        node.add(referenced_columns.iter().fold(target, |node, column| node.arg(column.as_str())));
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

    fn needs(&self) -> Vec<Id> {
        let own = self.columns.iter().map(|column| self.table.child("column", column));
        let theirs = self.referenced_columns.iter().map(|column| self.references.child("column", column));
        own.chain(theirs).chain([self.references.clone()]).collect()
    }

    fn references(&mut self) -> Vec<&mut Id> {
        vec![&mut self.references]
    }

    fn create(&self) -> Action {
        self.adding(format!("Add {}", self.id()), if self.not_valid { Cost::Instant } else { Cost::Scan })
    }

    fn drop(&self) -> Action {
        Action::new(format!("Drop {}", self.id()))
            .sql(format!("ALTER TABLE {} DROP CONSTRAINT {}", self.table.sql(), quote(&self.name)))
            .lock(&self.table, LockMode::AccessExclusive, Cost::Instant)
            .lock(&self.references, LockMode::AccessExclusive, Cost::Instant)
    }

    fn alter(old: &Self, new: &Self) -> Alteration {
        let validated = Self { not_valid: false, ..old.clone() };
        if old.not_valid && validated == *new {
            return Alteration::Act(vec![new.validate()]);
        }
        let deferrable = Self { deferrable: new.deferrable, ..old.clone() };
        if deferrable == *new {
            let clause = if new.deferrable == Deferrable::No { " NOT DEFERRABLE" } else { new.deferrable.clause() };
            return Alteration::Act(vec![
                Action::new(format!("Change when {} is checked", new.id()))
                    .sql(format!("ALTER TABLE {} ALTER CONSTRAINT {}{clause}", new.table.sql(), quote(&new.name)))
                    .lock(&new.table, LockMode::AccessExclusive, Cost::Instant),
            ]);
        }
        Alteration::Replace
    }

    fn violations(&self, live: &Indexed<'_>) -> Vec<Violations> {
        if self.not_valid {
            return Vec::new();
        }
        let Self { table, name, columns, references, referenced_columns, match_full, .. } = self;
        let theirs = if referenced_columns.is_empty() { violations::row_key(live, references) } else { referenced_columns.clone() };
        if theirs.len() != columns.len() {
            return Vec::new();
        }
        let join = |separator: &str, part: &dyn Fn(&Ident) -> String| columns.iter().map(part).collect::<Vec<_>>().join(separator);
        let pairs = columns.iter().zip(&theirs).map(|(own, their)| format!("parent.{} = child.{}", quote(their), quote(own))).collect::<Vec<_>>();
        let all = join(" AND ", &|name| format!("child.{} IS NOT NULL", quote(name)));
        let missing = format!("{all} AND NOT EXISTS (SELECT FROM {} parent WHERE {})", references.sql(), pairs.join(" AND "));
        // MATCH FULL: all NULL, or none (manual, CREATE TABLE).
        let condition = if *match_full && columns.len() > 1 {
            let some = join(" OR ", &|name| format!("child.{} IS NOT NULL", quote(name)));
            let not_all = join(" OR ", &|name| format!("child.{} IS NULL", quote(name)));
            format!("({some}) AND ({not_all}) OR {missing}")
        } else {
            missing
        };
        let shown: Vec<Ident> = columns.clone();
        let half = if *match_full && columns.len() > 1 { ", or are NULL only in part" } else { "" };
        vec![Violations {
            title: format!("rows of {table} have no row of {references} for ({}){half} (foreign key {name})", columns.join(", ")),
            rows: violations::rows_of(live, table, &format!("{} child", table.sql()), &shown, &condition),
            help: "insert what they reference, correct them, or delete them".to_owned(),
            reads: self.needs(),
            ..Violations::default()
        }]
    }

    fn rename(old: &Id, new: &Id) -> Option<Action> {
        Some(check::rename_constraint(old, new))
    }

    fn rebuild(&self, why: Why) -> Rebuild {
        if why == Why::Retyped { Rebuild::Keep } else { Rebuild::Replace }
    }

    fn address(id: &Id) -> String {
        check::constraint_address(id)
    }
}
