//! Extended statistics: `statistics qty total name=qty_total kinds="ndistinct,mcv" target=500`.
//!
//! They have a schema of their own; it is named (`schema=other`) where it is not the table's.
//! Facts: manual, CREATE STATISTICS. They take SHARE UPDATE EXCLUSIVE on the table.

use serde::{Deserialize, Serialize};

use super::index::{element_from_kdl, element_to_kdl};
use super::trigger_call::identifier;
use super::{Kind, Lowering, Row, Scope, row};
use crate::catalog::expr::unwrap_parens;
use crate::catalog::id::{default_name, quote};
use crate::catalog::{Id, Ident};
use crate::kdl::{Node, NodeOut, ValueOut, one_of};
use crate::plan::op::{Action, Alteration, Cost, LockMode};

/// The kinds with their `stxkind`.
const KINDS: [(&str, &str); 3] = [("ndistinct", "d"), ("dependencies", "f"), ("mcv", "m")];

/// Statistics over several columns or expressions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Statistics {
    /// Their schema.
    pub schema: Ident,
    /// Their name.
    pub name: Ident,
    /// The table.
    pub table: Id,
    /// The columns, sorted by name: PostgreSQL keeps no order.
    pub columns: Vec<Ident>,
    /// The expressions.
    pub expressions: Vec<String>,
    /// What is collected, in the order of the manual; empty for everything.
    pub kinds: Vec<String>,
    /// The statistics target, where it is not that of the columns.
    pub target: Option<i64>,
}

impl Statistics {
    fn set_target(&self) -> String {
        format!("ALTER STATISTICS {} SET STATISTICS {}", self.id().sql(), self.target.unwrap_or(-1))
    }

    fn action(&self, title: &str) -> Action {
        Action::new(format!("{title} {}", self.id())).lock(&self.table, LockMode::ShareUpdateExclusive, Cost::Instant)
    }
}

impl Kind for Statistics {
    const KEYWORD: &'static str = "statistics";
    const CATALOG: &'static str = "pg_statistic_ext";
    const PARENTS: &'static [&'static str] = &["table", "materialized-view"];
    cast_to!(Statistics);

    fn query(_server: u32) -> Option<String> {
        Some(format!(
            "SELECT s.oid::int8, 0::int8, sn.nspname::text, s.stxname::text, CASE c.relkind WHEN 'm' THEN 'materialized-view' ELSE 'table' END, \
             n.nspname::text, c.relname::text, ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum = ANY (s.stxkeys)), \
             pg_get_statisticsobjdef_expressions(s.oid), s.stxkind::text[], nullif(s.stxstattarget, -1)::int8 \
             FROM pg_statistic_ext s JOIN pg_namespace sn ON sn.oid = s.stxnamespace \
             JOIN pg_class c ON c.oid = s.stxrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE {} AND {} ORDER BY sn.nspname, s.stxname",
            row::in_user_schema("s.stxnamespace"),
            row::not_extension_member("pg_statistic_ext", "s.oid")
        ))
    }

    fn from_row(row: &mut Row<'_>) -> Self {
        let (schema, name, kind) = (row.name(), row.name(), row.text());
        let table = Id::new(&kind, [row.name(), row.name()]);
        let mut columns = row.names();
        columns.sort();
        let expressions = row.texts().iter().map(|text| unwrap_parens(text).to_owned()).collect();
        let codes = row.texts();
        let kinds = KINDS.iter().filter(|(_, code)| codes.iter().any(|one| one == code)).map(|(word, _)| (*word).to_owned()).collect();
        Self { schema, name, table, columns, expressions, kinds: all_is_none(kinds), target: row.opt_int() }
    }

    fn read(node: &mut Node<'_>, at: &Scope<'_>, out: &mut Lowering) -> Option<Id> {
        let first = node.arg("columns or expressions", &mut out.findings)?;
        let elements = [first].into_iter().chain(node.args());
        let table = at.parent().clone();
        let (mut columns, mut expressions, mut names) = (Vec::new(), Vec::new(), Vec::new());
        for element in elements {
            let column = match identifier(&element_from_kdl(&element.value)) {
                Some((column, "")) => Some(column),
                _ => out.catalog.contains(&table.child("column", &element.value)).then(|| Ident::new(&element.value)),
            };
            names.push(column.as_ref().map_or_else(|| "expr".to_owned(), Ident::to_string));
            match column {
                Some(column) => columns.push(column),
                None => expressions.push(element.value),
            }
        }
        columns.sort();
        let name = node.value("name", &mut out.findings);
        let schema = node.value("schema", &mut out.findings).map_or_else(|| Ident::new(at.schema), |text| Ident::new(&text.value));
        let words = KINDS.map(|(word, _)| word);
        let mut kinds = Vec::new();
        if let Some(text) = node.value("kinds", &mut out.findings) {
            for word in text.value.split(',').map(str::trim) {
                let one = crate::kdl::Text { value: word.to_owned(), ..text.clone() };
                if one_of(&one, "kind of statistics", &words, &mut out.findings) {
                    kinds.push(word.to_owned());
                }
            }
        }
        kinds.sort_by_key(|kind| words.iter().position(|word| word == kind));
        kinds.dedup();
        let target = node.number("target", &mut out.findings).filter(|target| *target >= 0);
        let unnamed = name.is_none();
        let name = name.map_or_else(|| default_name(table.name(), &names.join("_"), "stat"), |name| Ident::from(name.value));
        let mut statistics = Self { schema, name, table, columns, expressions, kinds: all_is_none(kinds), target };
        if unnamed {
            statistics.name = Ident::new(out.default_id(&statistics.id()).name());
        }
        Some(out.put(node, statistics))
    }

    fn write<'n>(&self, parent: &'n mut NodeOut) -> &'n mut NodeOut {
        let Self { schema, name, table, columns, expressions, kinds, target } = self;
        let elements = columns.iter().map(|column| element_to_kdl(&quote(column))).chain(expressions.iter().cloned());
        let mut node = elements.fold(NodeOut::new("statistics"), NodeOut::arg);
        node.set("name", name.as_str());
        if schema != table.schema() {
            node.set("schema", schema.as_str());
        }
        if !kinds.is_empty() {
            node.set("kinds", kinds.join(","));
        }
        if let Some(target) = target {
            node.set("target", ValueOut::Number(target.to_string()));
        }
        parent.add(node)
    }

    fn id(&self) -> Id {
        Id::new(Self::KEYWORD, [self.schema.clone(), self.name.clone()])
    }

    fn parent(&self) -> Option<Id> {
        Some(self.table.clone())
    }

    fn needs(&self) -> Vec<Id> {
        // The columns of a materialized view are no objects.
        let columns = self.columns.iter().filter(|_| self.table.kind == "table").map(|column| self.table.child("column", column));
        columns.chain([super::schema::Schema::id_of(&self.schema)]).collect()
    }

    fn texts(&self) -> Vec<&str> {
        self.expressions.iter().map(String::as_str).collect()
    }

    fn create(&self) -> Action {
        let Self { schema: _, name: _, table, columns, expressions, kinds, target } = self;
        let kinds = if kinds.is_empty() { String::new() } else { format!(" ({})", kinds.join(", ")) };
        let elements = columns.iter().map(|column| quote(column)).chain(expressions.iter().map(|expression| format!("({expression})")));
        let elements: Vec<String> = elements.collect();
        let action = self.action("Create").sql(format!("CREATE STATISTICS {}{kinds} ON {} FROM {}", self.id().sql(), elements.join(", "), table.sql()));
        if target.is_some() { action.sql(self.set_target()) } else { action }
    }

    fn drop(&self) -> Action {
        self.action("Drop").sql(format!("DROP STATISTICS {}", self.id().sql()))
    }

    fn alter(old: &Self, new: &Self) -> Alteration {
        let Self { schema: _, name: _, table, columns, expressions, kinds, target: _ } = new;
        if (table, columns, expressions, kinds) != (&old.table, &old.columns, &old.expressions, &old.kinds) {
            return Alteration::Replace;
        }
        Alteration::Act(vec![new.action("Change the target of").sql(new.set_target())])
    }

    fn rename(old: &Id, new: &Id) -> Option<Action> {
        Some(super::table::rename_in_schema("STATISTICS", old, new))
    }
}

/// Everything is what PostgreSQL collects when nothing is said.
fn all_is_none(kinds: Vec<String>) -> Vec<String> {
    if kinds.len() == KINDS.len() { Vec::new() } else { kinds }
}

#[cfg(test)]
mod tests {
    use super::super::round_trip::created;
    use super::*;

    #[test]
    fn the_forms_of_the_language() {
        let parent = Some(Id::new("table", ["app", "orders"]));
        for (kdl, sql) in [
            (r#"statistics qty total name=qty_total kinds="ndistinct,mcv" target=500"#, &["CREATE STATISTICS app.qty_total (ndistinct, mcv) ON qty, total FROM app.orders", "ALTER STATISTICS app.qty_total SET STATISTICS 500"][..]),
            (r#"statistics "\"User Id\"" "lower(a)""#, &[r#"CREATE STATISTICS app."orders_User Id_expr_stat" ON "User Id", (lower(a)) FROM app.orders"#][..]),
        ] {
            assert_eq!(created::<Statistics>(kdl, parent.as_ref()), sql);
        }
    }
}
