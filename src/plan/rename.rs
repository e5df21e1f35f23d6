//! A state in which something has another name: what PostgreSQL would show after the rename.
//!
//! Ids are followed exactly; inside SQL texts the name is replaced word by word, which is a guess. Where
//! the guess is wrong the text differs from the desired one, and the object is put in its desired
//! form once more than needed.

use std::collections::HashSet;

use serde_json::Value;

use crate::catalog::closure::substitute_name;
use crate::catalog::id::default_name;
use crate::catalog::ranges::in_ranges;
use crate::catalog::{Catalog, Id, Ident};
use crate::kind::column::Column;
use crate::kind::lowering::Hints;
use crate::kind::owned_by::OwnedBy;
use crate::kind::partition::{Partition, beneath};
use crate::kind::table::Table;
use crate::kind::{Kind as _, Object, not_null};

/// `catalog` after `old` was renamed to `new` (another name, or another schema).
#[must_use]
pub fn renamed(catalog: &Catalog, old: &Id, new: &Id) -> Catalog {
    let after = in_ranges(catalog.objects.len(), |places| {
        let objects = places.filter_map(|place| catalog.objects.get_index(place));
        objects.map(|(id, object)| renamed_object(object, id, old, new)).map(|object| (object.id(), object)).collect::<Vec<_>>()
    });
    let needs = catalog.needs.iter();
    let mut out = Catalog {
        objects: after.into_iter().flatten().collect(),
        needs: needs.map(|(id, needs)| (moved(id, old, new), needs.iter().map(|need| moved(need, old, new)).collect())).collect(),
        unmodelled: catalog.unmodelled.clone(),
    };
    // A routine is told by the types of its arguments: what hangs on it, and who needs it, follows a renamed one.
    let ids = catalog.objects.keys().zip(out.objects.keys());
    let routines: Vec<(Id, Id)> = ids
        .filter(|(_, now)| now.is_routine())
        .map(|(was, now)| (moved(was, old, new), now.clone()))
        .filter(|(was, now)| was != now)
        .collect();
    for (was, now) in routines {
        out = renamed(&out, &was, &now);
    }
    out
}

/// What a type's name says: itself, the rows of a relation, the schema before it.
const TYPES: [&str; 8] = ["schema", "table", "view", "materialized-view", "domain", "enum", "type", "range-type"];

/// One object as it is after the rename.
#[must_use]
pub fn renamed_object(object: &Object, id: &Id, old: &Id, new: &Id) -> Object {
    if !says(object, old) {
        return object.clone();
    }
    let mut texts: Vec<String> = object.texts().into_iter().map(str::to_owned).collect();
    let types: Vec<String> = object.clone().type_names().into_iter().map(|name| name.clone()).collect();
    if TYPES.contains(&old.kind.as_str()) {
        texts.extend(types);
    } else {
        // A type may be called as a column, or an index, is.
        texts.retain(|text| !types.contains(text));
    }
    rewritten(object, id, old, new, &texts)
}

/// The same object at another place, SQL texts left alone: what they name stays where it is.
#[must_use]
pub fn placed_object(object: &Object, id: &Id, old: &Id, new: &Id) -> Object {
    rewritten(object, id, old, new, &[])
}

fn rewritten(object: &Object, id: &Id, old: &Id, new: &Id, texts: &[String]) -> Object {
    let mut value = serde_json::to_value(object).expect("objects are plain data");
    let in_table = old.kind == "column" && id.path.len() >= 2 && id.path[..2] == old.path[..2];
    walk(&mut value, texts, in_table, old, new);
    if id == old {
        own_name(&mut value, new);
    }
    if let (true, Object::ForeignKey(key)) = (old.kind == "column", object)
        && key.references.path[..] == old.path[..2]
    {
        for fields in value.as_object_mut().into_iter().flat_map(|outer| outer.values_mut()) {
            if let Some(Value::Array(columns)) = fields.get_mut("referenced_columns") {
                replace_names(columns, old, new);
            }
        }
    }
    serde_json::from_value(value).expect("a renamed object has the shape that it had")
}

/// Whether the name stands anywhere in an object, as a word: with ten thousand tables, in few of them. What JSON would
/// escape may stand there in another form.
fn says(object: &Object, old: &Id) -> bool {
    let name = old.plain_name();
    if name.chars().any(|letter| letter.is_control() || matches!(letter, '"' | '\\')) {
        return true;
    }
    let text = serde_json::to_string(object).expect("objects are plain data");
    let in_word = |letter: Option<char>| letter.is_some_and(|letter| letter.is_alphanumeric() || letter == '_');
    text.match_indices(name).any(|(at, _)| {
        let (before, behind) = (&text[..at], &text[at + name.len()..]);
        // A line break is a letter behind a backslash here.
        let is_escape = before.bytes().rev().take(6).any(|byte| byte == b'\\');
        (is_escape || !in_word(before.chars().next_back())) && !in_word(behind.chars().next())
    })
}

/// In a state that is as `before` but for `old`, which is called `new` now: NOT NULL of its partitions follow what
/// [`not_null::rename`] did, and one that is stuck has its name still.
pub fn not_null_follows(before: &Catalog, catalog: &mut Catalog, old: &Id, new: &Id) {
    if !matches!(old.kind.as_str(), "table" | "column") {
        return;
    }
    let mut stuck = Vec::new();
    for column in before.of::<Column>().filter(|column| column.has_not_null() && column.constraint.name.is_none()) {
        let id = moved(&column.id(), old, new);
        if id != column.id()
            && not_null::is_stuck(before, column)
            && let Some(Object::Column(after)) = catalog.objects.get_mut(&id)
        {
            after.name_not_null(column.not_null_name(), false);
            stuck.push(after.name.clone());
        }
    }
    let table = Id::new("table", new.path[..2].to_vec());
    let parts: HashSet<Id> = beneath(catalog.of::<Partition>(), &table).into_iter().cloned().collect();
    if parts.is_empty() {
        return;
    }
    for object in catalog.objects.values_mut() {
        let Object::Column(column) = object else { continue };
        if !parts.contains(&column.table) || stuck.contains(&column.name) {
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
#[must_use]
pub fn sequences_follow(catalog: Catalog, old: &Id, new: &Id) -> Catalog {
    if old.kind != Table::KEYWORD || old.schema() == new.schema() {
        return catalog;
    }
    let owned = catalog.of::<OwnedBy>().filter(|owned| owned.column.up("table") == *new && owned.sequence.schema() != new.schema());
    let moves: Vec<(Id, Id)> =
        owned.map(|owned| (owned.sequence.clone(), Id::new(&owned.sequence.kind, [new.schema(), owned.sequence.name()]))).collect();
    moves.iter().fold(catalog, |catalog, (was, is)| renamed(&catalog, was, is))
}

/// The sequences of serial columns that have another name, or whose table has: nobody wrote their names, and they count on
/// under the new ones.
#[must_use]
pub fn serial_sequences(hints: &Hints, live: &Catalog, desired: &Catalog) -> Vec<(Id, Id)> {
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

/// Where an id is after the rename: itself, what it names, and what lies beneath it.
#[must_use]
pub fn moved(id: &Id, old: &Id, new: &Id) -> Id {
    if id == old {
        return new.clone();
    }
    // Satellites carry their parent's keyword before the path.
    let satellite = id.path.len() > old.path.len() && id.path[0] == old.kind && id.path[1..=old.path.len()] == old.path[..];
    if satellite {
        let path = [id.path[0].clone()].into_iter().chain(new.path.iter().cloned()).chain(id.path[old.path.len() + 1..].iter().cloned());
        return Id::new(&id.kind, path.collect::<Vec<_>>());
    }
    // Only what holds others has a path that others go on from.
    let holds = matches!(old.kind.as_str(), "schema" | "table" | "view" | "materialized-view" | "domain" | "column");
    let same_path_kind = id.path.len() == old.path.len()
        && matches!(id.kind.as_str(), "partition" | "replica-identity" | "row-security" | "default")
        && id.path == old.path;
    let inside = id.path.len() > old.path.len() && id.path[..old.path.len()] == old.path[..];
    if holds && (inside || same_path_kind) {
        let path = new.path.iter().cloned().chain(id.path[old.path.len()..].iter().cloned());
        return Id::new(&id.kind, path.collect::<Vec<_>>());
    }
    id.clone()
}

fn walk(value: &mut Value, texts: &[String], in_table: bool, old: &Id, new: &Id) {
    match value {
        Value::Object(fields) => {
            if let (2, Some(Value::String(kind)), Some(Value::Array(path))) = (fields.len(), fields.get("kind"), fields.get("path")) {
                let id = Id::new(kind, path.iter().filter_map(Value::as_str).map(Ident::new).collect::<Vec<_>>());
                let id = moved(&id, old, new);
                *value = serde_json::to_value(&id).expect("ids are plain data");
                return;
            }
            for (name, field) in fields.iter_mut() {
                match field {
                    Value::Array(names) if in_table && (name == "columns" || name == "include") => replace_names(names, old, new),
                    // What stands in a schema holds its name in a field.
                    Value::String(schema) if old.kind == "schema" && name == "schema" && *schema == old.name() => {
                        new.name().clone_into(schema);
                    }
                    field => walk(field, texts, in_table, old, new),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| walk(item, texts, in_table, old, new)),
        Value::String(text) if texts.contains(text) => {
            *text = substitute_name(text, old.name(), new.name());
            if old.schema() != new.schema() {
                let (from, to) = (format!("{}.{}", crate::catalog::id::quote(old.schema()), new.name_sql()), new.in_schema());
                *text = text.replace(&from, &to);
            }
        }
        _ => {}
    }
}

fn replace_names(names: &mut [Value], old: &Id, new: &Id) {
    for name in names {
        if name.as_str() == Some(old.name()) {
            *name = Value::String(new.name().to_owned());
        }
    }
}

/// Sets the object's own name (and schema, where it holds one) beneath the enum's tag.
fn own_name(value: &mut Value, new: &Id) {
    let Some(object) = value.as_object_mut().and_then(|outer| outer.values_mut().next()).and_then(Value::as_object_mut) else { return };
    // Keys and routines hold their name one level down.
    let inner = ["key", "routine"].into_iter().find(|field| !object.contains_key("name") && object.contains_key(*field));
    let fields = match inner {
        Some(field) => object.get_mut(field).and_then(Value::as_object_mut).expect("keys and routines are objects"),
        None => object,
    };
    fields.insert("name".to_owned(), Value::String(new.plain_name().to_owned()));
    if fields.contains_key("schema") {
        fields.insert("schema".to_owned(), Value::String(new.schema().to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::view::View;
    use crate::source::read_text;

    #[test]
    fn a_name_is_found_wherever_it_stands_as_a_word() {
        let text = "schema public { table orders { column id int; }; \
                    view v { sql \"SELECT o.id\\nFROM\\torders o\"; }; view w { sql \"SELECT 1 AS reorders\"; }; }";
        let state = read_text("x.kdl", text).unwrap_or_else(|error| panic!("{}", crate::cli::out::plain(&error))).catalog;
        let [old, new] = ["orders", "purchases"].map(|name| Id::new("table", ["public", name]));
        let says: Vec<&str> = state.objects.iter().filter(|(_, object)| says(object, &old)).map(|(id, _)| id.name()).collect();
        assert_eq!(says, ["orders", "id", "v"]);
        let after = renamed(&state, &old, &new);
        assert!(after.contains(&new.child("column", "id")) && !after.contains(&old));
        let texts: Vec<&str> = after.of::<View>().map(|view| view.sql.as_str()).collect();
        assert_eq!(texts, ["SELECT o.id\nFROM\tpurchases o", "SELECT 1 AS reorders"]);
    }
}
