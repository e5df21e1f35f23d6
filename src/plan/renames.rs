//! Renames in place: the operations, and the state behind them.

use std::collections::HashSet;

use super::draft::{Context, Op};
use super::op::{Cost, LockMode};
use super::planner::Input;
use super::rename::{Renaming, moved};
use crate::catalog::id::default_name;
use crate::catalog::{Catalog, Fingerprint, Id, Ident, Indexed};
use crate::kind::column::Column;
use crate::kind::lowering::Hints;
use crate::kind::owned_by::OwnedBy;
use crate::kind::partition::{Partition, beneath};
use crate::kind::primary_key::PrimaryKey;
use crate::kind::table::Table;
use crate::kind::{Kind as _, Object, not_null};
use crate::recipe;

/// What is renamed before all else.
#[derive(Debug, Default)]
pub struct InPlace {
    /// Each operation with the one that ends it (a view under an old name goes), in order.
    pub renames: Vec<(Op, Option<Op>)>,
    /// The live state behind them, as far as it can be told without a server; `None`: as it was.
    pub after: Option<Catalog>,
}

/// The renames in place between two states.
#[must_use]
pub fn in_place(input: &Input<'_>) -> InPlace {
    let Input { live: before, desired, hints, facts, policy } = *input;
    let desired = &Indexed::new(desired);
    let names = || {
        let of_objects = hints.renames.values().map(|old| Ident::new(old.plain_name()));
        of_objects.chain(hints.part_renames.values().cloned())
    };
    let mut moved: Option<Renaming> = None;
    let mut renames: Vec<(Op, Option<Op>)> = Vec::new();
    let rename = |moved: &mut Option<Renaming>, old: &Id, new: &Id| {
        moved.get_or_insert_with(|| Renaming::new(before.clone(), names())).rename(old, new);
    };
    for (new, old) in ordered(hints) {
        let state = moved.as_ref().map_or(before, Renaming::state);
        let live = &Indexed::new(state);
        if !live.contains(old) || live.contains(new) || !desired.contains(new) || recipe::repartition::becomes_part(desired, old, new) {
            continue;
        }
        let staged_column =
            new.kind == "column" && !policy.direct && !hints.in_place.contains(new) && recipe::rename::can_sync(live, desired, old, new);
        if staged_column {
            continue;
        }
        let cx = Context { live, desired, hints, facts, policy };
        let mut step = recipe::rename::rename(&cx, live, old, new);
        // The columns of the partitions are renamed with the one above them.
        let parts = if old.kind == "column" { beneath(live.of::<Partition>(), &old.up("table")) } else { Vec::new() };
        let parts: Vec<Id> = parts.into_iter().cloned().collect();
        let (stuck, sequences) = (stuck(live, old, new), sequences(live, old, new));
        rename(&mut moved, old, new);
        for table in parts {
            let [was, now] = [old, new].map(|id| table.child("column", id.name()));
            rename(&mut moved, &was, &now);
            step.0.action = std::mem::take(&mut step.0.action).lock(&table, LockMode::AccessExclusive, Cost::Instant);
        }
        for (was, now) in sequences {
            rename(&mut moved, &was, &now);
        }
        if let Some(moved) = &mut moved {
            not_null_follows(stuck, moved.state_mut(), old, new);
        }
        renames.push(step);
    }
    for ((owner, new), old) in &hints.part_renames {
        let live = &Indexed::new(moved.as_ref().map_or(before, Renaming::state));
        let cx = Context { live, desired, hints, facts, policy };
        if let Some((op, after)) = recipe::rename_part::rename(&cx, live, owner, old, new) {
            renames.push((op, None));
            moved = Some(Renaming::new(after, names()));
        }
    }
    let state = moved.as_ref().map_or(before, Renaming::state);
    let theirs: Vec<(Id, Id)> =
        serial_sequences(hints, state, desired).into_iter().chain(renamed_with_theirs(hints, state, desired)).collect();
    for (new, old) in theirs {
        let live = &Indexed::new(moved.as_ref().map_or(before, Renaming::state));
        let cx = Context { live, desired, hints, facts, policy };
        renames.push(recipe::rename::rename(&cx, live, &old, &new));
        rename(&mut moved, &old, &new);
    }
    InPlace { renames, after: moved.map(Renaming::into_state) }
}

/// The objects that say something else behind the renames, under the names that they had.
pub fn rewritten<'c>(after: &'c Catalog, before: &'c Catalog) -> impl Iterator<Item = &'c Id> {
    after.objects.iter().filter(|(id, object)| before.get(id).is_some_and(|was| was != *object)).map(|(id, _)| id)
}

/// Puts what a server says of them in the place of what was guessed.
pub fn told(after: &mut Catalog, before: &Catalog, said: &Catalog) {
    let known: Vec<Id> = rewritten(after, before).filter(|id| said.contains(id)).cloned().collect();
    for id in known {
        if let (Some(object), Some(place)) = (said.get(&id), after.objects.get_mut(&id)) {
            *place = object.clone();
        }
    }
}

/// Constraints and indexes whose names PostgreSQL derived from what is renamed: nobody wrote either
/// name, so they get the new one instead of being built again.
fn renamed_with_theirs(hints: &Hints, live: &Catalog, desired: &Catalog) -> Vec<(Id, Id)> {
    let content = |object: &Object, id: &Id| Fingerprint::of(&super::rename::renamed_object(object, id, id, &id.renamed("")));
    let mut pairs: Vec<(Id, Id)> = Vec::new();
    for new in hints.unnamed.iter().filter(|id| !live.contains(id)) {
        let Some(wanted) = desired.get(new).map(|object| content(object, new)) else { continue };
        let same_place = |old: &Id| {
            old.kind == new.kind && old.path.len() == new.path.len() && old.path[..old.path.len() - 1] == new.path[..new.path.len() - 1]
        };
        let free = |old: &Id| !desired.contains(old) && !pairs.iter().any(|(_, taken)| taken == old);
        let found = live.objects.iter().find(|(old, object)| same_place(old) && free(old) && content(object, old) == wanted);
        if let Some((old, _)) = found {
            pairs.push((new.clone(), old.clone()));
        }
    }
    pairs
}

/// Outer renames first: a table before its columns.
fn ordered(hints: &Hints) -> Vec<(&Id, &Id)> {
    let mut renames: Vec<_> = hints.renames.iter().collect();
    renames.sort_by_key(|(new, _)| (new.path.len(), (*new).clone()));
    // A primary key that gets the name of another one comes after that has its own.
    let mut left = renames;
    let mut ordered = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let holds = |(_, old): &(&Id, &Id), new: &Id| old.kind == new.kind && old.schema() == new.schema() && old.name() == new.name();
        let waits = |(new, _): &(&Id, &Id)| new.kind == PrimaryKey::KEYWORD && left.iter().any(|other| holds(other, new));
        let next = left.iter().position(|rename| !waits(rename)).unwrap_or(0);
        ordered.push(left.remove(next));
    }
    ordered
}

/// The NOT NULL that keep their names when `old` is renamed: the columns as they are called then, and those names.
fn stuck(before: &Catalog, old: &Id, new: &Id) -> Vec<(Id, Ident)> {
    if !matches!(old.kind.as_str(), "table" | "column") {
        return Vec::new();
    }
    let named = before.of::<Column>().filter(|column| column.has_not_null() && column.constraint.name.is_none());
    let after = named.map(|column| (moved(&column.id(), old, new), column));
    after
        .filter(|(id, column)| *id != column.id() && not_null::is_stuck(before, column))
        .map(|(id, column)| (id, column.not_null_name()))
        .collect()
}

/// In a state in which `old` is called `new` now: NOT NULL of its partitions follow what [`not_null::rename`] did, and one
/// that is stuck has its name still.
fn not_null_follows(stuck: Vec<(Id, Ident)>, catalog: &mut Catalog, old: &Id, new: &Id) {
    if !matches!(old.kind.as_str(), "table" | "column") {
        return;
    }
    let mut kept = Vec::new();
    for (id, name) in stuck {
        if let Some(Object::Column(after)) = catalog.objects.get_mut(&id) {
            after.name_not_null(name, false);
            kept.push(after.name.clone());
        }
    }
    let table = Id::new("table", new.path[..2].to_vec());
    let parts: HashSet<Id> = beneath(catalog.of::<Partition>(), &table).into_iter().cloned().collect();
    if parts.is_empty() {
        return;
    }
    for object in catalog.objects.values_mut() {
        let Object::Column(column) = object else { continue };
        if !parts.contains(&column.table) || kept.contains(&column.name) {
            continue;
        }
        let before = if old.kind == Column::KEYWORD { old.name() } else { column.name.as_str() };
        let (was, is) = (not_null::usual(&old.path[1], before), not_null::usual(table.name(), &column.name));
        if column.constraint.name.as_ref() == Some(&was) && (old.kind != Column::KEYWORD || column.name == new.name()) {
            column.name_not_null(is, true);
        }
    }
}

/// The sequences that columns of a table own go with it to another schema (manual, ALTER TABLE, SET SCHEMA).
fn sequences(before: &Catalog, old: &Id, new: &Id) -> Vec<(Id, Id)> {
    if old.kind != Table::KEYWORD || old.schema() == new.schema() {
        return Vec::new();
    }
    let owned = before.of::<OwnedBy>().filter(|owned| owned.column.up("table") == *old && owned.sequence.schema() != new.schema());
    owned.map(|owned| (owned.sequence.clone(), Id::new(&owned.sequence.kind, [new.schema(), owned.sequence.name()]))).collect()
}

/// The sequences of serial columns that have another name, or whose table has: nobody wrote their names, and they count on
/// under the new ones.
fn serial_sequences(hints: &Hints, live: &Catalog, desired: &Catalog) -> Vec<(Id, Id)> {
    if hints.renames.is_empty() {
        return Vec::new();
    }
    let was = |id: &Id| hints.renames.get(id).map_or_else(|| id.name().to_owned(), |old| old.name().to_owned());
    let comes = |owned: &&OwnedBy| !live.contains(&owned.sequence);
    let pair = |owned: &OwnedBy| {
        let (column, table) = (&owned.column, owned.column.up("table"));
        let (called, had) = (was(column), was(&table));
        let usual = |table: &str, column: &str| default_name(table, column, "seq");
        let old = Id::new(&owned.sequence.kind, [table.schema(), usual(&had, &called).as_str()]);
        let is_its = |other: &OwnedBy| other.sequence == old && [column.name(), called.as_str()].contains(&other.column.name());
        let is_usual = usual(table.name(), column.name()) == owned.sequence.name();
        let counts = !desired.contains(&old) && live.of::<OwnedBy>().any(|other| other.column.up("table") == table && is_its(other));
        (is_usual && counts).then(|| (owned.sequence.clone(), old))
    };
    desired.of::<OwnedBy>().filter(comes).filter_map(pair).collect()
}
