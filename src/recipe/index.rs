//! Building, replacing and dropping indexes of tables that are in use (safe-changes.md, Constraints
//! and indexes).

use std::collections::BTreeSet;

use super::{carry, names, partition, partitioned_index, plain, undo};
use crate::catalog::Id;
use crate::kind::column::Column;
use crate::kind::index::Index;
use crate::kind::partition::Partition;
use crate::kind::table::Table;
use crate::kind::{Kind as _, Object};
use crate::plan::change::{Change, Changes};
use crate::plan::draft::{Context, Draft, Op, create, drop};
use crate::plan::op::{Alteration, Cost, Hazard, Transaction};
use crate::plan::plan::StageName;

/// The statistics targets of the indexes that stay over a column, to be set again: ALTER COLUMN TYPE builds an index over an
/// expression anew, without them (measured).
pub(super) fn targets_again(cx: &Context<'_>, column: &Id) -> Vec<String> {
    staying_over(cx, column).into_iter().flat_map(|(_, new)| new.after_creation(&new.name)).collect()
}

/// The same for the way back: those that they had.
pub(super) fn targets_back(cx: &Context<'_>, column: &Id) -> Vec<String> {
    staying_over(cx, column).into_iter().flat_map(|(old, _)| old.after_creation(&old.name)).collect()
}

/// The indexes over a column that are altered in place, if at all: now, and as wanted.
fn staying_over<'c>(cx: &Context<'c>, column: &Id) -> Vec<(&'c Index, &'c Index)> {
    let both = cx.desired.within::<Index>(&column.up("table")).filter_map(|new| Some((cx.live.get_as::<Index>(&new.id())?, new)));
    let stands = |index: &Index| cx.live.all_needs(&Object::from(index.clone())).contains(column);
    both.filter(|(old, new)| matches!(Index::alter(old, new), Alteration::Act(_)) && stands(old)).collect()
}

/// Takes every index of a table that stays.
pub fn apply(cx: &Context<'_>, changes: &mut Changes, draft: &mut Draft) {
    let ids: Vec<Id> = changes.keys().filter(|id| id.kind == Index::KEYWORD).cloned().collect();
    for id in ids {
        let on = cx.desired.get_as::<Index>(&id).or_else(|| cx.live.get_as::<Index>(&id)).map(|index| index.on.clone());
        let Some(on) = on.filter(|on| cx.persists(on) && changes.get(on) != Some(&Change::Replace)) else { continue };
        if plain::follows_parent_index(cx, changes, draft, &id) {
            continue;
        }
        let partitioned = cx.live.get_as::<Table>(&on).is_some_and(|table| table.partition_by.is_some());
        match changes.get(&id) {
            Some(Change::Create) => {
                let Some(index) = cx.desired.get_as::<Index>(&id) else { continue };
                changes.shift_remove(&id);
                build(cx, index, partitioned, changes, draft);
            }
            Some(Change::Drop) => {
                let Some(index) = cx.live.get_as::<Index>(&id) else { continue };
                changes.shift_remove(&id);
                let op = take_away(cx, index, partitioned);
                let at = draft.push(op);
                draft.first.insert(id.clone(), at);
                draft.gone.insert(id, at);
            }
            Some(Change::Replace) => {
                let (Some(old), Some(new)) = (cx.live.get_as::<Index>(&id), cx.desired.get_as::<Index>(&id)) else { continue };
                let forced = plain::must_go_first(cx, changes, &id).or_else(|| is_rewritten(cx, changes, &id).then_some(StageName::Expand));
                let (old, new) = (old.clone(), new.clone());
                let (old, new) = (&old, &new);
                if partitioned
                    && forced.is_none()
                    && !cx.is_small(&on)
                    && !cx.policy.direct
                    && partitioned_index::replace(cx, old, new, changes, draft)
                {
                    continue;
                }
                if partitioned || forced.is_some() {
                    // The old one cannot stay until the new one is there: plainly, one after the other.
                    changes.shift_remove(&id);
                    // Old clients ask for a column that is renamed by its old name until then.
                    let late = renamed_beneath(cx, new) && !cx.is_small(&on) && !cx.policy.direct;
                    let stage = if late { StageName::Contract } else { StageName::Expand };
                    let mut away = drop(&old.clone().into(), forced.unwrap_or(stage));
                    away.action.hazards.clear();
                    let away = draft.push(away);
                    draft.gone.insert(id.clone(), away);
                    build(cx, new, partitioned, changes, draft);
                    let made = draft.ready[&id];
                    draft.order(away, made);
                    draft.making.insert(id.clone(), made);
                    draft.first.insert(id, away);
                    continue;
                }
                changes.shift_remove(&id);
                replace(cx, old, new, changes, draft);
            }
            _ => {}
        }
    }
}

/// Whether a column of it is rewritten as another type where it is: the server builds every index over it again, and what
/// the old one says need not hold of the new type (an operator class, an expression that is no longer immutable).
fn is_rewritten(cx: &Context<'_>, changes: &Changes, id: &Id) -> bool {
    let needs = cx.live.get(id).map(|object| cx.live.all_needs(object)).unwrap_or_default();
    needs.iter().filter(|need| need.kind == Column::KEYWORD).any(|column| match changes.get(column) {
        Some(Change::Alter(actions)) => actions
            .iter()
            .any(|action| action.title.starts_with("Change the type") && action.locks.iter().any(|lock| lock.cost == Cost::Rewrite)),
        _ => false,
    })
}

fn build(cx: &Context<'_>, index: &Index, partitioned: bool, changes: &Changes, draft: &mut Draft) {
    let id = index.id();
    if partitioned
        && !cx.is_small(&index.on)
        && !cx.policy.direct
        && !cx.live.contains(&id)
        && let Some(parts) = partitioned_index::parts(cx, index)
    {
        let parts: Vec<Id> = parts.into_iter().map(crate::kind::Kind::id).collect();
        partitioned_index::above(index, &parts, draft);
        return;
    }
    // With an index above it, it may be gone already when this is undone.
    let part = index.part_of.is_some() || cx.live.contains(&Partition::id_of(&index.on));
    let exists = if part { "IF EXISTS " } else { "" };
    let op = if cx.is_small(&index.on) || partitioned {
        create(&Object::from(index.clone()), StageName::Expand).undo(vec![format!("DROP INDEX {exists}{}", id.in_schema())])
    } else {
        let mut action = index.build_concurrently(&index.name);
        action.sql.extend(index.after_creation(&index.name));
        Op::new(&id, action, StageName::Backfill, "create-index")
            .undo(vec![format!("DROP INDEX CONCURRENTLY {exists}{}", id.in_schema())])
            .puts(index.clone())
    };
    let mut ops = vec![op];
    ops[0].action.hazards.extend(blocking(cx, index, partitioned));
    // A partition of a table whose index is there already: its index takes its place in it.
    if let Some(parent) = plain::live_parent(cx, &index.on)
        && let Some(name) = &index.part_of
    {
        let above = parent.child(Index::KEYWORD, name);
        // One that is made again takes over what is there.
        let again = changes.get(&above) == Some(&Change::Replace) || draft.making.contains_key(&above);
        if cx.live.contains(&above) && cx.desired.contains(&above) && !again {
            let stage = ops[0].stage;
            ops.push(partition::attach_index(&above, &id, "create-index", stage));
        }
    }
    draft.chain(&id, ops);
}

/// A plain build on a partitioned table locks every partition that has no such index yet.
fn blocking(cx: &Context<'_>, index: &Index, partitioned: bool) -> Option<(crate::plan::Hazard, String)> {
    let waits = partitioned
        && !cx.is_small(&index.on)
        && !cx.desired.of::<Index>().any(|other| other.part_of.as_ref() == Some(&index.name) && other.on.schema() == index.on.schema());
    waits.then(|| (crate::plan::Hazard::Blocking, format!("{} is locked against writes while its partitions are indexed", index.on)))
}

fn take_away(cx: &Context<'_>, index: &Index, partitioned: bool) -> Op {
    let id = index.id();
    // DROP INDEX CONCURRENTLY is refused for partitioned indexes and for parts of them.
    if cx.is_small(&index.on) || partitioned || index.part_of.is_some() {
        return drop(&Object::from(index.clone()), StageName::Contract);
    }
    let mut op = Op::new(&id, index.drop_concurrently(), StageName::Contract, "drop-index").removes(&id);
    op.undo = Some(build_again(cx, index));
    op.teardown = true;
    op
}

/// What makes an index again, outside transactions.
fn build_again(cx: &Context<'_>, index: &Index) -> Vec<String> {
    [vec![index.create_sql(&index.name, true, false)], index.after_creation(&index.name), undo::hanging(cx, &index.id())].concat()
}

/// Builds the new one under another name, drops the old one, renames: queries are never without one.
pub(super) fn replace(cx: &Context<'_>, old: &Index, new: &Index, changes: &mut Changes, draft: &mut Draft) {
    let id = new.id();
    let temporary = names::of_index(cx, new.on.schema(), &new.name, "_new");
    let beside = Index { name: temporary.clone(), ..new.clone() };
    let temporary_id = beside.id();
    let rename = Index::rename(&temporary_id, &id).unwrap_or_default();
    let hanging = carry::hanging(cx, new, changes);
    let puts = |op: Op| hanging.iter().fold(op, |op, object| op.puts(object.clone()));
    let gone = inferred_no_more(cx, old, new);
    if cx.is_small(&new.on) {
        // One short transaction, the new one first.
        let group = draft.group();
        let stage = if gone.is_some() { StageName::Switch } else { StageName::Expand };
        let beside_object = Object::from(beside.clone());
        let mut build = create(&beside_object, stage).puts_temporary(&temporary_id);
        build.effects.remove(0);
        let mut away = drop(&Object::from(old.clone()), stage);
        away.action.hazards = gone.into_iter().collect();
        let mut over = carry::over(new, &hanging, &temporary, "replace-index", stage);
        let mut name = puts(Op::new(&id, rename, stage, "replace-index").removes(&temporary_id).puts(new.clone()));
        for op in [&mut build, &mut away, &mut name].into_iter().chain(over.as_mut()) {
            op.group = Some(group);
            op.recipe = "replace-index";
            op.teardown = false;
        }
        build.undo = Some(beside_object.drop().sql);
        name.undo = Some(Index::rename(&id, &temporary_id).unwrap_or_default().sql);
        let carries = over.is_some();
        let indexes = draft.chain(&id, [build].into_iter().chain(over).chain([away, name]).collect());
        if carries {
            carry::after_not_null(cx, new, indexes[1], draft);
        }
        draft.gone.insert(id, indexes[indexes.len() - 2]);
        return;
    }
    let mut action = beside.build_concurrently(&temporary);
    action.sql.extend(beside.after_creation(&temporary));
    let mut build = Op::new(&id, action, StageName::Backfill, "replace-index")
        .undo(vec![format!("DROP INDEX CONCURRENTLY {}", temporary_id.in_schema())])
        .puts_temporary(&temporary_id);
    if new.unique && new.elements != old.elements && renamed_beneath(cx, new) {
        // Both stand until contract (measured).
        let race = format!("{id}: ON CONFLICT on the old name can raise a unique violation under hot keys until contract");
        build.action.hazards.push((Hazard::UpsertRace, race));
    }
    // Columns that only the old one has are still asked for by old clients.
    let leaves = cx.live.needs.get(&id).into_iter().flatten().any(|need| need.kind == "column" && !cx.desired.contains(need));
    let stage = match gone {
        _ if leaves => StageName::Contract,
        Some(_) => StageName::Switch,
        None => StageName::Backfill,
    };
    let mut action = old.drop_concurrently();
    action.hazards = gone.filter(|_| !leaves).into_iter().collect();
    let mut away = Op::new(&id, action, stage, "replace-index").removes(&id);
    away.undo = Some(build_again(cx, old));
    debug_assert_eq!(away.action.transaction, Transaction::Outside);
    let name = Op::new(&id, rename, stage, "replace-index")
        .undo(Index::rename(&id, &temporary_id).unwrap_or_default().sql)
        .removes(&temporary_id)
        .puts(new.clone());
    let over = carry::over(new, &hanging, &temporary, "replace-index", StageName::Backfill);
    let carries = over.is_some();
    let indexes = draft.chain(&id, [build].into_iter().chain(over).chain([away, puts(name)]).collect());
    if carries {
        carry::after_not_null(cx, new, indexes[1], draft);
    }
    draft.ready.insert(id.clone(), indexes[0]);
    draft.gone.insert(id, indexes[indexes.len() - 2]);
}

/// What old clients lose with a unique index that is made otherwise: ON CONFLICT finds it by what it is over (manual, INSERT).
fn inferred_no_more(cx: &Context<'_>, old: &Index, new: &Index) -> Option<(Hazard, String)> {
    // In whatever order, and however they are sorted; an index of all rows does for some of them.
    let over = |index: &'_ Index| -> BTreeSet<String> { index.unsorted().into_iter().map(str::to_owned).collect() };
    let found = new.unique && over(old) == over(new) && (new.filter.is_none() || new.filter == old.filter);
    let lost = old.unique && !found && !cx.policy.direct && !renamed_beneath(cx, new);
    lost.then(|| (Hazard::Breaking, format!("{}: ON CONFLICT on its old columns fails", new.id())))
}

/// Whether it stands on a column that stands beside its old self.
pub(super) fn renamed_beneath(cx: &Context<'_>, index: &Index) -> bool {
    cx.desired
        .needs
        .get(&index.id())
        .into_iter()
        .flatten()
        .cloned()
        .chain(
            index.elements.iter().map(|element| Column::id_of(&index.on, element.split(' ').next().unwrap_or(element).trim_matches('"'))),
        )
        .any(|need| cx.hints.renames.get(&need).is_some_and(|old| cx.live.contains(old)))
}
