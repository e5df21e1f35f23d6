//! Columns that change to a type that PostgreSQL has no cast to: said at their place, before anything is planned.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use tokio_postgres::error::SqlState;

use super::{EngineError, Workbench};
use crate::catalog::{Catalog, Id};
use crate::kdl::{Finding, Findings};
use crate::kind::Kind as _;
use crate::kind::column::Column;
use crate::kind::lowering::{Hints, Origin};
use crate::kind::sql_type;

/// Looks at every column whose values become those of another type, where no `backfill` says how: each pair of types is
/// asked about once, on a server that knows both.
///
/// # Errors
/// The scratch server is lost.
pub async fn check(
    bench: &Workbench,
    live: &Catalog,
    desired: &Catalog,
    hints: &Hints,
    origins: &IndexMap<Id, Origin>,
) -> Result<Findings, EngineError> {
    let mut pairs: BTreeMap<[&str; 2], Vec<(&Column, &Column)>> = BTreeMap::new();
    for new in desired.of::<Column>().filter(|new| new.generated.is_none()) {
        let id = new.id();
        let Some(old) = live.get_as::<Column>(&id).or_else(|| live.get_as::<Column>(hints.renames.get(&id)?)) else { continue };
        if old.data_type != new.data_type && old.generated.is_none() && !hints.backfills.contains_key(&id) {
            pairs.entry([&old.data_type, &new.data_type]).or_default().push((old, new));
        }
    }
    let mut findings = Findings::new();
    let Some(scratch) = bench.scratch().filter(|_| !pairs.is_empty()) else { return Ok(findings) };
    for database in ["desired", "live"].into_iter().filter_map(|label| bench.latest(label)) {
        let session = scratch.connect(database).await?;
        let mut unknown = BTreeMap::new();
        for (types, columns) in pairs {
            let (old, new) = columns[0];
            let sql = format!("EXPLAIN SELECT {} FROM (SELECT NULL::{} AS value) old", new.conversion(old, "value"), old.data_type);
            match session.client().batch_execute(&sql).await {
                Ok(()) => {}
                Err(error) if error.code() == Some(&SqlState::CANNOT_COERCE) => {
                    findings.0.extend(columns.into_iter().map(|(old, new)| finding(old, new, origins)));
                }
                // A type of the other state.
                Err(_) => {
                    unknown.insert(types, columns);
                }
            }
        }
        session.close().await;
        pairs = unknown;
        if pairs.is_empty() {
            break;
        }
    }
    Ok(findings)
}

fn finding(old: &Column, new: &Column, origins: &IndexMap<Id, Origin>) -> Finding {
    let id = new.id();
    let [from, to] = [&old.data_type, &new.data_type].map(|name| sql_type::display(name));
    let text = format!("PostgreSQL has no cast from {from} to {to}, and {id} is to change its type");
    let help = format!("say how a value becomes the new one, in terms of the columns that are there: backfill \"expression of type {to}\"");
    let written = |origin: &Origin| origin.texts.get(1).map_or(origin.name, |text| text.span);
    match origins.get(&id).map(written) {
        Some(span) => Finding::at(span, text).label("here").help(help),
        None => Finding::general(text).help(help),
    }
}
