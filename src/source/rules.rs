//! What PostgreSQL would refuse, and what can be said without asking it.

use std::collections::HashMap;

use super::references::subject;
use crate::catalog::{Catalog, Id, Ident};
use crate::kdl::{Finding, Findings, Span, Spelling};
use crate::kind::foreign_key::ForeignKey;
use crate::kind::index::Index;
use crate::kind::partition::Partition;
use crate::kind::primary_key::PrimaryKey;
use crate::kind::table::Table;
use crate::kind::unique::Unique;
use crate::kind::{Lowering, comment::Comment};

/// `NAMEDATALEN - 1` (manual, 4.1.1): PostgreSQL cuts off what is longer.
const LONGEST_NAME: usize = 63;

/// Checks every rule.
pub(super) fn check(out: &mut Lowering) {
    let mut findings = Findings::new();
    names(out, &mut findings);
    shared_names(out, &mut findings);
    former_names(out, &mut findings);
    primary_keys(out, &mut findings);
    foreign_keys(out, &mut findings);
    partitions(out, &mut findings);
    out.findings.append(findings);
}

fn origin(out: &Lowering, id: &Id) -> Option<Span> {
    out.origins.get(id).map(|origin| origin.name)
}

/// Names that PostgreSQL would cut off, and commas of other languages.
fn names(out: &Lowering, f: &mut Findings) {
    for (id, origin) in &out.origins {
        if out.catalog.get_as::<Comment>(id).is_some() || out.hints.unnamed.contains(id) {
            continue;
        }
        for text in origin.texts.iter().filter(|text| text.value.len() > LONGEST_NAME && text.value == id.plain_name()) {
            let cut = (0..=LONGEST_NAME).rev().find(|at| text.value.is_char_boundary(*at)).unwrap_or_default();
            f.push(
                Finding::at(text.span, format!("this name is {} bytes long, PostgreSQL keeps {LONGEST_NAME}", text.value.len()))
                    .label("too long")
                    .help(format!("shorten it; PostgreSQL would call it {}", &text.value[..cut])),
            );
        }
        for text in
            origin.texts.iter().filter(|text| text.spelling == Spelling::Word && text.value.ends_with(',') && text.value == id.plain_name())
        {
            f.push(Finding::at(text.span, format!("the name `{}` ends in a comma", text.value)).help(format!(
                "values are separated by spaces alone: write `{}`, or quote the name if it is meant so",
                text.value.trim_end_matches(',')
            )));
        }
    }
}

/// Relations, their indexes and types share the names of a schema.
fn shared_names(out: &Lowering, f: &mut Findings) {
    let mut taken: HashMap<String, &Id> = HashMap::new();
    for (id, object) in &out.catalog.objects {
        let Some(name) = object.relation_name() else { continue };
        let Some(first) = taken.insert(name, id) else { continue };
        if let (Some(first_at), Some(again_at)) = (origin(out, first), origin(out, id)) {
            let ((first, first_at), (again, again_at)) =
                if first_at <= again_at { ((first, first_at), (id, again_at)) } else { ((id, again_at), (first, first_at)) };
            f.push(
                Finding::at(again_at, format!("{} has the name of {}", subject(again, &out.hints), subject(first, &out.hints)))
                    .label("the same name again")
                    .other(first_at, "taken here")
                    .help("tables, views, sequences, indexes and types of a schema share their names: give one of the two another name"),
            );
        }
    }
}

/// One old thing can become one new thing.
fn former_names(out: &Lowering, f: &mut Findings) {
    let mut taken: HashMap<&Id, &Id> = HashMap::new();
    for (new, old) in out.hints.renames.iter().chain(&out.hints.moved) {
        let Some(first) = taken.insert(old, new) else { continue };
        let (Some(a), Some(b)) = (was_place(out, first, old), was_place(out, new, old)) else { continue };
        f.push(
            Finding::at(a.max(b), format!("two things cannot both have been {old}"))
                .label("`was` says so again")
                .other(a.min(b), "`was` says so here")
                .help("keep the `was` of the one that goes on with its data"),
        );
    }
    let mut parts: HashMap<(&Id, &Ident), &Ident> = HashMap::new();
    for ((owner, new), old) in &out.hints.part_renames {
        let Some(at) = origin(out, owner) else { continue };
        if new == old {
            f.push(
                Finding::at(at, format!("`{new}` of {owner} cannot have been itself: `was` is its former name"))
                    .help("name what it was called before, or take `was` out"),
            );
        } else if let Some(first) = parts.insert((owner, old), new) {
            f.push(Finding::at(at, format!("`{first}` and `{new}` of {owner} cannot both have been `{old}`")).help("keep one `was`"));
        }
    }
}

fn was_place(out: &Lowering, id: &Id, old: &Id) -> Option<Span> {
    let origin = out.origins.get(id)?;
    Some(origin.was(old.plain_name()))
}

fn primary_keys(out: &Lowering, f: &mut Findings) {
    let mut first: HashMap<&Id, Id> = HashMap::new();
    let keys = out.catalog.of::<PrimaryKey>().map(|one| (&one.key, true)).chain(out.catalog.of::<Unique>().map(|one| (&one.key, false)));
    for (key, primary) in keys {
        let id = key.table.child(if primary { "primary-key" } else { "unique" }, &key.name);
        let Some(at) = origin(out, &id) else { continue };
        if let Some(twice) = repeated(&key.columns) {
            f.push(Finding::at(at, format!("{} names column `{twice}` twice", subject(&id, &out.hints))).help("name it once"));
        }
        if !primary {
            continue;
        }
        if let Some(earlier) = first.insert(&key.table, id.clone()).and_then(|earlier| origin(out, &earlier)) {
            f.push(
                Finding::at(at, format!("{} has two primary keys", key.table))
                    .label("a second one")
                    .other(earlier, "the first one")
                    .help("keep one of them and make the other one `unique`; a key of several columns is written `primary-key a b`"),
            );
        }
    }
}

fn repeated(names: &[Ident]) -> Option<&Ident> {
    names.iter().enumerate().find(|(index, name)| names[..*index].contains(name)).map(|(_, name)| name)
}

fn foreign_keys(out: &Lowering, f: &mut Findings) {
    let keys_by_table = keys_by_table(&out.catalog);
    for foreign in out.catalog.of::<ForeignKey>() {
        let id = foreign.table.child("foreign-key", &foreign.name);
        let (Some(origin), Some(_)) = (out.origins.get(&id), out.catalog.get_as::<Table>(&foreign.references)) else { continue };
        let target = crate::catalog::id::dotted(&foreign.references.path);
        let keys = keys_by_table.get(&foreign.references).map(Vec::as_slice).unwrap_or_default();
        let columns = if foreign.referenced_columns.is_empty() {
            let Some((columns, _)) = keys.iter().find(|(_, primary)| *primary) else {
                let message = format!("{} references {target}, which has no primary key", subject(&id, &out.hints));
                f.push(Finding::at(origin.name, message).help(format!("name the columns: `references {target} …`")));
                continue;
            };
            columns.clone()
        } else {
            foreign.referenced_columns.clone()
        };
        if columns.len() != foreign.columns.len() {
            let (own, theirs) = (foreign.columns.len(), columns.len());
            f.push(
                Finding::at(
                    origin.name,
                    format!(
                        "{} has {own} column{}, but references {theirs} of {target}",
                        subject(&id, &out.hints),
                        if own == 1 { "" } else { "s" }
                    ),
                )
                .help(format!("each column needs its counterpart: {} -> {}", foreign.columns.join(" "), columns.join(" "))),
            );
            continue;
        }
        let exists = columns.iter().all(|column| out.catalog.contains(&foreign.references.child("column", column)));
        let same = |key: &Vec<Ident>| key.len() == columns.len() && columns.iter().all(|column| key.contains(column));
        if exists && !keys.iter().any(|(key, _)| same(key)) {
            let span = columns
                .first()
                .and_then(|column| origin.texts.iter().rfind(|text| text.value == *column))
                .map_or(origin.name, |text| text.span);
            let names = columns.join(" ");
            f.push(
                Finding::at(
                    span,
                    format!("{} references {target} ({}), which is not unique there", subject(&id, &out.hints), columns.join(", ")),
                )
                .label("no key on this")
                .help(format!("add `unique {names}` to {target}, or reference its primary key")),
            );
        }
    }
}

/// The sets of columns that are unique in each table, and which of them is its primary key.
fn keys_by_table(catalog: &Catalog) -> HashMap<&Id, Vec<(Vec<Ident>, bool)>> {
    let mut keys: HashMap<&Id, Vec<(Vec<Ident>, bool)>> = HashMap::new();
    for one in catalog.of::<PrimaryKey>() {
        keys.entry(&one.key.table).or_default().push((one.key.columns.clone(), true));
    }
    for one in catalog.of::<Unique>() {
        keys.entry(&one.key.table).or_default().push((one.key.columns.clone(), false));
    }
    let plain = |index: &Index| {
        index.elements.iter().map(|element| Ident::new(element.split(' ').next().unwrap_or_default().trim_matches('"'))).collect()
    };
    for index in catalog.of::<Index>().filter(|index| index.unique && index.filter.is_none()) {
        keys.entry(&index.on).or_default().push((plain(index), false));
    }
    keys
}

fn partitions(out: &Lowering, f: &mut Findings) {
    let mut bounds: HashMap<(&Id, &str), Span> = HashMap::new();
    for place in out.catalog.of::<Partition>() {
        let Some(at) = origin(out, &Partition::id_of(&place.table)) else { continue };
        if let Some(first) = bounds.insert((&place.parent, &place.bound), at) {
            let message = if place.bound == "DEFAULT" {
                format!("{} has two default partitions", place.parent)
            } else {
                format!("two partitions of {} have the same bound", place.parent)
            };
            f.push(
                Finding::at(at.max(first), message)
                    .label("the second one")
                    .other(at.min(first), "the first one")
                    .help("no value can belong to both: change one of the bounds"),
            );
        }
        if above(&out.catalog, place) {
            f.push(Finding::at(at, format!("{} is a partition of itself", place.table)).help("`partition-of` names the table above"));
            continue;
        }
        let Some(parent) = out.catalog.get_as::<Table>(&place.parent) else { continue };
        let wanted = match parent.partition_by.as_ref().map(|by| by.strategy.as_str()) {
            None if out.unread.contains(parent.name.as_str()) => continue,
            None => {
                f.push(
                    Finding::at(at, format!("{} is not partitioned", place.parent))
                        .help("add to it, for example: `partition-by range created_at`"),
                );
                continue;
            }
            Some("range") => ("FOR VALUES FROM", "`from=… to=…`"),
            Some("list") => ("FOR VALUES IN", "`in=…`"),
            Some(_) => ("FOR VALUES WITH", "`modulus=… remainder=…`"),
        };
        let default = place.bound == "DEFAULT" && wanted.0 != "FOR VALUES WITH";
        if !default && !place.bound.starts_with(wanted.0) {
            let strategy = parent.partition_by.as_ref().map_or("", |by| by.strategy.as_str());
            f.push(
                Finding::at(at, format!("{} is partitioned by {strategy}; this bound does not fit", place.parent))
                    .help(format!("write {}", wanted.1)),
            );
        }
    }
}

/// Whether a partition stands above itself.
fn above(catalog: &Catalog, place: &Partition) -> bool {
    let mut at = place.parent.clone();
    for _ in 0..64 {
        if at == place.table {
            return true;
        }
        match catalog.get_as::<Partition>(&Partition::id_of(&at)) {
            Some(next) => at = next.parent.clone(),
            None => return false,
        }
    }
    false
}
