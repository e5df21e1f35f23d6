//! Primary keys that are called otherwise: a table has at most one (manual, CREATE TABLE), so the one that goes and the one
//! that comes are the same.

use crate::catalog::{Catalog, Id, Indexed};
use crate::kind::Kind as _;
use crate::kind::lowering::Hints;
use crate::kind::primary_key::PrimaryKey;

/// Says `was` of every primary key whose name nothing else has: what differs otherwise is a change of a key that keeps its
/// name, for which there are ways, and foreign keys stay where they are.
pub fn settle(live: &Catalog, desired: &Catalog, hints: &mut Hints) {
    let (live, desired) = (&Indexed::new(live), &Indexed::new(desired));
    let mut named: Vec<(Id, Id)> = Vec::new();
    for new in desired.of::<PrimaryKey>().map(PrimaryKey::id).filter(|id| !live.contains(id) && !hints.renames.contains_key(id)) {
        let table = new.up("table");
        let was = hints.renames.get(&table).filter(|was| !live.contains(&table) && live.contains(was)).unwrap_or(&table);
        let Some(old) = live.within::<PrimaryKey>(was).next() else { continue };
        let old = table.child(PrimaryKey::KEYWORD, &old.key.name);
        if old != new && !live.has_relation(new.schema(), new.name()) {
            named.push((new, old));
        }
    }
    hints.renames.extend(named);
}
