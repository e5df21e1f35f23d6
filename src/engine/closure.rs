//! Which part of two states the scratch server has to see: what differs, what that stands on, and
//! what stands on it. A change of one table among ten thousand makes a handful of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::catalog::{Catalog, Id, Indexed};
use crate::kind::foreign_key::ForeignKey;
use crate::kind::{Kind as _, Object};

/// Below so many objects everything is made: it costs less than finding out what to leave away.
const WORTH_IT: usize = 3_000;

/// The objects that stand directly in a schema, with everything that hangs on them, to which
/// elaboration and proof can be confined; `None`: all of them.
#[must_use]
pub fn closure(live: &Catalog, raw: &Catalog) -> Option<BTreeSet<Id>> {
    if live.objects.len().max(raw.objects.len()) < WORTH_IT {
        return None;
    }
    let (live_units, raw_units) = (Units::of(live), Units::of(raw));
    let mut changed: BTreeSet<Id> =
        raw.objects.iter().filter(|(id, object)| live.get(id) != Some(*object)).map(|(id, _)| id.clone()).collect();
    changed.extend(live.objects.keys().filter(|id| !raw.contains(id)).cloned());
    // What is not in a schema (a schema, an extension, a cast) can be felt anywhere.
    let unit_of = |id: &Id| if live.contains(id) { live_units.unit(id).clone() } else { raw_units.unit(id).clone() };
    if changed.iter().map(unit_of).any(|unit| unit.path.len() < 2 && unit.kind != "publication") {
        return None;
    }
    Some(reach([live, raw], [&live_units, &raw_units], changed)).filter(|wanted| {
        let all = raw_units.needs.len().max(live_units.needs.len());
        wanted.len() * 2 < all
    })
}

/// The units around what a plan touches, of the state that it starts from; `None`: all of them.
#[must_use]
pub fn around(start: &Catalog, touched: &BTreeSet<Id>) -> Option<BTreeSet<Id>> {
    if start.objects.len() < WORTH_IT || touched.iter().any(|id| id.path.len() < 2 && id.kind != "publication") {
        return None;
    }
    let units = Units::of(start);
    Some(reach([start, start], [&units, &units], touched.clone()))
}

/// What uses the changed objects, and what all of that stands on.
fn reach([live, raw]: [&Catalog; 2], [live_units, raw_units]: [&Units; 2], changed: BTreeSet<Id>) -> BTreeSet<Id> {
    let unit_of = |id: &Id| if live.contains(id) { live_units.unit(id).clone() } else { raw_units.unit(id).clone() };
    // Upwards from what changes, object by object: who uses it, to any depth.
    let users = [Indexed::new(live), Indexed::new(raw)];
    let mut touched = changed.clone();
    let mut open: Vec<Id> = changed.into_iter().collect();
    while let Some(id) = open.pop() {
        for user in users.iter().flat_map(|users| users.dependants(&id)) {
            if touched.insert(user.clone()) {
                open.push(user.clone());
            }
        }
    }
    let mut wanted: BTreeSet<Id> = touched.iter().map(unit_of).collect();
    // A foreign key that is touched needs the other table; one that is not is left away with it.
    for id in touched.iter().filter(|id| id.kind == ForeignKey::KEYWORD) {
        for catalog in [live, raw] {
            wanted.extend(catalog.get_as::<ForeignKey>(id).map(|key| key.references.clone()));
        }
    }
    // Downwards from all of that: what must be there for it.
    let mut open: Vec<Id> = wanted.iter().cloned().collect();
    while let Some(unit) = open.pop() {
        for units in [live_units, raw_units] {
            for need in units.needs.get(&unit).into_iter().flatten() {
                if wanted.insert(need.clone()) {
                    open.push(need.clone());
                }
            }
        }
    }
    wanted
}

/// The part of a catalog that lies in these units, with everything that stands in no schema.
#[must_use]
pub fn restrict(catalog: &Catalog, wanted: &BTreeSet<Id>) -> Catalog {
    let units = Units::of(catalog);
    let keep = |id: &Id| {
        let unit = units.unit(id);
        let leads_out = catalog.get_as::<ForeignKey>(id).is_some_and(|key| !wanted.contains(&key.references));
        (wanted.contains(unit) && !leads_out) || (unit.path.len() < 2 && unit.kind != "publication")
    };
    let objects = catalog.objects.iter().filter(|(id, _)| keep(id)).map(|(id, object)| (id.clone(), object.clone())).collect();
    let needs = catalog.needs.iter().filter(|(id, _)| keep(id)).map(|(id, needs)| (id.clone(), needs.clone())).collect();
    Catalog { objects, needs, unmodelled: BTreeSet::new() }
}

/// A catalog by what stands directly in its schemas.
struct Units {
    home: HashMap<Id, Id>,
    needs: BTreeMap<Id, BTreeSet<Id>>,
}

impl Units {
    fn of(catalog: &Catalog) -> Self {
        let mut home: HashMap<Id, Id> = HashMap::with_capacity(catalog.objects.len());
        for (id, object) in &catalog.objects {
            let unit = home_of(catalog, &home, object);
            home.insert(id.clone(), unit);
        }
        let mut needs: BTreeMap<Id, BTreeSet<Id>> = BTreeMap::new();
        for (id, object) in &catalog.objects {
            let own = &home[id];
            let entry = needs.entry(own.clone()).or_default();
            if id.kind == ForeignKey::KEYWORD {
                continue;
            }
            for need in catalog.all_needs(object) {
                entry.extend(home.get(&need).filter(|other| *other != own && other.path.len() >= 2).cloned());
            }
        }
        Self { home, needs }
    }

    fn unit<'u>(&'u self, id: &'u Id) -> &'u Id {
        self.home.get(id).unwrap_or(id)
    }
}

/// The ancestor of an object that stands directly in a schema (or in the database).
fn home_of(catalog: &Catalog, known: &HashMap<Id, Id>, object: &Object) -> Id {
    let id = object.id();
    match object.parent() {
        None => id,
        Some(parent) if parent.kind == "schema" => {
            // What only hangs on a schema belongs to it.
            if matches!(object, Object::Comment(_) | Object::Owner(_) | Object::Grant(_)) { parent } else { id }
        }
        Some(parent) => known
            .get(&parent)
            .cloned()
            .unwrap_or_else(|| catalog.get(&parent).map_or_else(|| parent.clone(), |above| home_of(catalog, known, above))),
    }
}
