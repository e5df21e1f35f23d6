//! Row triggers that keep columns in step while clients of two releases write: parts that several
//! recipes share (safe-changes.md, The sync triggers of a rename).

use super::backfill::search_path;
use crate::catalog::id::quote;
use crate::catalog::{Id, Ident};

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

/// `FUNCTION … AS …`, behind CREATE: a trigger function of the table's schema that looks for names there.
#[must_use]
pub fn function(table: &Id, name: &str, body: &str) -> String {
    format!(
        "FUNCTION {}.{}() RETURNS trigger LANGUAGE plpgsql SET search_path = {}, pg_temp AS $sync$\n{body}\n$sync$",
        quote(table.schema()),
        quote(name),
        search_path(table)
    )
}

/// A BEFORE trigger for each row. Its name starts with `sign`: `!` sorts before the table's own triggers, `~` behind
/// them. It fires in every session: an origin-only trigger is skipped by logical apply (measured).
#[must_use]
pub fn row_trigger(table: &Id, sign: &str, name: &Ident, events: &str, body: &str) -> RowTrigger {
    let trigger = format!("{sign}{name}");
    let (quoted, of) = (quote(&trigger), format!("{}.{}", quote(table.schema()), quote(name)));
    RowTrigger {
        make: vec![
            format!("CREATE {}", function(table, name, body)),
            format!("CREATE TRIGGER {quoted} BEFORE {events} ON {} FOR EACH ROW EXECUTE FUNCTION {of}()", table.sql()),
            format!("ALTER TABLE {} ENABLE ALWAYS TRIGGER {quoted}", table.sql()),
        ],
        take: vec![format!("DROP TRIGGER {quoted} ON {}", table.sql()), format!("DROP FUNCTION {of}()")],
        helpers: [table.child("trigger", &trigger), Id::new("function", [table.schema(), name.as_str(), ""])],
    }
}

/// The statement that sets a column of the new row to an expression over the others: it speaks of them by name, so the
/// new row stands in for the table.
#[must_use]
pub fn assign(table: &Id, target: &str, expression: &str) -> String {
    assign_all(table, &[(target.to_owned(), expression.to_owned())])
}

/// The same for several columns: each expression sees the row as it was before.
#[must_use]
pub fn assign_all(table: &Id, values: &[(String, String)]) -> String {
    let expressions = values.iter().map(|(_, expression)| expression.as_str()).collect::<Vec<_>>().join(", ");
    let targets = values.iter().map(|(target, _)| format!("NEW.{target}")).collect::<Vec<_>>().join(", ");
    format!("SELECT {expressions} INTO {targets} FROM (SELECT NEW.*) AS {}", quote(table.name()))
}

/// Whether two values differ, whatever their type: `IS DISTINCT FROM` knows no operator for json and misses equal
/// values that differ (citext) (measured).
#[must_use]
pub fn differ(a: &str, b: &str) -> String {
    format!("ROW({a})::record OPERATOR(pg_catalog.*<>) ROW({b})::record")
}
