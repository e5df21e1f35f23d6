//! Whether what the objects name is there: with the nearest name where it is not.

use crate::catalog::id::{dotted, quote};
use crate::catalog::{Catalog, Id, Ident};
use crate::kdl::{Finding, Findings, Span, suggest};
use crate::kind::lowering::{Hints, Origin};
use crate::kind::{Lowering, Object, extension::Extension};

/// The kinds whose columns others may name.
const RELATIONS: &[&str] = &["table", "view", "materialized-view"];

/// Reports every name that an object's own fields hold and that nothing in the state has.
pub(super) fn check(out: &mut Lowering) {
    let mut findings = Findings::new();
    for (id, object) in &out.catalog.objects {
        let Some(origin) = out.origins.get(id) else { continue };
        let mut needs = object.needs();
        // A cluster mark and a replica identity name an index, which a constraint may have made.
        if matches!(id.kind.as_str(), "cluster-on" | "replica-identity") {
            if needs.iter().any(|need| out.catalog.contains(need)) {
                continue;
            }
            needs.truncate(1);
        }
        needs.extend(columns(object));
        let missing: Vec<&Id> = needs.iter().filter(|need| !out.catalog.contains(need)).collect();
        for need in &missing {
            // The missing parent of a missing column is reported once, as itself; what could not be
            // read has a finding already.
            let known = need.path.iter().any(|name| out.unread.contains(name.as_str()))
                || need.schema().starts_with("pg_")
                || need.schema() == "information_schema"
                || need.kind == "schema" && need.name() == "public";
            if known || need.kind == "column" && missing.contains(&&need.up("table")) {
                continue;
            }
            findings.0.extend(missing_name(&out.catalog, &out.hints, id, need, origin));
        }
    }
    out.findings.append(findings);
}

/// Columns that stand as bare words where SQL would do as well: what is one name can be nothing else.
fn columns(object: &Object) -> Vec<Id> {
    let (on, elements): (Id, Vec<&String>) = match object {
        Object::Index(index) if index.on.kind == "table" => (index.on.clone(), index.elements.iter().collect()),
        Object::Exclusion(exclusion) => (exclusion.table.clone(), exclusion.elements.iter().map(|(element, _)| element).collect()),
        Object::Table(table) => (object.id(), table.partition_by.iter().flat_map(|by| &by.elements).collect()),
        _ => return Vec::new(),
    };
    elements.into_iter().filter_map(|element| bare(element)).map(|name| on.child("column", &name)).collect()
}

/// The column that an element is, with or without a direction behind it.
fn bare(element: &str) -> Option<Ident> {
    let name = ["ASC", "DESC"].iter().find_map(|word| element.strip_suffix(word)).unwrap_or(element).trim_end();
    let plain = name.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(name);
    let is_name = plain.chars().all(|c| c.is_alphanumeric() || c == '_') && plain.starts_with(|c: char| c.is_alphabetic() || c == '_');
    (is_name && (name == plain && name.to_lowercase() == name || quote(plain) == name)).then(|| Ident::new(plain))
}

fn missing_name(catalog: &Catalog, hints: &Hints, id: &Id, need: &Id, origin: &Origin) -> Option<Finding> {
    let (name, span) = (spoken(need), place(need, origin));
    let subject = subject(id, hints);
    if need.kind == "function" {
        return missing_function(catalog, &subject, need, span);
    }
    if let Some(other) = RELATIONS.iter().map(|kind| need.as_kind(kind)).find(|other| need.kind == "table" && catalog.contains(other)) {
        return Some(
            Finding::at(span, format!("{subject} needs a table, but {} is a {}", dotted(&need.path), other.kind))
                .label("not a table")
                .help("name a table"),
        );
    }
    let siblings: Vec<&Id> =
        catalog.objects.keys().filter(|other| other.kind == need.kind && other.path.len() == need.path.len()).collect();
    let near: Vec<&Id> =
        siblings.iter().copied().filter(|other| other.path[..other.path.len() - 1] == need.path[..need.path.len() - 1]).collect();
    let (what, home) = match need.path.len() {
        0..=2 => (format!("{} {}", need.kind, dotted(&need.path)), None),
        _ => (format!("{} `{}`", need.kind, need.name()), Some(dotted(&need.path[..2]))),
    };
    let message = match &home {
        Some(home) => format!("{subject} needs {what}, which {home} does not have"),
        None => format!("{subject} needs {what}, which is not defined"),
    };
    let help = if id.kind == "index" && name == "unique" {
        "write `unique=#true`: the arguments of an index are what it orders by".to_owned()
    } else if let Some(plain) = name.strip_suffix(',') {
        format!("values are separated by spaces alone: write `{plain}` without the comma")
    } else if let Some(one) = suggest(name, &near.iter().map(|other| other.name()).collect::<Vec<_>>()) {
        format!("did you mean `{one}`?")
    } else if let Some(one) = siblings.iter().find(|other| other.path.len() == 2 && other.name() == name) {
        format!("did you mean `{}`?", dotted(&one.path))
    } else if home.is_some() && !near.is_empty() {
        let list: Vec<String> = near.iter().take(8).map(|other| format!("`{}`", other.name())).collect();
        format!("it has {}{}", list.join(", "), if near.len() > list.len() { ", …" } else { "" })
    } else {
        format!("define {what}, or take the reference out")
    };
    Some(Finding::at(span, message).label("not defined").help(help))
}

/// A trigger's function: it may belong to an extension, whose members no source shows.
fn missing_function(catalog: &Catalog, subject: &str, need: &Id, span: Span) -> Option<Finding> {
    let routines: Vec<&Id> = catalog.objects.keys().filter(|other| other.kind == "function" && other.path[0] == need.path[0]).collect();
    let name = spoken(need);
    let called = dotted(&need.path[..2]);
    if let Some(other) = routines.iter().find(|other| other.path[1] == need.path[1]) {
        let finding = Finding::at(span, format!("{subject} calls {called}, which takes arguments ({})", other.name()));
        return Some(
            finding
                .label("no trigger function")
                .help("a trigger function declares no arguments and returns trigger; it finds what the call gives it in TG_ARGV"),
        );
    }
    let names: Vec<&str> = routines.iter().map(|other| other.path[1].as_str()).collect();
    let near = suggest(name, &names);
    if near.is_none() && catalog.of::<Extension>().any(|extension| extension.schema == need.path[0]) {
        return None;
    }
    let help = near.map_or_else(
        || format!("define it: `function {name} returns=trigger language=plpgsql {{ body \"…\"; }}`"),
        |near| format!("did you mean `{near}`?"),
    );
    Some(Finding::at(span, format!("{subject} calls {called}(), which is not defined")).label("not defined").help(help))
}

/// How a sentence calls an object: constraints and indexes whose name nobody wrote by their table.
pub(super) fn subject(id: &Id, hints: &Hints) -> String {
    match id.path.len() {
        // What hangs on another object: its path starts with that one's kind.
        _ if matches!(id.kind.as_str(), "cluster-on" | "replica-identity" | "owned-by") => {
            format!("`{}` of {}", id.kind, dotted(&id.path[1..]))
        }
        3.. if hints.unnamed.contains(id) => format!("the {} of {}", id.kind, dotted(&id.path[..2])),
        0..=2 => id.to_string(),
        _ => format!("{} `{}` of {}", id.kind, id.name(), dotted(&id.path[..2])),
    }
}

/// The name that people write for `need`.
fn spoken(need: &Id) -> &str {
    if need.kind == "function" { &need.path[1] } else { need.name() }
}

/// Where the name stands in the node.
fn place(need: &Id, origin: &Origin) -> Span {
    let name = spoken(need);
    let exact = origin.texts.iter().find(|text| text.value == name);
    let ending = || origin.texts.iter().find(|text| text.value.ends_with(&format!(".{name}")));
    let within = || {
        let word = |c: char| !(c.is_alphanumeric() || c == '_');
        origin.texts.iter().find(|text| text.value.split(word).any(|one| one == name))
    };
    exact.or_else(ending).or_else(within).map_or(origin.name, |text| text.span)
}
