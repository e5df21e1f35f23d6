//! A state in which something has another name: what PostgreSQL would show after the rename.
//!
//! Ids are followed exactly; inside SQL texts the name is replaced word by word, which is a guess. Where
//! the guess is wrong the text differs from the desired one, and the object is put in its desired
//! form once more than needed.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde_json::Value;

use crate::catalog::closure::substitute_name;
use crate::catalog::ranges::in_ranges;
use crate::catalog::{Catalog, Id, Ident};
use crate::kind::Object;
use crate::kind::cluster_on::index_ids;
use crate::kind::replica_identity::{IdentityMode, ReplicaIdentity};

/// A state in which things are renamed one after the other. Objects keep their places.
#[derive(Debug)]
pub struct Renaming {
    state: Catalog,
    /// For a name, the places of the objects that may say it.
    saying: HashMap<Ident, BTreeSet<usize>>,
    /// Those of the names that are not one word.
    several: Vec<Ident>,
}

impl Renaming {
    /// A state in which things with these names are going to be renamed: it is looked through once for all of them.
    #[must_use]
    pub fn new(state: Catalog, names: impl IntoIterator<Item = Ident>) -> Self {
        let saying: HashMap<Ident, BTreeSet<usize>> =
            names.into_iter().filter(|name| !is_escaped(name)).map(|name| (name, BTreeSet::new())).collect();
        let several = saying.keys().filter(|name| !name.chars().all(is_word)).cloned().collect();
        let mut renaming = Self { state, saying, several };
        let found = in_ranges(renaming.state.objects.len(), |places| {
            let in_place = |place: usize| renaming.said(&renaming.state.objects[place]).into_iter().map(move |name| (name, place));
            places.flat_map(in_place).collect::<Vec<_>>()
        });
        for (name, place) in found.into_iter().flatten() {
            renaming.saying.entry(name).or_default().insert(place);
        }
        renaming
    }

    /// The state as it is now.
    #[must_use]
    pub const fn state(&self) -> &Catalog {
        &self.state
    }

    /// The state as it is now, to be changed otherwise: an object keeps its id and its place.
    pub const fn state_mut(&mut self) -> &mut Catalog {
        &mut self.state
    }

    /// The state as it is at the end.
    #[must_use]
    pub fn into_state(self) -> Catalog {
        self.state
    }

    /// Renames `old` to `new` (another name, or another schema).
    pub fn rename(&mut self, old: &Id, new: &Id) {
        let places: Vec<usize> = match self.saying.get(old.plain_name()) {
            Some(places) => places.iter().copied().collect(),
            None => (0..self.state.objects.len()).collect(),
        };
        let objects = &self.state.objects;
        let changed = in_ranges(places.len(), |range| {
            let after = |place: &usize| {
                let (id, object) = objects.get_index(*place)?;
                says(object, old).then(|| (*place, renamed_object(object, id, old, new)))
            };
            places[range].iter().filter_map(after).collect::<Vec<_>>()
        });
        let mut routines = Vec::new();
        for (place, object) in changed.into_iter().flatten() {
            let was = &self.state.objects.get_index(place).expect("objects keep their places").0;
            let (was, now) = (moved(was, old, new), object.id());
            self.put(place, object);
            // A routine is told by the types of its arguments: what hangs on it, and who needs it, follows a renamed one.
            if now.is_routine() && was != now {
                routines.push((was, now));
            }
        }
        self.needs_follow(old, new);
        for (was, now) in routines {
            self.rename(&was, &now);
        }
    }

    fn put(&mut self, place: usize, object: Object) {
        for name in self.said(&object) {
            self.saying.entry(name).or_default().insert(place);
        }
        let id = object.id();
        self.state.objects[place] = object;
        let taken = self.state.objects.replace_index(place, id).is_err();
        debug_assert!(!taken, "no two objects are called the same");
    }

    /// Which of the names may stand in an object.
    fn said(&self, object: &Object) -> HashSet<Ident> {
        let text = json(object);
        let mut names: HashSet<Ident> = HashSet::new();
        for word in text.split(|letter| !is_word(letter)) {
            // What stands behind a line break has the letter of that before it.
            let behind = word.char_indices().nth(1).map_or("", |(at, _)| &word[at..]);
            names.extend([word, behind].into_iter().filter_map(|word| self.saying.get_key_value(word)).map(|(name, _)| name.clone()));
        }
        names.extend(self.several.iter().filter(|name| text.contains(name.as_str())).cloned());
        names
    }

    fn needs_follow(&mut self, old: &Id, new: &Id) {
        let follows = |id: &Id| moved(id, old, new) != *id;
        let touched: Vec<usize> = in_ranges(self.state.needs.len(), |places| {
            let touches = |place: &usize| {
                let entry = self.state.needs.get_index(*place);
                entry.is_some_and(|(id, needs)| follows(id) || needs.iter().any(follows))
            };
            places.filter(touches).collect::<Vec<_>>()
        })
        .concat();
        for place in touched {
            let Some((id, needs)) = self.state.needs.get_index_mut(place) else { continue };
            let id = moved(id, old, new);
            *needs = needs.iter().map(|need| moved(need, old, new)).collect();
            let _ = self.state.needs.replace_index(place, id);
        }
    }
}

/// `catalog` after `old` was renamed to `new` (another name, or another schema).
#[must_use]
pub fn renamed(catalog: &Catalog, old: &Id, new: &Id) -> Catalog {
    let mut renaming = Renaming::new(catalog.clone(), [Ident::new(old.plain_name())]);
    renaming.rename(old, new);
    renaming.into_state()
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
    let mut object = serde_json::from_value(value).expect("a renamed object has the shape that it had");
    mark_follows(&mut object, old, new);
    object
}

/// What a table is clustered on, and its replica identity, follow the index, however that comes to its name.
fn mark_follows(object: &mut Object, old: &Id, new: &Id) {
    let (relation, index) = match object {
        Object::ClusterOn(mark) => (&mark.on, &mut mark.index),
        Object::ReplicaIdentity(ReplicaIdentity { table, mode: IdentityMode::Index(index) }) => (&*table, index),
        _ => return,
    };
    if index_ids(relation, index).contains(old) {
        *index = Ident::new(new.name());
    }
}

/// Whether the name stands anywhere in an object, as a word: with ten thousand tables, in few of them.
fn says(object: &Object, old: &Id) -> bool {
    let name = old.plain_name();
    is_escaped(name) || stands_in(&json(object), name)
}

fn json(object: &Object) -> String {
    serde_json::to_string(object).expect("objects are plain data")
}

/// Whether JSON would write a name otherwise, so that it is found in no text.
fn is_escaped(name: &str) -> bool {
    name.chars().any(|letter| letter.is_control() || matches!(letter, '"' | '\\'))
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// Whether a name stands in the JSON of an object, as a word.
fn stands_in(text: &str, name: &str) -> bool {
    let in_word = |letter: Option<char>| letter.is_some_and(is_word);
    text.match_indices(name).any(|(at, _)| {
        let (before, behind) = (&text[..at], &text[at + name.len()..]);
        // A line break is a letter behind a backslash here.
        let is_escape = before.bytes().rev().take(6).any(|byte| byte == b'\\');
        (is_escape || !in_word(before.chars().next_back())) && !in_word(behind.chars().next())
    })
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
