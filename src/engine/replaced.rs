//! Columns that take the place of others: whether what an author says of both sides can be meant.

use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexMap;

use super::EngineError;
use crate::catalog::id::{literal, quote};
use crate::catalog::{Catalog, Id, Ident};
use crate::kdl::{Finding, Findings, Span, suggest};
use crate::kind::Kind as _;
use crate::kind::column::{Column, columns_of};
use crate::kind::lowering::{GivenBack, Hints, Origin};
use crate::pg::{Session, SessionError};
use crate::recipe::backfill::search_path;

/// What PostgreSQL says of them.
#[derive(Debug, Default)]
pub struct Said {
    /// See [`crate::plan::Facts::reads`].
    pub reads: BTreeMap<Id, BTreeSet<Ident>>,
    /// See [`crate::plan::Facts::gives_null`].
    pub gives_null: BTreeMap<Id, BTreeSet<Ident>>,
}

/// The columns of its table that an expression names, as PostgreSQL records it of a view.
pub async fn named(session: &Session, table: &Id, expression: &str) -> Result<BTreeSet<Ident>, EngineError> {
    let sql = table.sql();
    let make = format!(
        "BEGIN; SELECT set_config('search_path', {}, true); CREATE TEMP VIEW named_by_backfill AS SELECT ({expression}\n) AS value FROM {sql}",
        literal(&search_path(table))
    );
    let mut names = BTreeSet::new();
    // What is refused is told by whoever tries it.
    if session.client().batch_execute(&make).await.is_ok() {
        let query = format!(
            "SELECT a.attname::text FROM pg_depend d JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid \
             JOIN pg_attribute a ON d.refclassid = 'pg_class'::regclass AND a.attrelid = d.refobjid AND a.attnum = d.refobjsubid \
             WHERE r.ev_class = 'pg_temp.named_by_backfill'::regclass AND d.refobjid = {}::regclass AND a.attnum > 0",
            literal(&sql)
        );
        let rows = session.client().query(&query, &[]).await.map_err(SessionError::from)?;
        names.extend(rows.iter().map(|row| Ident::new(row.get::<_, &str>(0))));
    }
    session.client().batch_execute("ROLLBACK").await.map_err(SessionError::from)?;
    Ok(names)
}

/// The new columns that may be NULL and for which an expression then gives NULL, whatever the others hold: its planner
/// finds that a condition upon it is never true.
pub async fn null_for(
    session: &Session,
    table: &Id,
    expression: &str,
    live: &Catalog,
    desired: &Catalog,
) -> Result<BTreeSet<Ident>, EngineError> {
    let new: Vec<&Column> = columns_of(desired, table).filter(|column| !live.contains(&column.id())).collect();
    let (alias, path) = (quote(table.name()), literal(&search_path(table)));
    let mut names = BTreeSet::new();
    for null in new.iter().filter(|column| !column.not_null) {
        let others = columns_of(live, table).chain(new.iter().copied().filter(|column| column.name != null.name));
        let list: Vec<String> = others.map(|column| format!("{alias}.{}", quote(&column.name))).collect();
        let sql = format!(
            "EXPLAIN (COSTS OFF) SELECT FROM (SELECT NULL::{} AS {}, {} FROM {}) AS {alias} WHERE ({expression}\n) IS NOT NULL",
            null.data_type,
            quote(&null.name),
            list.join(", "),
            table.sql()
        );
        session
            .client()
            .batch_execute(&format!("BEGIN; SELECT set_config('search_path', {path}, true)"))
            .await
            .map_err(SessionError::from)?;
        let plan = session.client().query(&sql, &[]).await;
        session.client().batch_execute("ROLLBACK").await.map_err(SessionError::from)?;
        let never = |row: &tokio_postgres::Row| row.get::<_, &str>(0).trim() == "One-Time Filter: false";
        if plan.is_ok_and(|rows| rows.iter().any(never)) {
            names.insert(null.name.clone());
        }
    }
    Ok(names)
}

/// Looks at every column that is new: what an older one says of one that is gone is history.
pub fn check(
    live: &Catalog,
    desired: &Catalog,
    hints: &Hints,
    reads: &BTreeMap<Id, BTreeSet<Ident>>,
    origins: &IndexMap<Id, Origin>,
) -> Findings {
    let mut findings = Findings::new();
    let new = |id: &Id| desired.contains(id) && !live.contains(id) && live.contains(&id.up("table"));
    let mut complain = |by: &Id, value: &str, text: String, help: String| {
        findings.push(match place(origins, by, value) {
            Some(span) => Finding::at(span, text).label("here").help(help),
            None => Finding::general(text).help(help),
        });
    };
    for (old, GivenBack { by, .. }) in hints.given_back.iter().filter(|(_, back)| new(&back.by)) {
        let table = by.up("table");
        let (name, own) = (old.name(), by.name());
        if desired.contains(old) {
            let help = format!("drop {name} in the same change, or take the `revert` out");
            complain(by, name, format!("column {own} gives {name} back, and {old} stays"), help);
        } else if !live.contains(old) {
            let there: Vec<&str> = columns_of(live, &table).map(|column| column.name.as_str()).collect();
            let help = match suggest(name, &there) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("it gives back one of these: {}", there.join(", ")),
            };
            complain(by, name, format!("column {own} gives {name} back, and {table} has no such column"), help);
        } else if let Some(from) = hints.renames.get(by) {
            let help = format!(
                "where one column takes the place of several, none of them is renamed: take `was` out, and say `revert \"…\" of={}` too",
                from.name()
            );
            complain(by, name, format!("column {own} was {}, and gives {name} back", from.name()), help);
        }
    }
    let gone = |id: &Id, name: &Ident| Some(id.renamed(name)).filter(|old| live.contains(old) && !desired.contains(old));
    for (id, names) in reads.iter().filter(|(id, _)| new(id)) {
        let from = hints.renames.get(id);
        let replaced: Vec<Id> = names.iter().filter_map(|name| gone(id, name)).filter(|old| Some(old) != from).collect();
        let Some(first) = replaced.first() else { continue };
        if let Some(from) = from {
            let text = format!("column {} was {}, and its `backfill` reads {}, which goes too", id.name(), from.name(), first.name());
            let help = "where one column takes the place of several, none of them is renamed: take `was` out";
            let backfill = hints.backfills.get(id).map_or("", String::as_str);
            complain(id, backfill, text, help.to_owned());
        } else if let Some(revert) = hints.reverts.get(id) {
            let text = format!("column {} is new: the `revert` does not say which column it gives back", id.name());
            complain(id, revert, text, format!("write `revert \"…\" of={}`", first.name()));
        }
    }
    findings
}

/// The place of the last text with this value that a column says, else of its name.
fn place(origins: &IndexMap<Id, Origin>, column: &Id, value: &str) -> Option<Span> {
    let origin = origins.get(column)?;
    origin.texts.iter().rev().find(|text| text.value == value).map(|text| text.span).or(Some(origin.name))
}
