//! Foreign keys of tables that are in use: added NOT VALID, validated in a transaction of its own.

use super::{names, partition, plain, undo};
use crate::catalog::Id;
use crate::catalog::id::quote;
use crate::kind::Kind as _;
use crate::kind::foreign_key::ForeignKey;
use crate::kind::index::Index;
use crate::kind::table::Table;
use crate::plan::change::{Change, Changes};
use crate::plan::draft::{Context, Draft, Op, drop};
use crate::plan::op::{Cost, LockMode};
use crate::plan::plan::StageName;

const RECIPE: &str = "foreign-key";

/// Takes every foreign key between tables of which one is large, made or made again.
pub fn apply(cx: &Context<'_>, changes: &mut Changes, draft: &mut Draft) {
    let ids: Vec<Id> = changes
        .iter()
        .filter(|(id, change)| id.kind == ForeignKey::KEYWORD && matches!(change, Change::Create | Change::Replace))
        .map(|(id, _)| id.clone())
        .collect();
    for id in ids {
        let Some(key) = cx.desired.get_as::<ForeignKey>(&id) else { continue };
        // The rows that are looked at are the referencing table's.
        if !cx.persists(&key.table) || changes.get(&key.table) == Some(&Change::Replace) || cx.is_small(&key.table) {
            continue;
        }
        // Before 18 a partitioned referencing table refuses NOT VALID (safe-changes.md).
        let partitioned = cx.live.get_as::<Table>(&key.table).is_some_and(|table| table.partition_by.is_some());
        if partitioned && cx.facts.server < 180_000 {
            let leaves: Vec<Id> = partition::beneath(cx, &key.table).into_iter().filter(|(_, holds)| *holds).map(|(id, _)| id).collect();
            let free = leaves.iter().all(|leaf| !cx.live.contains(&leaf.child(ForeignKey::KEYWORD, &key.name)));
            if changes.get(&id) == Some(&Change::Create) && free && !key.not_valid && !cx.policy.direct {
                changes.shift_remove(&id);
                divided(cx, key, &leaves, draft);
                after_its_index(cx, key, draft);
            }
            continue;
        }
        // A key that is made again because what it references is: the old one must go first.
        let must_go = plain::must_go_first(cx, changes, &id).or_else(|| key_goes(cx, draft, &id));
        let replaced = changes.get(&id) == Some(&Change::Replace);
        changes.shift_remove(&id);
        let old = cx.live.get(&id).filter(|_| replaced);
        let mut ops = Vec::new();
        match old {
            Some(old) if must_go.is_some() => {
                let mut away = drop(old, must_go.unwrap_or(StageName::Expand));
                away.teardown = false;
                ops.push(away);
                let mut add = Op::new(&id, key.add_not_valid(), StageName::Expand, RECIPE)
                    .undo(key.drop().sql)
                    .puts(ForeignKey { not_valid: true, ..key.clone() });
                add.recipe = RECIPE;
                ops.push(add);
                if !key.not_valid {
                    ops.push(Op::new(&id, key.validate(), StageName::Backfill, RECIPE).puts(key.clone()));
                }
                let indexes = draft.chain(&id, ops);
                draft.gone.insert(id.clone(), indexes[0]);
                draft.making.insert(id.clone(), indexes[1]);
            }
            Some(old) => {
                let beside = ForeignKey { name: names::of_constraint(cx, &id, "_new"), ..key.clone() };
                let beside_id = beside.id();
                ops.push(
                    Op::new(&id, beside.add_not_valid(), StageName::Expand, RECIPE).undo(beside.drop().sql).puts_temporary(&beside_id),
                );
                if !key.not_valid {
                    ops.push(Op::new(&id, beside.validate(), StageName::Backfill, RECIPE));
                }
                let mut switch = drop(old, StageName::Switch).action;
                switch.title = format!("Put the new {id} in the old one's place");
                switch.sql.extend(ForeignKey::rename(&beside_id, &id).unwrap_or_default().sql);
                let aside = ForeignKey::rename(&id, &beside_id).unwrap_or_default().sql;
                ops.push(
                    Op::new(&id, switch, StageName::Switch, RECIPE)
                        .removes(&beside_id)
                        .puts(key.clone())
                        .undo([aside, undo::remake(cx, old)].concat()),
                );
                let indexes = draft.chain(&id, ops);
                draft.gone.insert(id.clone(), indexes[indexes.len() - 1]);
            }
            None => {
                ops.push(
                    Op::new(&id, key.add_not_valid(), StageName::Expand, RECIPE)
                        .undo(key.drop().sql)
                        .puts(ForeignKey { not_valid: true, ..key.clone() }),
                );
                if !key.not_valid {
                    ops.push(Op::new(&id, key.validate(), StageName::Backfill, RECIPE).puts(key.clone()));
                }
                draft.chain(&id, ops);
            }
        }
        after_its_index(cx, key, draft);
    }
}

/// The stage in which the key that it references is taken away, to be there again in another form.
fn key_goes(cx: &Context<'_>, draft: &Draft, id: &Id) -> Option<StageName> {
    let needs = cx.live.get(id).map(|object| cx.live.all_needs(object)).unwrap_or_default();
    let keys = needs.iter().filter(|need| matches!(need.kind.as_str(), "primary-key" | "unique") && cx.desired.contains(need));
    keys.filter_map(|need| draft.gone.get(need)).map(|at| draft.ops[*at].stage).max()
}

/// One for each partition, proven; the one above them then takes them over instead of looking at their rows (measured;
/// it locks the referenced table for an instant, because the triggers of those that it takes over go).
fn divided(cx: &Context<'_>, key: &ForeignKey, leaves: &[Id], draft: &mut Draft) {
    let id = key.id();
    let mut ops = Vec::new();
    let parts: Vec<ForeignKey> = leaves.iter().map(|leaf| ForeignKey { table: leaf.clone(), ..key.clone() }).collect();
    for part in &parts {
        let undo = format!("ALTER TABLE {} DROP CONSTRAINT IF EXISTS {}", part.table.sql(), quote(&part.name));
        ops.push(Op::new(&id, part.add_not_valid(), StageName::Expand, RECIPE).undo(vec![undo]).puts_temporary(&part.id()));
        ops.push(Op::new(&id, part.validate(), StageName::Backfill, RECIPE));
    }
    let mut action = key.create();
    action.title = format!("Add {id}, which takes over those of the partitions");
    action.locks.clear();
    action = action.lock(&key.table, LockMode::ShareRowExclusive, Cost::Instant);
    for (part, _) in partition::beneath(cx, &key.table) {
        action = action.lock(&part, LockMode::ShareRowExclusive, Cost::Instant);
    }
    action = action.lock(&key.references, LockMode::AccessExclusive, Cost::Instant);
    // What it references may be divided too: each part of it has triggers of its own.
    for (part, _) in partition::beneath(cx, &key.references) {
        action = action.lock(&part, LockMode::AccessExclusive, Cost::Instant);
    }
    let mut op = Op::new(&id, action, StageName::Switch, RECIPE).undo(key.drop().sql).puts(key.clone());
    for part in &parts {
        op = op.removes(&part.id());
    }
    ops.push(op);
    draft.chain(&id, ops);
}

/// The index that finds the referencing rows comes first: without it every delete of a referenced
/// row would read the whole table.
fn after_its_index(cx: &Context<'_>, key: &ForeignKey, draft: &mut Draft) {
    let id = key.id();
    let Some(begins) = draft.making.get(&id).or_else(|| draft.first.get(&id)).copied() else { return };
    let wanted: Vec<String> = key.columns.iter().map(|name| crate::catalog::id::quote(name)).collect();
    let built: Vec<usize> = cx
        .desired
        .within::<Index>(&key.table)
        .filter(|index| index.elements.len() >= wanted.len() && index.elements.iter().zip(&wanted).all(|(element, name)| element == name))
        .filter_map(|index| draft.ready.get(&index.id()).copied())
        .collect();
    for at in built {
        draft.order(at, begins);
    }
}
