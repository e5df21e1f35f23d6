//! What can only be said when every file is read: what names mean, and what is implied.

use std::collections::{HashMap, HashSet};

use crate::catalog::{Catalog, Id, Ident};
use crate::kind::check::Check;
use crate::kind::column::Column;
use crate::kind::default::Default;
use crate::kind::owned_by::OwnedBy;
use crate::kind::owner::Owner;
use crate::kind::partition::Partition;
use crate::kind::primary_key::PrimaryKey;
use crate::kind::{Lowering, Object, sql_type};

/// What can only be said when everything is read: whose names the texts mean.
pub fn finish(out: &mut Lowering) {
    resolve_names(out);
    // Before, so that partitions inherit it; after, for their own keys.
    imply_not_null(&mut out.catalog);
    inherit_into_partitions(out);
    imply_not_null(&mut out.catalog);
    owners_of_sequences(&mut out.catalog);
    // In a file that does not parse anything may be defined.
    if !out.findings.0.iter().any(|finding| finding.code == Some("kdl::syntax")) {
        super::references::check(out);
        super::rules::check(out);
    }
}

/// Types and references without a schema mean the enclosing one, else `public`.
fn resolve_names(out: &mut Lowering) {
    let relations: HashSet<(Ident, Ident)> = out
        .catalog
        .objects
        .keys()
        .filter(|id| matches!(id.kind.as_str(), "enum" | "domain" | "type" | "range-type" | "table" | "view" | "materialized-view"))
        .map(|id| (id.path[0].clone(), id.path[1].clone()))
        .collect();
    let declared = |schema: &str, name: &str| relations.contains(&(Ident::new(schema), Ident::new(name)));
    let mut moved = HashMap::new();
    for (id, object) in &mut out.catalog.objects {
        let schema = id.schema().to_owned();
        for name in object.type_names() {
            let (set, rest) = name.strip_prefix("SETOF ").map_or(("", name.as_str()), |rest| ("SETOF ", rest));
            if sql_type::is_builtin(rest) {
                continue;
            }
            let base = sql_type::base(rest);
            let path = crate::catalog::id::undotted(&base);
            if path.len() != 1 {
                continue;
            }
            for home in [schema.as_str(), "public"] {
                if declared(home, &path[0]) {
                    let qualified = crate::catalog::id::qualified(&[Ident::new(home), path[0].clone()]);
                    *name = format!("{set}{}", sql_type::with_base(rest, &qualified));
                    break;
                }
            }
        }
        for reference in object.references() {
            let (home, name) = (reference.path[0].clone(), reference.path[1].clone());
            if home == schema && !declared(&home, &name) && declared("public", &name) {
                let path = [Ident::new_static("public"), name].into_iter().chain(reference.path[2..].iter().cloned());
                *reference = Id::new(&reference.kind.clone(), path.collect::<Vec<_>>());
            }
        }
        // A routine's id holds its argument types.
        let new = object.id();
        if new != *id {
            moved.insert(id.clone(), new);
        }
    }
    if !moved.is_empty() {
        rekey(out, &moved);
    }
}

/// Gives objects, and all that hangs on them, their new ids.
fn rekey(out: &mut Lowering, moved: &HashMap<Id, Id>) {
    let new = |id: &Id| moved.get(id).unwrap_or(id).clone();
    let objects = std::mem::take(&mut out.catalog.objects);
    let mut keys = HashMap::new();
    for (id, mut object) in objects {
        match &mut object {
            Object::Comment(comment) => comment.on = new(&comment.on),
            Object::Owner(owner) => owner.on = new(&owner.on),
            Object::Grant(grant) => grant.on = new(&grant.on),
            _ => {}
        }
        let key = object.id();
        if key != id {
            keys.insert(id, key.clone());
        }
        out.catalog.objects.insert(key, object);
    }
    let origins = std::mem::take(&mut out.origins);
    out.origins = origins.into_iter().map(|(id, origin)| (keys.get(&id).cloned().unwrap_or(id), origin)).collect();
    let renames = std::mem::take(&mut out.hints.renames);
    out.hints.renames = renames.into_iter().map(|(to, from)| (keys.get(&to).cloned().unwrap_or(to), from)).collect();
}

/// A partition has the columns and checks of its table; only what differs is written.
fn inherit_into_partitions(out: &mut Lowering) {
    let catalog = &mut out.catalog;
    let mut places: Vec<Partition> = catalog.of::<Partition>().cloned().collect();
    if places.is_empty() {
        return;
    }
    // Outer partitions first, so that inner ones find their columns.
    let depth = |place: &Partition| {
        let (mut depth, mut at) = (0, place.parent.clone());
        while let Some(above) = catalog.get_as::<Partition>(&Partition::id_of(&at)) {
            depth += 1;
            if depth > 64 {
                break;
            }
            at = above.parent.clone();
        }
        depth
    };
    places.sort_by_cached_key(depth);
    let parents: HashSet<&Id> = places.iter().map(|place| &place.parent).collect();
    let mut given: HashMap<Id, Vec<Object>> = HashMap::new();
    for object in catalog.objects.values() {
        let table = match object {
            Object::Column(column) => column.table.clone(),
            Object::Default(default) => default.column.up("table"),
            Object::Check(check) if !check.no_inherit => check.table.clone(),
            _ => continue,
        };
        if parents.contains(&table) {
            given.entry(table).or_default().push(object.clone());
        }
    }
    for place in &places {
        for object in given.get(&place.parent).cloned().unwrap_or_default() {
            let object: Object = match object {
                // A partition takes its rows' identity from the table above.
                Object::Column(column) => Column { table: place.table.clone(), identity: None, ..column }.into(),
                Object::Default(default) => {
                    let column = place.table.child("column", default.column.name());
                    // A column that is written for the partition stands for itself, its default too.
                    if out.origins.contains_key(&column) {
                        continue;
                    }
                    Default { column, expression: default.expression }.into()
                }
                Object::Check(check) => Check { table: place.table.clone(), ..check }.into(),
                _ => continue,
            };
            let id = object.id();
            if catalog.contains(&id) {
                continue;
            }
            if parents.contains(&place.table) {
                given.entry(place.table.clone()).or_default().push(object.clone());
            }
            catalog.objects.insert(id, object);
        }
    }
}

/// An owned sequence has the owner of its table, always: what is said of it besides means nothing.
fn owners_of_sequences(catalog: &mut Catalog) {
    let sequences: HashSet<Id> = catalog.of::<OwnedBy>().map(|owned| owned.sequence.clone()).collect();
    if catalog.of::<Owner>().any(|owner| sequences.contains(&owner.on)) {
        catalog.objects.retain(|_, object| !matches!(object, Object::Owner(owner) if sequences.contains(&owner.on)));
    }
}

/// Columns of a primary key are NOT NULL.
fn imply_not_null(catalog: &mut Catalog) {
    let ids: Vec<Id> = catalog
        .of::<PrimaryKey>()
        .flat_map(|key| key.key.columns.iter().map(|name| key.key.table.child("column", name)).collect::<Vec<_>>())
        .collect();
    for id in ids {
        if let Some(Object::Column(column)) = catalog.objects.get_mut(&id) {
            column.not_null = true;
        }
    }
}
