//! Row triggers that keep columns in step while clients of two releases write: parts that several
//! recipes share (safe-changes.md, The sync triggers of a rename).

use std::collections::BTreeSet;

use super::backfill::search_path;
use super::types;
use crate::catalog::closure::words;
use crate::catalog::id::{derived_name, quote};
use crate::catalog::{Id, Ident};
use crate::kind::column::Column;
use crate::plan::draft::Context;

/// What PL/pgSQL declares in a trigger function (manual, 43.10.1), and what every function has.
const VARIABLES: [&str; 14] = [
    "found",
    "new",
    "old",
    "tg_argv",
    "tg_level",
    "tg_name",
    "tg_nargs",
    "tg_op",
    "tg_relid",
    "tg_relname",
    "tg_table_name",
    "tg_table_schema",
    "tg_when",
    "sqlstate",
];

/// A name that is a column's means the column.
pub const USE_COLUMN: &str = "#variable_conflict use_column\n";

/// What stands before a body with expressions of an author: a column may be called as a variable of PL/pgSQL is, and is
/// meant then (without it, such a name is ambiguous, and every statement of a client fails).
#[must_use]
pub fn resolution(expressions: &[&str]) -> &'static str {
    let named = expressions.iter().any(|expression| words(expression).iter().any(|word| VARIABLES.contains(&word.as_str())));
    if named { USE_COLUMN } else { "" }
}

/// The name of a function that a recipe makes for a column. Functions of a schema share their names: column `c` of table
/// `a_b` must not meet column `b_c` of table `a`, nor what is there already.
#[must_use]
pub fn name(cx: &Context<'_>, table: &Id, column: &str, suffix: &str) -> Ident {
    let base = format!("{}_{column}", table.name());
    let plain = derived_name(&base, suffix);
    let split = |at: usize| {
        let other = Id::new("column", [table.schema(), &base[..at], &base[at + 1..]]);
        at != table.name().len() && [cx.live, cx.desired].iter().any(|state| state.contains(&other))
    };
    let function = Id::new("function", [table.schema(), plain.as_str(), ""]);
    let taken = base.match_indices('_').any(|(at, _)| split(at)) || [cx.live, cx.desired].iter().any(|state| state.contains(&function));
    if !taken {
        return plain;
    }
    let hash = blake3::hash(table.name().as_bytes()).to_hex();
    derived_name(&base, &format!("_{}{suffix}", &hash[..8]))
}

/// The name of a trigger: a sign before that of its function, cut where both together are too long.
#[must_use]
pub fn trigger_name(sign: &str, function: &str) -> Ident {
    derived_name(&format!("{sign}{function}"), "")
}

/// A trigger with its function.
#[derive(Clone, Debug)]
pub struct RowTrigger {
    /// Statements that make both.
    pub make: Vec<String>,
    /// Statements that take both away.
    pub take: Vec<String>,
    /// The trigger and the function.
    pub helpers: [Id; 2],
}

/// What a function is to find as who applies the plan does, whatever a client has set: what it makes of a value is then
/// what the backfill makes of it. `columns` are those that it converts, `expressions` what an author says.
#[must_use]
pub fn settings(cx: &Context<'_>, table: &Id, columns: &[&Column], expressions: &[&str]) -> String {
    let named: BTreeSet<String> = expressions.iter().flat_map(|expression| words(expression)).collect();
    let of_table = [cx.live, cx.desired].into_iter().flat_map(|state| state.within::<Column>(table));
    let read = of_table.filter(|column| named.contains(column.name.as_str()));
    let mut sql = String::new();
    if read.chain(columns.iter().copied()).any(|column| types::follows_settings(&column.data_type)) {
        for name in ["TimeZone", "DateStyle", "IntervalStyle", "bytea_output"] {
            sql += &format!(" SET {name} FROM CURRENT");
        }
    }
    // The body is parsed in the client's session.
    if expressions.iter().any(|expression| expression.contains('\\')) {
        sql += " SET standard_conforming_strings = on";
    }
    sql
}

/// `FUNCTION … AS …`, behind CREATE: a trigger function of the table's schema that looks for names there; with its
/// [`settings`].
#[must_use]
pub fn function(table: &Id, name: &str, settings: &str, body: &str) -> String {
    format!(
        "FUNCTION {}.{}() RETURNS trigger LANGUAGE plpgsql SET search_path = {}, pg_temp{settings} AS $sync$\n{body}\n$sync$",
        quote(table.schema()),
        quote(name),
        search_path(table)
    )
}

/// A BEFORE trigger for each row. Its name starts with `sign`: `!` sorts before the table's own triggers, `~` behind
/// them. It fires in every session: an origin-only trigger is skipped by logical apply (measured).
#[must_use]
pub fn row_trigger(table: &Id, sign: &str, name: &Ident, events: &str, settings: &str, body: &str) -> RowTrigger {
    let trigger = trigger_name(sign, name);
    let (quoted, of) = (quote(&trigger), format!("{}.{}", quote(table.schema()), quote(name)));
    RowTrigger {
        make: vec![
            format!("CREATE {}", function(table, name, settings, body)),
            format!("CREATE TRIGGER {quoted} BEFORE {events} ON {} FOR EACH ROW EXECUTE FUNCTION {of}()", table.sql()),
            format!("ALTER TABLE {} ENABLE ALWAYS TRIGGER {quoted}", table.sql()),
        ],
        take: vec![format!("DROP TRIGGER {quoted} ON {}", table.sql()), format!("DROP FUNCTION {of}()")],
        helpers: [table.child("trigger", &trigger), Id::new("function", [table.schema(), name.as_str(), ""])],
    }
}

/// The same statements on the way back: what somebody took away by hand does not stop it.
#[must_use]
pub fn take_if_there(take: &[String]) -> Vec<String> {
    let lenient = |statement: &String| {
        let kind = ["DROP TRIGGER ", "DROP FUNCTION "].into_iter().find(|kind| statement.starts_with(kind));
        kind.map_or_else(|| statement.clone(), |kind| statement.replacen(kind, &format!("{kind}IF EXISTS "), 1))
    };
    take.iter().map(lenient).collect()
}

/// The statement that sets a column of the new row to an expression over the others: it speaks of them by name, so the
/// new row stands in for the table.
#[must_use]
pub fn assign(table: &Id, target: &str, expression: &str) -> String {
    assign_all(table, &[(target.to_owned(), expression.to_owned())])
}

/// Words that PL/pgSQL alone reserves (`src/pl/plpgsql/src/pl_reserved_kwlist.h`): a name that SQL takes as it is.
const RESERVED: [&str; 9] = ["begin", "by", "declare", "execute", "foreach", "if", "loop", "strict", "while"];

/// A column, by its name in SQL, of the row variable `row` of a trigger function.
#[must_use]
pub fn field(row: &str, column: &str) -> String {
    if RESERVED.contains(&column) { format!("{row}.\"{column}\"") } else { format!("{row}.{column}") }
}

/// The same for several columns: each expression sees the row as it was before.
#[must_use]
pub fn assign_all(table: &Id, values: &[(String, String)]) -> String {
    let expressions = values.iter().map(|(_, expression)| expression.as_str()).collect::<Vec<_>>().join(", ");
    let targets = values.iter().map(|(target, _)| field("NEW", target)).collect::<Vec<_>>().join(", ");
    format!("SELECT {expressions} INTO {targets} FROM (SELECT NEW.*) AS {}", quote(table.name()))
}

/// Whether two values differ, whatever their type: `IS DISTINCT FROM` knows no operator for json and misses equal
/// values that differ (citext) (measured).
#[must_use]
pub fn differ(a: &str, b: &str) -> String {
    format!("ROW({a})::record OPERATOR(pg_catalog.*<>) ROW({b})::record")
}
