//! The order between operations on a partitioned table and those on its partitions.

use std::collections::BTreeMap;

use super::draft::{Context, Draft};
use crate::catalog::{Id, Ident};
use crate::kind::column::Column;
use crate::kind::partition::Partition;
use crate::kind::{Kind as _, Object};

/// A partition is attached when its indexes are there; an index of a partitioned table is made when
/// those of its partitions are (PostgreSQL then takes them over instead of building its own).
pub(super) fn partitions(cx: &Context<'_>, draft: &Draft) -> Vec<(usize, usize)> {
    let mut edges = Vec::new();
    let mut parts: BTreeMap<&Id, Vec<&Partition>> = BTreeMap::new();
    for place in cx.desired.of::<Partition>() {
        parts.entry(&place.parent).or_default().push(place);
    }
    let indexes = |table: &Id| -> Vec<usize> {
        draft
            .ready
            .iter()
            .filter(|(id, _)| {
                matches!(id.kind.as_str(), "index" | "primary-key" | "unique" | "column" | "default" | "check")
                    && id.path.len() == 3
                    && id.path[..2] == table.path[..]
            })
            .map(|(_, at)| *at)
            .collect()
    };
    let made = |id: &Id| draft.making.get(id).or_else(|| draft.ready.get(id).filter(|_| !cx.live.contains(id))).copied();
    // Where one gets other bounds, it may make room for another.
    let mut room: BTreeMap<&Id, Vec<usize>> = BTreeMap::new();
    for place in cx.live.of::<Partition>().filter(|place| cx.desired.contains(&place.id())) {
        if let Some(gone) = draft.gone.get(&place.id()) {
            room.entry(&place.parent).or_default().push(*gone);
        }
    }
    for (parent, places) in parts {
        for place in places {
            // A partition's NOT NULL is called as that of the table above (from 18 on), which would get another name by
            // itself where this one is taken in its schema already (measured).
            if let (Some(above), Some(part)) = (made(parent), made(&place.table)) {
                edges.push((above, part));
            }
            let Some(attach) = draft.ready.get(&place.id()) else { continue };
            edges.extend(room.get(parent).into_iter().flatten().map(|gone| (*gone, *attach)));
            for at in indexes(&place.table).into_iter().chain(indexes(parent)) {
                edges.push((at, *attach));
            }
            // What one of them has no longer, the other would be asked for.
            let gone = draft.gone.iter().filter(|(id, _)| matches!(id.kind.as_str(), "column" | "check"));
            let of_both = gone.filter(|(id, _)| [parent, &place.table].contains(&&id.up("table")) && !cx.live.contains(&place.id()));
            edges.extend(of_both.map(|(_, at)| (*at, *attach)));
            // What proves its bound speaks of its columns.
            let first = draft.first.get(&place.id()).unwrap_or(attach);
            let columns = draft.ready.iter().filter(|(id, _)| id.kind == Column::KEYWORD && id.up("table") == place.table);
            edges.extend(columns.map(|(_, at)| (*at, *first)));
        }
    }
    // What leaves changes with the table above until then.
    for (id, leader) in draft.followers.iter().filter(|(id, _)| cx.persists(&id.up("table"))) {
        let place = Partition::id_of(&id.up("table"));
        if let Some(detach) = draft.gone.get(&place).filter(|_| !cx.desired.contains(&place)) {
            edges.extend([draft.ready.get(leader), draft.gone.get(leader)].into_iter().flatten().map(|at| (*at, *detach)));
        }
    }
    for (id, at) in &draft.ready {
        let (Some(object), Some(_)) = (cx.desired.get(id), Some(at)) else { continue };
        let Some(name) = part_of(object) else { continue };
        let table = Id::new("table", id.path[..2].to_vec());
        let Some(place) = cx.desired.get_as::<Partition>(&Partition::id_of(&table)) else { continue };
        // Where the partition is attached already, the one above takes over what is there.
        if cx.live.get(&place.id()).is_some()
            && let above = place.parent.child(&id.kind, &name)
            // Replaced as a whole, one operation gives all of them their names.
            && draft.ready.get(&above) != Some(at)
            && let Some(begins) = draft.making.get(&above).or_else(|| draft.first.get(&above))
        {
            edges.push((*at, *begins));
            // It is there before the old one goes.
            edges.extend(draft.gone.get(&above).filter(|_| !cx.live.contains(id)).map(|gone| (*at, *gone)));
        }
    }
    edges
}

/// The name of the index above that an index or key of a partition is part of.
pub(super) fn part_of(object: &Object) -> Option<Ident> {
    match object {
        Object::Index(index) => index.part_of.clone(),
        Object::PrimaryKey(key) => key.key.part_of.clone(),
        Object::Unique(key) => key.key.part_of.clone(),
        _ => None,
    }
}
