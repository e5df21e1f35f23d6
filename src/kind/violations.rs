//! Queries that find the rows which would make a constraint fail: what several kinds share.

use super::column::Column;
use super::primary_key::PrimaryKey;
use super::unique::Unique;
use crate::catalog::id::{quote, quoted_list};
use crate::catalog::{Id, Ident, Indexed};
use crate::plan::op::Violations;

/// The columns that tell the rows of a table apart: its primary key, else a unique key whose columns
/// are NOT NULL; empty where it has neither.
#[must_use]
pub fn row_key(live: &Indexed<'_>, table: &Id) -> Vec<Ident> {
    let there = |name: &Ident| live.contains(&Column::id_of(table, name));
    let strict = |name: &Ident| live.get_as::<Column>(&Column::id_of(table, name)).is_some_and(|column| column.not_null);
    let primary = live.within::<PrimaryKey>(table).map(|key| &key.key.columns);
    let unique = live.within::<Unique>(table).map(|key| &key.key.columns);
    let mut keys = primary.chain(unique.filter(|columns| columns.iter().all(strict)));
    keys.find(|columns| columns.iter().all(there)).cloned().unwrap_or_default()
}

/// What names a row of a table: its key, else where it lies.
#[must_use]
pub fn named_by(live: &Indexed<'_>, table: &Id) -> Vec<String> {
    let key = row_key(live, table);
    if key.is_empty() {
        vec!["tableoid::regclass AS relation".to_owned(), "ctid".to_owned()]
    } else {
        key.iter().map(|name| quote(name)).collect()
    }
}

/// The rows of `table` for which `condition` holds: their key, then `shown`. `only` is `ONLY ` or nothing.
#[must_use]
pub fn rows(live: &Indexed<'_>, table: &Id, only: &str, shown: &[Ident], condition: &str) -> String {
    rows_of(live, table, &format!("{only}{}", table.sql()), shown, condition)
}

/// As [`rows`], from what stands for the table.
#[must_use]
pub fn rows_of(live: &Indexed<'_>, table: &Id, from: &str, shown: &[Ident], condition: &str) -> String {
    let mut list = named_by(live, table);
    let shown: Vec<String> = shown.iter().map(|name| quote(name)).filter(|name| !list.contains(name)).collect();
    list.extend(shown);
    format!("SELECT {} FROM {from} WHERE {condition}", list.join(", "))
}

/// Conditions that leave out rows with a NULL in one of `columns`.
#[must_use]
pub fn not_null(live: &Indexed<'_>, table: &Id, columns: &[Ident]) -> Vec<String> {
    let strict = |name: &Ident| live.get_as::<Column>(&Column::id_of(table, name)).is_some_and(|column| column.not_null);
    columns.iter().filter(|name| !strict(name)).map(|name| format!("{} IS NOT NULL", quote(name))).collect()
}

/// Values that more than one row has, among the rows for which all `conditions` hold.
#[must_use]
pub fn duplicates(table: &Id, columns: &[Ident], conditions: &[String]) -> String {
    let list = quoted_list(columns);
    let filter = if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) };
    format!("SELECT {list}, count(*) AS times FROM {}{filter} GROUP BY {list} HAVING count(*) > 1", table.sql())
}

/// Rows that collide with an earlier one under an index or constraint that only the server can judge: a copy of the
/// table takes what does not (`constraint` puts it on `pg_temp.preflight_copy`); the others are left.
#[must_use]
pub fn collisions(live: &Indexed<'_>, table: &Id, title: String, help: String, constraint: String) -> Violations {
    let key = row_key(live, table);
    let list = if key.is_empty() { format!("{}::text AS row", quote(table.name())) } else { quoted_list(&key) };
    let copied = list.replacen(&quote(table.name()), "preflight_copy", usize::from(key.is_empty()));
    Violations {
        title,
        rows: format!("SELECT {list} FROM {} EXCEPT ALL SELECT {copied} FROM pg_temp.preflight_copy", table.sql()),
        help,
        setup: vec![
            format!("CREATE TEMP TABLE preflight_copy (LIKE {})", table.sql()),
            constraint,
            format!("INSERT INTO pg_temp.preflight_copy SELECT * FROM {} ON CONFLICT DO NOTHING", table.sql()),
        ],
        reads: Vec::new(),
        copies: Some(table.clone()),
    }
}
