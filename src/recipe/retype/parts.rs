//! Indexes and constraints that name a column: made over the shadow column, beside the traffic.

use std::collections::BTreeSet;

use super::relabel::Relabel;
use super::{Pair, RECIPE};
use crate::catalog::id::{derived_name, quote};
use crate::catalog::{Id, Ident};
use crate::kind::index::probe_built;
use crate::kind::key::Key;
use crate::kind::{Kind as _, Object};
use crate::plan::draft::{Context, Op};
use crate::plan::op::{Action, Cost, Hazard, LockMode, Transaction};
use crate::plan::plan::StageName;
use crate::plan::rename::renamed_object;
use crate::recipe::key::strict_until;

/// An index or constraint that is wanted over columns whose type changes.
#[derive(Debug)]
pub(super) struct Part<'c> {
    pub(super) id: Id,
    pub(super) wanted: &'c Object,
    pub(super) live: Option<&'c Object>,
    /// The same over the shadow columns, under a name of its own.
    pub(super) beside: Object,
    /// That name.
    pub(super) name: Ident,
    /// Whether values compare in another order than before.
    moved: bool,
    /// Whether it names such a type and none of the columns, so that it does not go with the old ones.
    pub(super) stands_alone: bool,
}

/// The kinds that can be made beside.
pub(super) const KINDS: [&str; 5] = ["index", "primary-key", "unique", "check", "foreign-key"];

/// What is wanted over these columns, or of these types. An exclusion constraint is none: its index cannot be made beside.
pub(super) fn of<'c>(cx: &Context<'c>, pairs: &[Pair<'c>], types: &[Relabel<'c>]) -> Vec<Part<'c>> {
    let roots: Vec<Id> = pairs.iter().map(Pair::id).chain(types.iter().map(Relabel::id)).collect();
    let tables: BTreeSet<&Id> = pairs.iter().map(Pair::table).collect();
    // What it needs is asked only of what stands on these tables, where no type is named anywhere else: the others may be
    // very many.
    let names = |object: &Object| {
        on(object).into_iter().flatten().any(|table| !types.is_empty() || tables.contains(table)) && {
            let needs = cx.desired.all_needs(object);
            roots.iter().any(|root| needs.contains(root))
        }
    };
    let mut places: Vec<usize> = if types.is_empty() {
        let own = tables.iter().flat_map(|table| cx.desired.parts(table)).map(Object::id);
        let theirs = tables.iter().flat_map(|table| cx.desired.dependants(table)).cloned();
        own.chain(theirs).filter_map(|id| cx.desired.objects.get_index_of(&id)).collect()
    } else {
        (0..cx.desired.objects.len()).collect()
    };
    places.sort_unstable();
    places.dedup();
    let objects = &cx.desired.objects;
    places
        .into_iter()
        .filter_map(|place| objects.get_index(place))
        .filter(|(_, object)| names(object))
        // Of a new table nothing is made before the switch.
        .filter(|(_, object)| object.parent().is_some_and(|parent| parent.kind == "table" && cx.persists(&parent)))
        .map(|(id, wanted)| {
            let name = derived_name(id.name(), "_schema_new");
            let beside = cx.facts.beside.get(id).cloned().unwrap_or_else(|| {
                let columns = pairs.iter().map(|pair| (pair.id(), pair.shadow_id()));
                let renames = columns.chain(types.iter().map(|relabel| (relabel.id(), relabel.shadow_id().clone())));
                renames.fold(wanted.clone(), |object, (old, new)| renamed_object(&object, id, &old, &new))
            });
            let moved = types.iter().any(Relabel::moves);
            let needs = cx.live.get(id).map(|object| cx.live.all_needs(object)).unwrap_or_default();
            let stands_alone = !pairs.iter().any(|pair| needs.contains(&pair.id()));
            Part { id: id.clone(), wanted, live: cx.live.get(id), beside: named(beside, &name), name, moved, stands_alone }
        })
        .collect()
}

/// The tables that an index or constraint is about.
fn on(object: &Object) -> [Option<&Id>; 2] {
    match object {
        Object::Index(index) => [Some(&index.on), None],
        Object::PrimaryKey(key) => [Some(&key.key.table), None],
        Object::Unique(key) => [Some(&key.key.table), None],
        Object::Check(check) => [Some(&check.table), None],
        Object::ForeignKey(key) => [Some(&key.table), Some(&key.references)],
        _ => [None, None],
    }
}

/// The object under another name, to be validated or not as it is.
fn named(mut object: Object, name: &Ident) -> Object {
    match &mut object {
        Object::Index(index) => index.name = name.clone(),
        Object::Check(check) => check.name = name.clone(),
        Object::ForeignKey(key) => key.name = name.clone(),
        Object::PrimaryKey(key) => key.key.name = name.clone(),
        Object::Unique(key) => key.key.name = name.clone(),
        _ => {}
    }
    object
}

impl Part<'_> {
    /// The id that it has until the switch.
    pub(super) fn beside_id(&self) -> Id {
        if self.key().is_some() { self.id.renamed(&self.name).as_kind("index") } else { self.id.renamed(&self.name) }
    }

    /// For a primary key or a unique constraint: the key, its words, whether two NULLs collide.
    pub(super) fn key(&self) -> Option<(&Key, &'static str, bool)> {
        match &self.beside {
            Object::PrimaryKey(key) => Some((&key.key, "PRIMARY KEY", false)),
            // USING INDEX takes NULLS NOT DISTINCT from the index.
            Object::Unique(key) => Some((&key.key, "UNIQUE", key.nulls_not_distinct)),
            _ => None,
        }
    }

    /// Makes it over the shadow columns; reads and writes go on.
    pub(super) fn build(&self) -> Vec<Op> {
        let op = |action| Op::new(&self.id, action, StageName::Backfill, RECIPE);
        let id = self.beside_id();
        // An index goes with the constraint that was made of it, when the switch is undone.
        let drop_index = vec![format!("DROP INDEX CONCURRENTLY IF EXISTS {}", id.in_schema())];
        let race = |action: Action, unique: bool| {
            if !unique {
                return action;
            }
            action.hazard(
                Hazard::UpsertRace,
                format!("{}: ON CONFLICT can raise a unique violation under hot keys until the old one is gone", self.id),
            )
        };
        if let Some((key, _, nulls)) = self.key() {
            let build = Action::new(format!("Build the unique index of {} over the new column concurrently", self.id))
                .sql(key.index_sql(&self.name, nulls))
                .lock(&key.table, LockMode::ShareUpdateExclusive, Cost::Build)
                .transaction(Transaction::Outside)
                .probe(probe_built(key.table.schema(), &self.name), vec![format!("DROP INDEX CONCURRENTLY {}", id.in_schema())]);
            let mut build = race(build, true);
            build.hazards.extend(strict_until(key, &self.id));
            return vec![op(build).undo(drop_index).puts_temporary(&id)];
        }
        match &self.beside {
            Object::Index(index) => {
                let mut build = index.build_concurrently(&self.name);
                build.sql.extend(index.after_creation(&self.name));
                vec![op(race(build, index.unique)).undo(drop_index).puts_temporary(&id)]
            }
            Object::Check(check) => {
                let add = op(check.add_not_valid()).undo(check.drop().sql).puts_temporary(&id);
                if check.not_valid { vec![add] } else { vec![add, op(check.validate())] }
            }
            Object::ForeignKey(key) => {
                let add = op(key.add_not_valid()).undo(key.drop().sql).puts_temporary(&id);
                if key.not_valid { vec![add] } else { vec![add, op(key.validate())] }
            }
            _ => Vec::new(),
        }
    }

    /// The name under which the old one waits for its end, where the switch can be undone.
    pub(super) fn old_name(&self) -> Ident {
        derived_name(self.id.name(), "_schema_old")
    }

    /// Gives what is called `from` the name `to`.
    pub(super) fn rename(&self, from: &str, to: &str) -> String {
        if self.id.kind == "index" {
            format!("ALTER INDEX {} RENAME TO {}", self.id.renamed(from).in_schema(), quote(to))
        } else {
            format!("ALTER TABLE {} RENAME CONSTRAINT {} TO {}", self.id.relation(), quote(from), quote(to))
        }
    }

    /// Takes the one of this name away, at once.
    pub(super) fn drop(&self, name: &str) -> String {
        if self.id.kind == "index" {
            format!("DROP INDEX {}", self.id.renamed(name).in_schema())
        } else {
            format!("ALTER TABLE {} DROP CONSTRAINT {}", self.id.relation(), quote(name))
        }
    }

    /// Whether the old one can stay beside the new one until contract: a check that says something else might refuse
    /// what the new one lets pass.
    pub(super) fn old_can_stay(&self) -> bool {
        self.id.kind != "check" || self.live == Some(self.wanted) && !self.moved
    }
}
