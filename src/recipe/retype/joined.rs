//! Foreign keys over columns that are converted where they are, to a type that is made again. While one side is of the new
//! type and the other of the old one, no operator compares them, and PostgreSQL refuses the first of the two conversions
//! (measured: "foreign key constraint … cannot be implemented"): the key goes before and comes again behind.

use std::collections::BTreeSet;

use crate::catalog::Id;
use crate::kind::column::Column;
use crate::kind::domain::Domain;
use crate::kind::foreign_key::ForeignKey;
use crate::kind::{Kind as _, Object};
use crate::plan::change::{Change, Changes};
use crate::plan::draft::Context;

/// Has those keys made again.
pub(super) fn make_way(cx: &Context<'_>, changes: &mut Changes) {
    let keys: BTreeSet<Id> = changes
        .iter()
        .filter(|(id, change)| id.kind == Column::KEYWORD && matches!(change, Change::Convert(_)) && cannot_be_compared(cx, changes, id))
        .flat_map(|(id, _)| cx.live.dependants(id))
        .filter(|id| id.kind == ForeignKey::KEYWORD && cx.desired.contains(id))
        .cloned()
        .collect();
    for id in keys {
        // A comment goes with its constraint.
        let comments = cx.live.parts(&id).into_iter().map(Object::id).filter(|part| cx.desired.contains(part));
        changes.extend(comments.map(|comment| (comment, Change::Replace)));
        changes.insert(id, Change::Replace);
    }
}

/// Whether what the column is made of is made again itself: a domain alone is compared as what it is made of.
fn cannot_be_compared(cx: &Context<'_>, changes: &Changes, id: &Id) -> bool {
    let needs = cx.live.get(id).map(|object| cx.live.all_needs(object)).unwrap_or_default();
    needs.iter().filter(|need| changes.get(*need) == Some(&Change::Replace)).any(|need| {
        let is_type = matches!(need.kind.as_str(), "enum" | "type" | "range-type");
        is_type || need.kind == Domain::KEYWORD && cannot_be_compared(cx, changes, need)
    })
}
