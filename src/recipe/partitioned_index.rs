//! Indexes of partitioned tables that are in use: those of the partitions are built beside the traffic, the one above
//! them is made without them, and they are attached to it (safe-changes.md, Constraints and indexes).

use super::{partition, undo};
use crate::catalog::Id;
use crate::catalog::id::derived_name;
use crate::kind::index::Index;
use crate::kind::table::Table;
use crate::kind::{Kind as _, Object};
use crate::plan::change::{Change, Changes};
use crate::plan::draft::{Context, Draft, Op, create, drop};
use crate::plan::op::{Action, Cost, Hazard, LockMode};
use crate::plan::plan::{BEGIN, COMMIT, StageName};

const CREATE: &str = "create-index";
const REPLACE: &str = "replace-index";

/// The indexes of all partitions that are to be part of an index of a partitioned table.
#[must_use]
pub fn parts<'c>(cx: &'c Context<'_>, index: &Index) -> Option<Vec<&'c Index>> {
    partition::staying(cx, &index.on)
        .map(|table| cx.desired.within::<Index>(table).find(|part| part.part_of.as_ref() == Some(&index.name)))
        .collect()
}

/// Makes the index above those of the partitions. Dropping it takes them along, so that every point can be undone.
pub fn above(index: &Index, parts: &[Id], draft: &mut Draft) {
    let id = index.id();
    let mut ops = vec![without_parts(index, CREATE).puts(index.clone())];
    ops.extend(parts.iter().map(|part| partition::attach_index(&id, part, CREATE, StageName::Backfill)));
    draft.chain(&id, ops);
}

fn without_parts(index: &Index, recipe: &'static str) -> Op {
    let mut only = create(&Object::from(index.clone()), StageName::Backfill);
    only.effects.clear();
    // A part that is divided itself may be gone by then with the one above it.
    let exists = if index.part_of.is_some() { "IF EXISTS " } else { "" };
    only.undo = Some(vec![format!("DROP INDEX {exists}{}", index.id().in_schema())]);
    only.recipe = recipe;
    only.action.title = format!("Make {}, without its parts", index.id());
    only.action.sql[0] = index.create_sql(&index.name, false, true);
    only.action.locks.iter_mut().for_each(|lock| lock.cost = Cost::Instant);
    only
}

/// An index with all its parts, the deepest first.
struct Tree<'c> {
    all: Vec<&'c Index>,
}

impl<'c> Tree<'c> {
    fn of(cx: &'c Context<'_>, index: &'c Index) -> Option<Self> {
        let mut all = Vec::new();
        for part in parts(cx, index)? {
            all.extend(Self::of(cx, part)?.all);
        }
        all.push(index);
        Some(Self { all })
    }
}

/// An index and all its parts, the deepest first; without the parts where they are not all known.
#[must_use]
pub fn ids(cx: &Context<'_>, index: &Index) -> Vec<Id> {
    Tree::of(cx, index).map_or_else(|| vec![index.id()], |tree| tree.all.iter().map(|index| index.id()).collect())
}

/// Builds an index of the live state once more with all its parts, beside the traffic, and puts them in their places: for
/// an undo. The one above takes over the parts that are there (manual, CREATE INDEX).
#[must_use]
pub fn built_again(cx: &Context<'_>, index: &Index) -> Option<Vec<String>> {
    let Tree { all } = Tree::of(cx, index)?;
    let (mut outside, mut inside) = (vec![COMMIT.to_owned()], vec![BEGIN.to_owned()]);
    inside.extend(index.drop().sql);
    for part in all {
        if cx.live.get_as::<Table>(&part.on).is_some_and(|table| table.partition_by.is_some()) {
            inside.extend(part.create().sql);
        } else {
            let beside = Index { name: derived_name(&part.name, "_back"), part_of: None, ..part.clone() };
            outside.push(format!("DROP INDEX CONCURRENTLY IF EXISTS {}", beside.id().in_schema()));
            outside.push(beside.create_sql(&beside.name, true, false));
            inside.extend(Index::rename(&beside.id(), &part.id()).unwrap_or_default().sql);
            inside.extend(part.after_creation(&part.name));
        }
        inside.extend(undo::hanging(cx, &part.id()));
    }
    Some([outside, inside].concat())
}

/// A new one with all its parts under other names; then the old one goes, and they take its names, in one
/// transaction. `false`: not possible, nothing was done.
pub fn replace(cx: &Context<'_>, old: &Index, new: &Index, changes: &mut Changes, draft: &mut Draft) -> bool {
    let Some(Tree { all }) = Tree::of(cx, new) else { return false };
    let ids: Vec<Id> = all.iter().map(|index| index.id()).collect();
    if ids.iter().any(|id| changes.get(id) != Some(&Change::Replace)) {
        return false;
    }
    let beside = |index: &Index| Index {
        name: derived_name(&index.name, "_new"),
        part_of: index.part_of.as_ref().map(|above| derived_name(above, "_new")),
        ..index.clone()
    };
    let id = new.id();
    let mut ops = Vec::new();
    let mut begins: Vec<usize> = Vec::new();
    let divided = |table: &Id| cx.live.get_as::<Table>(table).is_some_and(|table| table.partition_by.is_some());
    for index in &all {
        let temporary = beside(index);
        let temporary_id = temporary.id();
        begins.push(ops.len());
        if !divided(&index.on) {
            let mut action = temporary.build_concurrently(&temporary.name);
            action.sql.extend(temporary.after_creation(&temporary.name));
            let undo = vec![format!("DROP INDEX CONCURRENTLY IF EXISTS {}", temporary_id.in_schema())];
            ops.push(Op::new(&index.id(), action, StageName::Backfill, REPLACE).undo(undo).puts_temporary(&temporary_id));
            continue;
        }
        ops.push(without_parts(&temporary, REPLACE).puts_temporary(&temporary_id));
        for part in all.iter().filter(|part| part.part_of.as_ref() == Some(&index.name) && part.id() != index.id()) {
            ops.push(partition::attach_index(&temporary_id, &beside(part).id(), REPLACE, StageName::Backfill));
        }
    }
    if new.unique && super::index::renamed_beneath(cx, new) {
        let race = format!("{id}: ON CONFLICT on the old name can raise a unique violation under hot keys until contract");
        ops[0].action.hazards.push((Hazard::UpsertRace, race));
    }
    // Columns that only the old one has are still asked for by old clients.
    let leaves = cx.live.all_needs(&Object::from(old.clone())).iter().any(|need| need.kind == "column" && !cx.desired.contains(need));
    let stage = if leaves || super::index::renamed_beneath(cx, new) { StageName::Contract } else { StageName::Backfill };
    let mut action = drop(&Object::from(old.clone()), stage).action;
    action.title = format!("Put the new {id} with its parts in the old one's place");
    action.hazards.clear();
    for (part, _) in partition::beneath(cx, &new.on) {
        action = action.lock(part, LockMode::AccessExclusive, Cost::Instant);
    }
    let mut switch = Op::new(&id, Action::default(), stage, REPLACE);
    for index in &all {
        let temporary = beside(index).id();
        action.sql.extend(Index::rename(&temporary, &index.id()).unwrap_or_default().sql);
        switch = switch.removes(&temporary).removes(&index.id());
    }
    for index in &all {
        switch = switch.puts((*index).clone());
    }
    let live: Vec<&Object> = ids.iter().filter_map(|id| cx.live.get(id)).collect();
    let back = all.iter().flat_map(|index| Index::rename(&index.id(), &beside(index).id()).unwrap_or_default().sql);
    switch.undo = Some(back.chain(undo::plainly(cx, live)).collect());
    switch.action = action;
    ops.push(switch);
    let indexes = draft.chain(&id, ops);
    let last = indexes[indexes.len() - 1];
    for (own, begin) in ids.iter().zip(begins) {
        changes.shift_remove(own);
        draft.first.insert(own.clone(), indexes[begin]);
        draft.making.insert(own.clone(), indexes[begin]);
        draft.ready.insert(own.clone(), last);
        draft.gone.insert(own.clone(), last);
    }
    true
}
