//! What of the two states counts: ignore rules, what is managed, what nobody declared.

use std::collections::BTreeSet;

use super::EngineError;
use crate::catalog::{Catalog, Fingerprint, Id};
use crate::config::Ignore;
use crate::kind::Object;
use crate::kind::lowering::Hints;
use crate::pg::introspect::Managed;

/// What counts.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Owners, grants.
    pub managed: Managed,
    /// What is left alone.
    pub ignore: Vec<Ignore>,
}

impl Scope {
    fn ignores(&self, id: &Id) -> bool {
        self.ignore.iter().any(|rule| rule.matches(id))
    }

    /// Whether an object is left alone: itself, or what it hangs on.
    fn leaves_alone(&self, catalog: &Catalog, object: &Object) -> bool {
        let mut at = Some(object.clone());
        while let Some(object) = at {
            if self.ignores(&object.id()) {
                return true;
            }
            let parent = object.parent();
            if parent.as_ref().is_some_and(|parent| self.ignores(parent)) {
                return true;
            }
            at = parent.and_then(|parent| catalog.get(&parent).cloned());
        }
        false
    }

    fn counts(&self, catalog: &Catalog, object: &Object) -> bool {
        match object {
            Object::Owner(_) if !self.managed.owners => false,
            Object::Grant(_) | Object::DefaultPrivileges(_) if !self.managed.grants => false,
            Object::ViewColumn(column) if !self.managed.grants => {
                catalog.contains(&kind_id(column).satellite("comment", None))
                    && (self.ignore.is_empty() || !self.leaves_alone(catalog, object))
            }
            _ => self.ignore.is_empty() || !self.leaves_alone(catalog, object),
        }
    }

    /// The live state without what does not count. What is not modelled and not ignored is an error
    /// that names it.
    pub fn live(&self, mut live: Catalog, raw: &Catalog) -> Result<Catalog, EngineError> {
        let unmodelled: Vec<String> = std::mem::take(&mut live.unmodelled)
            .into_iter()
            .filter(|name| !self.ignore.iter().any(|rule| rule.matches_name(name)))
            .collect();
        if !unmodelled.is_empty() {
            return Err(EngineError::Unmodelled(unmodelled));
        }
        let mut counts = live.objects.values().map(|object| self.counts(&live, object)).collect::<Vec<_>>().into_iter();
        live.objects.retain(|id, object| {
            counts.next() == Some(true)
                // CREATE EXTENSION writes its own comment, and everything has an owner: undeclared
                // ones are left as they are.
                && !matches!(object, Object::Comment(comment) if comment.on.kind == "extension" && !raw.contains(id))
                && !matches!(object, Object::Owner(owner) if !raw.contains(id) && raw.contains(&owner.on))
        });
        Ok(live)
    }

    /// The desired state without what does not count.
    #[must_use]
    pub fn desired(&self, mut raw: Catalog, live: &Catalog) -> Catalog {
        let mut counts = raw.objects.values().map(|object| self.counts(&raw, object)).collect::<Vec<_>>().into_iter();
        raw.objects.retain(|_, _| counts.next() == Some(true));
        // Nobody drops `public` by not mentioning it.
        let public = crate::kind::schema::Schema::id_of("public");
        if !raw.contains(&public) {
            for object in live.objects.values().filter(|object| {
                object.id() == public
                    || object.parent().as_ref() == Some(&public)
                        && matches!(object, Object::Comment(_) | Object::Grant(_) | Object::Owner(_))
            }) {
                raw.put(object.clone());
            }
        }
        raw
    }
}

fn kind_id(column: &crate::kind::view_column::ViewColumn) -> Id {
    crate::kind::Kind::id(column)
}

/// Constraints and indexes that nobody named are those of the same content, whatever they are called:
/// default names stay behind after renames (schema-language.md, rule 1). `server` is the version that they stand on.
pub fn match_unnamed(live: &Catalog, raw: &mut Catalog, hints: &Hints, server: u32) {
    crate::kind::not_null::settle(live, raw, hints, server);
    let mut taken: BTreeSet<Id> = BTreeSet::new();
    for id in &hints.unnamed {
        if raw.get(id) == live.get(id) {
            continue;
        }
        let Some(object) = raw.get(id).cloned() else { continue };
        let content = |object: &Object, id: &Id| Fingerprint::of(&crate::plan::rename::renamed_object(object, id, id, &id.renamed("")));
        let wanted = content(&object, id);
        let candidates = live.objects.iter().filter(|(other, _)| {
            other.kind == id.kind && other.path[..2] == id.path[..2] && !raw.contains(other) && !taken.contains(*other)
        });
        let found = candidates
            .into_iter()
            .find(|(other, candidate)| content(candidate, other) == wanted)
            .map(|(other, candidate)| (other.clone(), candidate.clone()));
        if let Some((other, candidate)) = found {
            taken.insert(other.clone());
            raw.remove(id);
            raw.objects.insert(other, candidate);
        }
    }
}
