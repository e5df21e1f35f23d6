//! Primary keys that are called otherwise: a table has at most one (manual, CREATE TABLE), so the one that goes and the one
//! that comes are the same.

use std::collections::BTreeSet;

use crate::catalog::{Catalog, Id, Indexed};
use crate::kind::Kind as _;
use crate::kind::lowering::Hints;
use crate::kind::primary_key::PrimaryKey;

/// Says `was` of every primary key whose name nothing else has, or another one until it is called otherwise: what differs
/// besides is a change of a key that keeps its name, for which there are ways, and foreign keys stay where they are.
pub fn settle(live: &Catalog, desired: &Catalog, hints: &mut Hints) {
    let come = desired.of::<PrimaryKey>().map(PrimaryKey::id).filter(|id| !live.contains(id) && !hints.renames.contains_key(id));
    let come: Vec<Id> = come.collect();
    if come.is_empty() {
        return;
    }
    let live = &Indexed::new(live);
    let mut waiting: Vec<(Id, Id)> = Vec::new();
    for new in come {
        let table = new.up("table");
        let was = hints.renames.get(&table).filter(|was| !live.contains(&table) && live.contains(was)).unwrap_or(&table);
        let Some(old) = live.within::<PrimaryKey>(was).next() else { continue };
        let old = table.child(PrimaryKey::KEYWORD, &old.key.name);
        if old != new {
            waiting.push((new, old));
        }
    }
    let mut freed: BTreeSet<(String, String)> = BTreeSet::new();
    let name = |id: &Id| (id.schema().to_owned(), id.name().to_owned());
    loop {
        let (free, taken): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|(new, _)| freed.contains(&name(new)) || !live.has_relation(new.schema(), new.name()));
        if free.is_empty() {
            return;
        }
        freed.extend(free.iter().map(|(_, old)| name(old)));
        hints.renames.extend(free);
        waiting = taken;
    }
}
