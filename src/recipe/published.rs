//! What subscribers of a publication feel of a change, named: a column that they lack stops them, a
//! backfill is sent to them row by row (safe-changes.md, Tables and the rest).

use crate::catalog::{Id, Ident};
use crate::kind::Kind as _;
use crate::kind::partition::Partition;
use crate::kind::publication::Publication;
use crate::plan::draft::Context;
use crate::plan::op::{Action, Hazard};

/// The live publications that carry a table, by itself or as a part of one; each with its list of columns, empty for
/// all.
fn carrying<'c>(cx: &'c Context<'_>, table: &Id) -> Vec<(&'c Publication, &'c [Ident])> {
    let mut tables = vec![table.clone()];
    while let Some(place) = cx.live.get_as::<Partition>(&Partition::id_of(&tables[tables.len() - 1])) {
        tables.push(place.parent.clone());
    }
    cx.live
        .of::<Publication>()
        .filter_map(|publication| Some((publication, tables.iter().find_map(|table| publication.carries(table))?)))
        .collect()
}

/// Names of the publications that carry a table.
#[must_use]
pub fn publishers(cx: &Context<'_>, table: &Id) -> Vec<String> {
    carrying(cx, table).into_iter().map(|(publication, _)| publication.id().to_string()).collect()
}

/// Says that a new column of a published table stops its subscribers until they have it too ("missing replicated
/// column", measured).
#[must_use]
pub fn warn_of_column(cx: &Context<'_>, table: &Id, column: &Ident, action: Action) -> Action {
    let sends = |(publication, columns): &(&Publication, &[Ident])| {
        let desired = cx.desired.get_as::<Publication>(&publication.id()).and_then(|publication| publication.carries(table));
        columns.is_empty() || desired.is_some_and(|columns| columns.contains(column))
    };
    carrying(cx, table).into_iter().filter(sends).fold(action, |action, (publication, _)| {
        let subject =
            format!("{} sends {column} of {table}: a subscriber stops until it has that column, so add it there first", publication.id());
        action.hazard(Hazard::Breaking, subject)
    })
}

/// The publications to which the UPDATEs of a backfill go.
#[must_use]
pub fn told_of_updates(cx: &Context<'_>, table: &Id) -> Vec<String> {
    let updates = |publication: &Publication| publication.operations.iter().any(|operation| operation == "update");
    carrying(cx, table)
        .into_iter()
        .filter(|(publication, _)| updates(publication))
        .map(|(publication, _)| publication.id().to_string())
        .collect()
}
