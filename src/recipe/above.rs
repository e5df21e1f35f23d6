//! What comes, changes or goes in a partition by itself, with the table above it.

use crate::catalog::Id;
use crate::kind::Object;
use crate::kind::column::Column;
use crate::kind::partition::Partition;
use crate::plan::change::{Change, Changes};
use crate::plan::draft::{Context, Draft};
use crate::plan::rename::placed_object;

/// The partitioned table of which `table` is a partition before and after.
#[must_use]
pub fn live_parent(cx: &Context<'_>, table: &Id) -> Option<Id> {
    let place = Partition::id_of(table);
    let (old, new) = (cx.live.get_as::<Partition>(&place)?, cx.desired.get_as::<Partition>(&place)?);
    (old.parent == new.parent && cx.persists(&old.parent)).then(|| old.parent.clone())
}

/// Whether a change of a partition's column, default or check comes by itself, with the same change
/// of the table above it.
#[must_use]
pub fn follows_parent(cx: &Context<'_>, changes: &Changes, id: &Id) -> bool {
    // A default goes over those of partitions, to which each comes back with it.
    let again = |above: &Id| match changes.get(above) {
        Some(Change::Convert(_)) => true,
        Some(Change::Replace) => id.kind == "default",
        _ => false,
    };
    let changes = |above: &Id| cx.live.get(above) != cx.desired.get(above) || again(above);
    counterpart(cx, id).is_some_and(|above| changes(&above))
}

pub(super) fn counterpart(cx: &Context<'_>, id: &Id) -> Option<Id> {
    if !matches!(id.kind.as_str(), "column" | "default" | "check") {
        return None;
    }
    let table = id.up("table");
    let parent = live_parent(cx, &table).or_else(|| left_parent(cx, &table).filter(|parent| ends_alike(cx, id, parent)))?;
    Some(parent.child(&id.kind, id.name()))
}

/// The partitioned table that `table` is detached from: until then it changes with that.
fn left_parent(cx: &Context<'_>, table: &Id) -> Option<Id> {
    let place = Partition::id_of(table);
    let place = cx.live.get_as::<Partition>(&place).filter(|_| !cx.desired.contains(&place))?;
    (cx.persists(&place.parent) && cx.persists(table)).then(|| place.parent.clone())
}

/// Whether a part of a table is to be as that of the same name of the table above, or both are to be gone.
fn ends_alike(cx: &Context<'_>, id: &Id, parent: &Id) -> bool {
    match (cx.desired.get(id), cx.desired.get(&parent.child(&id.kind, id.name()))) {
        (None, None) => true,
        // What it has for itself is set behind it.
        (Some(Object::Column(own)), Some(Object::Column(above))) => {
            let Column { storage, compression, statistics, options, .. } = above.clone();
            Column { storage, compression, statistics, options, ..own.clone() }.is_inherited_from(above)
        }
        (Some(own), Some(above)) => *own == placed_object(above, &above.id(), parent, &id.up("table")),
        _ => false,
    }
}

/// Whether an index or key of a partition goes away with the one above it, which a recipe may have taken already.
#[must_use]
pub fn follows_parent_index(cx: &Context<'_>, changes: &Changes, draft: &Draft, id: &Id) -> bool {
    index_above(cx, id).is_some_and(|above| {
        matches!(changes.get(id), Some(Change::Drop | Change::Replace)) && draft.making.contains_key(&above)
            || !cx.desired.contains(&above)
            || matches!(changes.get(&above), Some(Change::Replace))
            || cx.live.get(&above).is_some_and(|old| Some(old) != cx.desired.get(&above) && changes.get(id) == Some(&Change::Replace))
    })
}

pub(super) fn index_above(cx: &Context<'_>, id: &Id) -> Option<Id> {
    let part_of = match cx.live.get(id)? {
        Object::Index(index) => index.part_of.clone(),
        Object::PrimaryKey(key) => key.key.part_of.clone(),
        Object::Unique(key) => key.key.part_of.clone(),
        _ => None,
    }?;
    let table = Id::new("table", id.path[..2].to_vec());
    let parent = live_parent(cx, &table).or_else(|| left_parent(cx, &table).filter(|_| !cx.desired.contains(id)))?;
    let above = parent.child(&id.kind, &part_of);
    cx.live.contains(&above).then_some(above)
}
