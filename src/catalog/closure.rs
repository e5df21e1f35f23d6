//! Who needs whom, where no server has said: guessed from the names in SQL texts.
//!
//! A guess decides the order in which a scratch server is filled, and the order of steps in the
//! simulation that runs without a database. A wrong guess costs a retry, never a wrong plan.

use std::collections::{BTreeSet, HashMap};

use super::id::Id;
use super::{Catalog, Ident};
use crate::kind::foreign_key::ForeignKey;
use crate::kind::key::Key;
use crate::kind::primary_key::PrimaryKey;
use crate::kind::unique::Unique;
use crate::kind::{Kind as _, Object};

/// The words of an SQL text that can be names: plain ones folded, quoted ones exact, contents of
/// string literals too (`nextval('app.seq'::regclass)`, bodies).
#[must_use]
pub fn words(text: &str) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '"' {
            let mut word = String::new();
            while let Some(c) = chars.next() {
                if c == '"' {
                    if chars.peek() == Some(&'"') {
                        chars.next();
                    } else {
                        break;
                    }
                }
                word.push(c);
            }
            words.insert(word);
        } else if c.is_alphabetic() || c == '_' {
            let mut word = c.to_lowercase().collect::<String>();
            while let Some(next) = chars.peek().copied().filter(|next| next.is_alphanumeric() || *next == '_' || *next == '$') {
                word.extend(next.to_lowercase());
                chars.next();
            }
            words.insert(word);
        }
    }
    words
}

/// Fills `needs` of every object that no server has looked at, from the names that its texts
/// mention. Names are matched without their schema; columns only within the own relation.
pub fn guess_needs(catalog: &mut Catalog) {
    let mut by_name: HashMap<Ident, Vec<Id>> = HashMap::new();
    for (id, object) in &catalog.objects {
        // A child is found through its parent; only what stands in a schema can be mentioned.
        let callable = object.parent().is_some_and(|parent| parent.kind == "schema");
        if callable && id.path.len() >= 2 {
            by_name.entry(id.path[1].clone()).or_default().push(id.clone());
        }
    }
    let mut needs = Vec::new();
    for (id, object) in &catalog.objects {
        let texts = object.texts();
        if texts.is_empty() || catalog.needs.contains_key(id) {
            continue;
        }
        let mut found = BTreeSet::new();
        for word in texts.iter().flat_map(|text| words(text)) {
            found.extend(by_name.get(word.as_str()).into_iter().flatten().filter(|need| *need != id && !is_inside(id, need)).cloned());
            if id.path.len() >= 3 {
                let column = Id::new("column", [id.path[0].as_str(), id.path[1].as_str(), &word]);
                if column != *id && catalog.contains(&column) {
                    found.insert(column);
                }
            }
        }
        if matches!(id.kind.as_str(), "view" | "materialized-view") {
            let tables: Vec<Id> = found.iter().filter(|need| need.kind == "table").cloned().collect();
            for word in texts.iter().flat_map(|text| words(text)) {
                found.extend(tables.iter().map(|table| table.child("column", &word)).filter(|column| catalog.contains(column)));
            }
        }
        needs.push((id.clone(), found));
    }
    needs.extend(referenced_keys(catalog));
    catalog.needs.extend(needs);
}

/// The keys that foreign keys lean on: over the same columns, in whatever order.
fn referenced_keys(catalog: &Catalog) -> Vec<(Id, BTreeSet<Id>)> {
    let mut keys: HashMap<&Id, Vec<(&Key, Id)>> = HashMap::new();
    for object in catalog.objects.values() {
        if let Object::PrimaryKey(PrimaryKey { key, .. }) | Object::Unique(Unique { key, .. }) = object {
            keys.entry(&key.table).or_default().push((key, object.id()));
        }
    }
    let leans_on = |foreign: &ForeignKey| {
        let columns = &foreign.referenced_columns;
        let same = |key: &Key| columns.len() == key.columns.len() && columns.iter().all(|name| key.columns.contains(name));
        let (_, id) = keys.get(&foreign.references)?.iter().find(|(key, id)| {
            // Without columns it is the primary key.
            if columns.is_empty() { id.kind == PrimaryKey::KEYWORD } else { same(key) }
        })?;
        Some(BTreeSet::from([id.clone()]))
    };
    let unknown = catalog.of::<ForeignKey>().filter(|foreign| !catalog.needs.contains_key(&foreign.id()));
    unknown.filter_map(|foreign| Some((foreign.id(), leans_on(foreign)?))).collect()
}

/// Whether a text of an object mentions a name.
#[must_use]
pub fn mentions_word(object: &crate::kind::Object, name: &str) -> bool {
    object.texts().iter().any(|text| words(text).contains(name))
}

/// What the texts of some objects mention by name, beyond what the server recorded.
#[must_use]
pub fn mentions(catalog: &Catalog, of: &[&Id]) -> Vec<(Id, Id)> {
    let mut by_name: HashMap<&str, Vec<&Id>> = HashMap::new();
    for (id, object) in &catalog.objects {
        if id.path.len() >= 2 && object.parent().is_some_and(|parent| parent.kind == "schema") {
            by_name.entry(&id.path[1]).or_default().push(id);
        }
    }
    let mut found = BTreeSet::new();
    for id in of {
        let Some(object) = catalog.get(id) else { continue };
        for word in object.texts().iter().flat_map(|text| words(text)) {
            found.extend(
                by_name.get(word.as_str()).into_iter().flatten().filter(|need| *need != id).map(|need| ((*id).clone(), (*need).clone())),
            );
        }
    }
    found.into_iter().collect()
}

fn is_inside(id: &Id, other: &Id) -> bool {
    id.path.len() > other.path.len() && id.path.starts_with(&other.path)
}

/// The same text where one name stands for another, word by word: what PostgreSQL would deparse
/// after a rename, as far as that can be told without it.
#[must_use]
pub fn substitute_name(text: &str, old: &str, new: &str) -> String {
    let (old_sql, new_sql) = (super::id::quote(old), super::id::quote(new));
    let inside = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$' || c == '"');
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for (at, _) in text.match_indices(&old_sql) {
        let end = at + old_sql.len();
        let whole = old_sql.starts_with('"') || !(inside(text[..at].chars().next_back()) || inside(text[end..].chars().next()));
        out.push_str(&text[done..at]);
        out.push_str(if whole { &new_sql } else { &old_sql });
        done = end;
    }
    out.push_str(&text[done..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_replaced_as_whole_words() {
        assert_eq!(
            substitute_name("(level > 0) AND level2 = t.level", "level", "Severity"),
            "(\"Severity\" > 0) AND level2 = t.\"Severity\""
        );
        assert_eq!(substitute_name("\"A b\" > 1", "A b", "c"), "c > 1");
        assert_eq!(substitute_name("levellevel level", "level", "stage"), "levellevel stage");
    }
}
