//! Renames in place: the operations, and the state behind them.

use super::draft::{Context, Op};
use super::op::{Cost, LockMode};
use super::planner::Input;
use super::rename::{not_null_follows, renamed, sequences_follow, serial_sequences};
use crate::catalog::{Catalog, Fingerprint, Id, Indexed};
use crate::kind::Object;
use crate::kind::lowering::Hints;
use crate::kind::partition::{Partition, beneath};
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
    let mut moved: Option<Catalog> = None;
    let mut renames: Vec<(Op, Option<Op>)> = Vec::new();
    for (new, old) in ordered(hints) {
        let live = &Indexed::new(moved.as_ref().unwrap_or(before));
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
        let mut after = renamed(live, old, new);
        // The columns of the partitions are renamed with the one above them.
        let parts = if old.kind == "column" { beneath(live.of::<Partition>(), &old.up("table")) } else { Vec::new() };
        for table in parts {
            let [was, now] = [old, new].map(|id| table.child("column", id.name()));
            after = renamed(&after, &was, &now);
            step.0.action = std::mem::take(&mut step.0.action).lock(table, LockMode::AccessExclusive, Cost::Instant);
        }
        not_null_follows(live, &mut after, old, new);
        after = sequences_follow(after, old, new);
        renames.push(step);
        moved = Some(after);
    }
    for ((owner, new), old) in &hints.part_renames {
        let live = &Indexed::new(moved.as_ref().unwrap_or(before));
        let cx = Context { live, desired, hints, facts, policy };
        if let Some((op, after)) = recipe::rename_part::rename(&cx, live, owner, old, new) {
            renames.push((op, None));
            moved = Some(after);
        }
    }
    let of_serials = serial_sequences(hints, moved.as_ref().unwrap_or(before), desired);
    for (new, old) in of_serials.into_iter().chain(renamed_with_theirs(hints, moved.as_ref().unwrap_or(before), desired)) {
        let live = &Indexed::new(moved.as_ref().unwrap_or(before));
        let cx = Context { live, desired, hints, facts, policy };
        renames.push(recipe::rename::rename(&cx, live, &old, &new));
        moved = Some(renamed(live, &old, &new));
    }
    InPlace { renames, after: moved }
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
    renames
}
