//! Foreign keys of tables that are in use: added NOT VALID, validated in a transaction of its own.

use std::collections::BTreeSet;

use super::{names, partition, plain, undo};
use crate::catalog::id::quote;
use crate::catalog::{Id, Ident};
use crate::kind::column::Column;
use crate::kind::foreign_key::ForeignKey;
use crate::kind::index::Index;
use crate::kind::primary_key::PrimaryKey;
use crate::kind::table::Table;
use crate::kind::unique::Unique;
use crate::kind::{Kind as _, Object};
use crate::plan::change::{Change, Changes};
use crate::plan::draft::{Context, Draft, Op, drop};
use crate::plan::op::{Cost, LockMode, Transaction};
use crate::plan::plan::{BEGIN, COMMIT, StageName};

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
        if !cx.persists(&key.table) || changes.get(&key.table) == Some(&Change::Replace) {
            continue;
        }
        // What is small may be looked at under a lock, but not be left without a guard while the key is changed.
        let leaves = leaving(cx, draft, &id);
        if cx.is_small(&key.table) && leaves.is_none() {
            continue;
        }
        // Before 18 a partitioned referencing table refuses NOT VALID (safe-changes.md).
        let partitioned = cx.live.get_as::<Table>(&key.table).is_some_and(|table| table.partition_by.is_some());
        if partitioned && cx.facts.server < 180_000 {
            let leaves: Vec<Id> =
                partition::beneath(cx, &key.table).into_iter().filter(|(_, holds)| *holds).map(|(id, _)| id.clone()).collect();
            let free = leaves.iter().all(|leaf| !cx.live.contains(&leaf.child(ForeignKey::KEYWORD, &key.name)));
            if changes.get(&id) == Some(&Change::Create) && free && !key.not_valid && !cx.policy.direct {
                changes.shift_remove(&id);
                divided(cx, key, &leaves, draft);
                after_its_index(cx, key, draft);
            }
            continue;
        }
        // What it leans on is made again: the old one must go first.
        let again =
            cx.live.get(&id).is_some_and(|old| cx.live.all_needs(old).iter().any(|need| changes.get(need) == Some(&Change::Replace)));
        let converted = converted(cx, changes, &id);
        let must_go = plain::must_go_first(cx, changes, &id).filter(|_| again).or(converted);
        let stage = leaves.as_ref().map(|leaves| leaves.stage);
        let replaced = changes.get(&id) == Some(&Change::Replace);
        changes.shift_remove(&id);
        let old = cx.live.get(&id).filter(|_| replaced);
        let built = leaves.filter(|leaves| must_go.is_none() && leaves.other_columns(key));
        let mut ops = Vec::new();
        match old {
            Some(old) if built.is_none() && must_go.or(stage).is_some() => {
                let mut away = drop(old, must_go.or(stage).unwrap_or(StageName::Expand));
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
                let at = stage.unwrap_or(StageName::Switch);
                let mut switch = drop(old, at).action;
                switch.title = format!("Put the new {id} in the old one's place");
                switch.sql.extend(ForeignKey::rename(&beside_id, &id).unwrap_or_default().sql);
                let aside = ForeignKey::rename(&id, &beside_id).unwrap_or_default().sql;
                ops.push(
                    Op::new(&id, switch, at, RECIPE).removes(&beside_id).puts(key.clone()).undo([aside, undo::remake(cx, old)].concat()),
                );
                let indexes = draft.chain(&id, ops);
                draft.gone.insert(id.clone(), indexes[indexes.len() - 1]);
                if let Some(leaves) = built {
                    leaves.lean(key, draft);
                }
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

/// A key that foreign keys lean on, taken away to be there again in another form; its new index is built before that.
struct Leaving {
    /// When it goes.
    stage: StageName,
    /// Its new and its old columns.
    columns: [Vec<Ident>; 2],
    /// The operations that build its index and make it.
    build: usize,
    adopt: usize,
}

/// The key that a live foreign key leans on, where that goes.
fn leaving(cx: &Context<'_>, draft: &Draft, id: &Id) -> Option<Leaving> {
    let columns = |object: Option<&Object>| match object {
        Some(Object::PrimaryKey(object)) => Some(object.key.columns.clone()),
        Some(Object::Unique(object)) => Some(object.key.columns.clone()),
        _ => None,
    };
    let needs = cx.live.get(id).map(|object| cx.live.all_needs(object)).unwrap_or_default();
    needs.iter().find_map(|need| {
        let columns = [columns(cx.desired.get(need))?, columns(cx.live.get(need))?];
        let gone = draft.gone.get(need)?;
        Some(Leaving { stage: draft.ops[*gone].stage, columns, build: *draft.first.get(need)?, adopt: *draft.ready.get(need)? })
    })
}

/// Foreign keys over columns that change their type are made before the switch: where the key that they lean on is made of
/// other columns at the end, they stand on its index, as the others do. (That switch is never undone, so nothing moves back.)
pub fn stand_on_index(cx: &Context<'_>, draft: &mut Draft) {
    let is_key = |need: &Id| matches!(need.kind.as_str(), PrimaryKey::KEYWORD | Unique::KEYWORD);
    let waiting: Vec<(Id, usize)> = draft.follow_ups.iter().filter(|(need, _)| is_key(need)).cloned().collect();
    for (need, at) in waiting {
        let id = draft.ops[at].id.clone();
        let Some(key) = cx.desired.get_as::<ForeignKey>(&id) else { continue };
        let Some(leaves) = leaving(cx, draft, &id).filter(|leaves| leaves.other_columns(key)) else { continue };
        if draft.first.get(&need) == Some(&leaves.build) {
            draft.follow_ups.retain(|follow_up| *follow_up != (need.clone(), at));
            draft.order(leaves.build, at);
            draft.leans.insert(id, leaves.build);
        }
    }
}

impl Leaving {
    /// Whether `key` can only mean the new index while both are there: PostgreSQL takes the oldest one over the same
    /// columns, in whatever order.
    fn other_columns(&self, key: &ForeignKey) -> bool {
        let set = |names: &[Ident]| names.iter().cloned().collect::<BTreeSet<_>>();
        let [new, old] = self.columns.each_ref().map(|names| set(names));
        self.build != self.adopt && set(&key.referenced_columns) == new && new != old
    }

    /// `key` stands on the new index before the key is made of it, and when the way back takes that away: then it moves to
    /// another such index, in the transaction that changes the keys.
    fn lean(&self, key: &ForeignKey, draft: &mut Draft) {
        draft.leans.insert(key.id(), self.build);
        let built = draft.ops[self.build].clone();
        let Some(undo) = &mut draft.ops[self.adopt].undo else { return };
        if let Some(begin) = undo.iter().position(|sql| sql == BEGIN) {
            undo.insert(begin + 1, key.drop().sql.concat());
            let again: Vec<String> = built.undo.into_iter().flatten().chain(built.action.sql).collect();
            if !undo.contains(&again[0]) {
                undo.splice(begin..begin, again);
            }
        }
        let mut again = key.add_not_valid().sql;
        if !key.not_valid {
            again.extend([COMMIT.to_owned(), BEGIN.to_owned()]);
            again.extend(key.validate().sql);
        }
        comes_back(undo, again);
    }
}

/// Adds to a way back that ends in a transaction: what guards comes before any of them is committed, what looks at rows
/// afterwards.
fn comes_back(undo: &mut Vec<String>, mut again: Vec<String>) {
    let committed = |sql: &[String]| sql.iter().position(|sql| sql == COMMIT).unwrap_or(sql.len());
    let begin = undo.iter().position(|sql| sql == BEGIN).map_or(0, |at| at + 1);
    let end = begin + committed(&undo[begin..]);
    let later = again.split_off(committed(&again));
    undo.splice(end..end, again);
    undo.extend(later);
}

/// A foreign key that must go before the key that it leans on, and comes again after it: in the transaction that changes
/// the key, so that no row is written without one of the two.
pub fn without_gap(cx: &Context<'_>, draft: &mut Draft) {
    let made: Vec<(Id, usize, usize)> = draft
        .gone
        .iter()
        .filter(|(id, _)| id.kind == ForeignKey::KEYWORD)
        .filter_map(|(id, away)| Some((id.clone(), *away, *draft.making.get(id)?)))
        .filter(|(_, _, add)| draft.ops[*add].recipe == RECIPE)
        .collect();
    for (id, away, add) in made {
        let needs = cx.live.get(&id).map(|object| cx.live.all_needs(object)).unwrap_or_default();
        let mut keys = needs.iter().filter(|need| matches!(need.kind.as_str(), "primary-key" | "unique"));
        let Some((gone, ready)) = keys.find_map(|need| Some((*draft.gone.get(need)?, *draft.ready.get(need)?))) else {
            around_conversion(draft, &needs, away, add);
            continue;
        };
        let group = match draft.ops[gone].group {
            Some(group) => group,
            None if gone == ready && draft.ops[gone].action.transaction == Transaction::Inside => draft.group(),
            None => continue,
        };
        for at in [away, gone, ready, add] {
            draft.ops[at].group = Some(group);
        }
        // On the way back the new one stays until what takes long is built, and the old one comes in the same transaction.
        let (drops, old) = (draft.ops[add].undo.clone().unwrap_or_default(), cx.live.get(&id));
        if let Some(back) = &mut draft.ops[ready].undo
            && let Some(begin) = back.iter().position(|sql| sql == BEGIN)
        {
            back.splice((begin + 1)..=begin, drops);
            comes_back(back, old.map(|old| undo::remake(cx, old)).unwrap_or_default());
            (draft.ops[away].undo, draft.ops[add].undo) = (Some(Vec::new()), Some(Vec::new()));
        }
    }
}

/// A foreign key whose columns are converted where they are goes and comes in the transaction that does so: first of all,
/// so that what its way back proves beside the traffic, in a transaction of its own, is the last thing there.
fn around_conversion(draft: &mut Draft, needs: &BTreeSet<Id>, away: usize, add: usize) {
    let columns = needs.iter().filter(|need| need.kind == Column::KEYWORD).filter_map(|need| draft.ready.get(need));
    let Some(group) = columns.filter(|at| draft.ops[**at].recipe == "convert").find_map(|at| draft.ops[*at].group) else { return };
    let others: Vec<usize> =
        (0..draft.ops.len()).filter(|at| draft.ops[*at].group == Some(group) && draft.ops[*at].id.kind != ForeignKey::KEYWORD).collect();
    for other in others {
        draft.order(away, other);
    }
    for at in [away, add] {
        draft.ops[at].group = Some(group);
    }
}

/// When a foreign key goes because its columns are converted where they are: with them.
fn converted(cx: &Context<'_>, changes: &Changes, id: &Id) -> Option<StageName> {
    let needs = cx.live.get(id).map(|object| cx.live.all_needs(object))?;
    needs.iter().any(|need| matches!(changes.get(need), Some(Change::Convert(_)))).then_some(StageName::Expand)
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
        action = action.lock(part, LockMode::ShareRowExclusive, Cost::Instant);
    }
    action = action.lock(&key.references, LockMode::AccessExclusive, Cost::Instant);
    // What it references may be divided too: each part of it has triggers of its own.
    for (part, _) in partition::beneath(cx, &key.references) {
        action = action.lock(part, LockMode::AccessExclusive, Cost::Instant);
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
