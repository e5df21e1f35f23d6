//! Dropping a column: clients of both releases can insert before, and it goes when the old ones are
//! gone (safe-changes.md, Columns).

use std::collections::BTreeSet;

use super::backfill::not_null_again;
use super::{quarantine, types};
use crate::catalog::Id;
use crate::kind::column::Column;
use crate::kind::default::Default;
use crate::kind::primary_key::PrimaryKey;
use crate::kind::replica_identity::{IdentityMode, ReplicaIdentity};
use crate::kind::{Kind as _, Object};
use crate::plan::change::{Change, Changes};
use crate::plan::draft::{Context, Draft, Op, drop};
use crate::plan::op::{Action, Cost, Hazard, LockMode};
use crate::plan::plan::StageName;

const RECIPE: &str = "drop-column";

/// Takes every column that is dropped from a table which stays.
pub fn apply(cx: &Context<'_>, changes: &mut Changes, draft: &mut Draft) {
    let ids: Vec<Id> =
        changes.iter().filter(|(id, change)| **change == Change::Drop && id.kind == Column::KEYWORD).map(|(id, _)| id.clone()).collect();
    for id in ids {
        let Some(column) = cx.live.get_as::<Column>(&id) else { continue };
        if !cx.persists(&column.table)
            || changes.get(&column.table) == Some(&Change::Replace)
            || super::plain::follows_parent(cx, changes, &id)
        {
            continue;
        }
        changes.shift_remove(&id);
        let mut ops: Vec<Op> = loosen(cx, column).into_iter().collect();
        ops.push(quarantine::column(cx, &draft.leaving, column).unwrap_or_else(|why| {
            let mut last = drop(&column.clone().into(), StageName::Contract);
            quarantine::say(&mut last.action, why);
            last.recipe = RECIPE;
            last
        }));
        if let Some(subject) = stuck_in_key(cx, column) {
            let last = ops.last_mut().expect("pushed above");
            last.action.hazards.push((Hazard::Breaking, subject));
        }
        let loosens = ops.len() > 1;
        let indexes = draft.chain(&id, ops);
        if loosens && let Some(identity) = identity_over(cx, column) {
            draft.follow_ups.push((identity, indexes[0]));
        }
        draft.ready.remove(&id);
        draft.gone.insert(id, indexes[indexes.len() - 1]);
    }
}

/// The replica identity of the table, where an index with the column is it now and is not to be: before, PostgreSQL
/// refuses to let the column be NULL.
fn identity_over(cx: &Context<'_>, column: &Column) -> Option<Id> {
    let id = column.table.as_kind(ReplicaIdentity::KEYWORD);
    let IdentityMode::Index(index) = &cx.live.get_as::<ReplicaIdentity>(&id)?.mode else { return None };
    let over = ["index", "unique", "primary-key"].map(|kind| column.table.child(kind, index));
    let names = cx.live.dependants(&column.id()).any(|dependant| over.contains(dependant));
    (names && cx.live.get(&id) != cx.desired.get(&id)).then_some(id)
}

/// Whether a client that leaves the column out could not insert: it is NOT NULL, and nothing fills it.
fn must_be_given(cx: &Context<'_>, column: &Column) -> bool {
    let filled = cx.live.contains(&Default::id_of(&column.id())) || column.identity.is_some() || column.generated.is_some();
    column.not_null && !filled && !cx.policy.direct
}

fn in_key(cx: &Context<'_>, column: &Column) -> bool {
    cx.live.within::<PrimaryKey>(&column.table).any(|key| key.key.columns.contains(&column.name))
}

/// Lets a column be NULL that clients of the new release do not know, where that is needed.
pub(super) fn loosen(cx: &Context<'_>, column: &Column) -> Option<Op> {
    if !must_be_given(cx, column) || in_key(cx, column) {
        return None;
    }
    let id = column.id();
    let loosened = Column { not_null: false, ..column.clone() };
    let title = format!("Let {id} be NULL, so that new clients can leave it out");
    let action = column
        .altering(title, "DROP NOT NULL", LockMode::AccessExclusive, Cost::Instant)
        .hazard(Hazard::RowShape, format!("{id} may be NULL for its readers"));
    Some(Op::new(&id, action, StageName::Expand, RECIPE).undo(not_null_again(cx, column)).puts(loosened))
}

/// What is said where that cannot be: a part of the primary key cannot be NULL, nor what a domain says; and of rows with
/// nothing, or all with the same, some constraints let only one in.
pub(super) fn stuck_in_key(cx: &Context<'_>, column: &Column) -> Option<String> {
    let id = column.id();
    if cx.policy.direct || column.identity.is_some() || column.generated.is_some() {
        return None;
    }
    let default = cx.live.get_as::<Default>(&Default::id_of(&id));
    let filled = default.is_some() || types::has_default(cx.live, &column.data_type);
    let is =
        |what: &str| Some(format!("{id} {what} until contract: new clients that leave it out cannot insert before; a default lets them"));
    if !filled && column.not_null && in_key(cx, column) {
        return is("is in the primary key");
    }
    if !filled && types::refuses_null(cx.live, &column.data_type) {
        return is("is of a domain that refuses NULL");
    }
    // A default that calls something may give each row a value of its own.
    let one_value = default.is_some_and(|default| !default.expression.contains('('));
    let collides = cx.live.dependants(&id).find(|dependant| match cx.live.get(dependant) {
        Some(Object::PrimaryKey(key)) => one_value && key.key.columns.len() == 1,
        Some(Object::Unique(key)) => key.key.columns.len() == 1 && (one_value || !filled && key.nulls_not_distinct),
        Some(Object::Index(index)) => index.unique && index.elements.len() == 1 && (one_value || !filled && index.nulls_not_distinct),
        _ => false,
    });
    collides.map(|key| format!("{key} lets one row in that new clients insert without {} until contract", column.name))
}

/// The end of columns that others took the place of, and of what kept them in step, at once: no client could insert
/// between the two. `first` are the statements before; `why` completes the hazard of each column.
pub(super) fn end(
    cx: &Context<'_>,
    leaving: &BTreeSet<Id>,
    columns: &[&Column],
    title: String,
    first: Vec<String>,
    why: &str,
    recipe: &'static str,
) -> Op {
    let mut action = Action::new(title).lock(&columns[0].table, LockMode::AccessExclusive, Cost::Instant);
    action.sql = first;
    let mut lost = Vec::new();
    for column in columns {
        let id = column.id();
        let not_kept = match quarantine::column(cx, leaving, column) {
            Ok(kept) => {
                action.sql.extend(kept.action.sql);
                action.hazards.extend(kept.action.hazards);
                continue;
            }
            Err(why) => why,
        };
        action.sql.extend(column.drop().sql);
        action = action.hazard(Hazard::DropColumn, format!("{id}, {why}"));
        quarantine::say(&mut action, not_kept);
        lost.push(id.to_string());
    }
    if !lost.is_empty() {
        action = action.loses(lost.join(", "));
    }
    let mut op = Op::new(&columns[0].id(), action, StageName::Contract, recipe);
    for column in columns {
        let id = column.id();
        op = op.removes(&Default::id_of(&id)).removes(&id);
    }
    op.teardown = true;
    op
}
