//! What follows a column's number in the catalog, whatever its name: views, policies, triggers, statistics. At the
//! switch it is dropped before the two names are swapped and made again behind.

use std::collections::BTreeSet;

use super::pair::Pair;
use super::parts::{self, Part};
use super::relabel::Relabel;
use crate::catalog::closure::mentions_word;
use crate::catalog::{Catalog, Id, Indexed};
use crate::kind::column::Column;
use crate::kind::default::Default;
use crate::kind::owned_by::OwnedBy;
use crate::kind::trigger::Trigger;
use crate::kind::{Kind as _, Object, weight};
use crate::plan::change::{Change, Changes};
use crate::plan::draft::Context;

/// The kinds that can be made again in an instant.
const KINDS: [&str; 10] =
    ["view", "materialized-view", "policy", "trigger", "rule", "statistics", "function", "procedure", "aggregate", "cast"];

/// Those of them that indexes, constraints and defaults may call.
const ROUTINES: [&str; 2] = ["function", "aggregate"];

/// What hangs on others and comes with them.
const SATELLITES: [&str; 4] = ["comment", "owner", "grant", "cluster-on"];

/// What is dropped and made again at the switch, and what hangs on the columns themselves.
#[derive(Debug)]
pub(in crate::recipe) struct Followers {
    /// Made again, each with what hangs on it, in the order in which it is made: now.
    pub(super) before: Vec<Id>,
    /// The same as it is wanted.
    pub(super) after: Vec<Id>,
    /// What hangs on columns, indexes and constraints, and is put on the new ones.
    pub(super) hanging: Vec<Id>,
    /// The same, where it is there now and not wanted.
    pub(super) gone: Vec<Id>,
    /// Routines whose bodies mention a type that another one takes the place of: a session that has called one knows the
    /// old type by its number (measured: "column is of type … but expression is of type …"), until it is put once more.
    pub(super) spoken: Vec<Id>,
}

impl Followers {
    pub(super) fn of(
        cx: &Context<'_>,
        changes: &Changes,
        pairs: &[Pair<'_>],
        parts: &[Part<'_>],
        types: &[Relabel<'_>],
    ) -> Result<Self, String> {
        let again = closure(cx, changes, pairs, parts, types)?;
        let (hanging, gone) = hanging(cx, pairs, parts, types);
        let spoken = spoken(cx, &again, types);
        Ok(Self { before: ordered(cx.live, &again), after: ordered(cx.desired, &again), hanging, gone, spoken })
    }

    /// The statements that take `ids` away: the last made first, without what goes away with another one. First those that
    /// need no table: a query locks a view before the tables beneath it, so the switch does, too (the other way round it
    /// waits in a ring with every reader of the view, measured).
    pub(in crate::recipe) fn drop(catalog: &Catalog, ids: &[Id]) -> (Vec<String>, Vec<String>) {
        let taken_along = |object: &Object| object.parent().is_some_and(|parent| ids.contains(&parent));
        let mut on_tables: BTreeSet<Id> = BTreeSet::new();
        let (mut early, mut late) = (Vec::new(), Vec::new());
        for object in ids.iter().rev().filter_map(|id| catalog.get(id)).filter(|object| !taken_along(object)) {
            let id = object.id();
            let sql = object.drop().sql;
            if on_tables.contains(&id) || object.parent().is_some_and(|parent| parent.kind == "table") {
                on_tables.extend(catalog.all_needs(object));
                late.extend(sql);
            } else {
                early.extend(sql);
            }
        }
        (early, late)
    }
}

/// What has to be made again: dependants of the columns and of the keys that are dropped, to any depth, with all that
/// hangs on them; and the tables' own row triggers. (PL/pgSQL keeps plans by the trigger: with the old one an open
/// session fails with "type of parameter … does not match that when preparing the plan", measured.)
fn closure(
    cx: &Context<'_>,
    changes: &Changes,
    pairs: &[Pair<'_>],
    parts: &[Part<'_>],
    types: &[Relabel<'_>],
) -> Result<BTreeSet<Id>, String> {
    let tables: BTreeSet<&Id> = pairs.iter().map(Pair::table).collect();
    let triggers = cx.live.of::<Trigger>().filter(|trigger| trigger.for_each_row && tables.contains(&trigger.relation)).map(Trigger::id);
    let mut again: BTreeSet<Id> = triggers.filter(|id| cx.desired.contains(id)).collect();
    let dropped_keys = parts.iter().filter(|part| part.key().is_some() && part.live.is_some()).map(|part| part.id.clone());
    let types: Vec<Id> = types.iter().map(Relabel::id).collect();
    let roots = pairs.iter().map(Pair::id).chain(types.iter().cloned()).chain(dropped_keys);
    let mut open: Vec<Id> = again.iter().cloned().chain(roots).collect();
    while let Some(id) = open.pop() {
        let is_root = !again.contains(&id);
        let is_type = types.contains(&id);
        for dependant in cx.live.dependants(&id) {
            let kind = dependant.kind.as_str();
            if KINDS.contains(&kind) {
                if !cx.desired.contains(dependant) {
                    // It stays on the old column until it goes.
                    if is_root && (is_type || id.kind == "column") {
                        continue;
                    }
                    return Err(format!("{dependant} uses {id} and goes in the same plan: make two plans of it"));
                }
                if again.insert(dependant.clone()) {
                    open.push(dependant.clone());
                }
                continue;
            }
            if is_type {
                // What else uses it is looked through when all that is made again is known.
                continue;
            }
            if ROUTINES.contains(&id.kind.as_str()) && (kind == "default" || parts::KINDS.contains(&kind)) {
                return Err(format!("{dependant} calls {id}, which is made again"));
            }
            let part = parts::KINDS.contains(&kind) || SATELLITES.contains(&kind);
            // That a column which is not computed needs another one is a guess from a name (`guess_needs`).
            let computed = |state: &Indexed<'_>| state.get_as::<Column>(dependant).is_some_and(|column| column.generated.is_some());
            // One that is to be plain is so before.
            let plain =
                dependant.kind == Column::KEYWORD && (!computed(cx.live) || cx.desired.contains(dependant) && !computed(cx.desired));
            if part || plain || matches!(kind, "default" | "owned-by" | "sequence" | "replica-identity") {
                continue;
            }
            return Err(match kind {
                "column" => format!("{dependant} is computed from {}", id.name()),
                "publication" => format!("{dependant} names {}: its subscribers come first", id.name()),
                "exclusion" => format!("{dependant} cannot be built beside the old one"),
                _ => format!("{dependant} uses {id}"),
            });
        }
        if is_root {
            continue;
        }
        for child in cx.live.parts(&id).into_iter().map(Object::id).filter(|child| cx.desired.contains(child)) {
            if again.insert(child.clone()) {
                open.push(child);
            }
        }
    }
    for id in &again {
        let needs = cx.live.get(id).map(|object| cx.live.all_needs(object)).unwrap_or_default();
        let columns: BTreeSet<Id> = pairs.iter().map(Pair::id).collect();
        let other = needs.iter().filter(|need| !again.contains(*need) && !columns.contains(*need)).find(|need| {
            let retyped = need.kind == "column" && cx.live.get(need) != cx.desired.get(need);
            matches!(changes.get(*need), Some(Change::Replace | Change::Convert(_))) || retyped && changes.contains_key(*need)
        });
        if let Some(other) = other {
            return Err(format!("{id} uses {other} as well, which changes in the same plan: make two plans of it"));
        }
    }
    Ok(again)
}

/// What hangs on the columns and their parts and belongs to the new ones, in order; and what of it goes.
fn hanging(cx: &Context<'_>, pairs: &[Pair<'_>], parts: &[Part<'_>], types: &[Relabel<'_>]) -> (Vec<Id>, Vec<Id>) {
    let mut ids = Vec::new();
    for pair in pairs {
        let id = pair.id();
        let owns = |catalog: &Catalog| catalog.of::<OwnedBy>().filter(|owned| owned.column == id).map(OwnedBy::id).collect::<Vec<_>>();
        ids.push(Default::id_of(&id));
        ids.extend(owns(cx.desired));
        ids.push(id.satellite("comment", None));
    }
    // Defaults of other columns may name a value.
    for of in types.iter().map(Relabel::id) {
        let elsewhere = cx.live.dependants(&of).filter(|id| id.kind == Default::KEYWORD && cx.desired.contains(id) && !ids.contains(*id));
        let elsewhere: Vec<Id> = elsewhere.cloned().collect();
        ids.extend(elsewhere);
    }
    ids.extend(parts.iter().map(|part| part.id.satellite("comment", None)));
    let tables: BTreeSet<&Id> = pairs.iter().map(Pair::table).collect();
    for table in tables {
        let marks = [table.as_kind("replica-identity"), table.satellite("cluster-on", None)];
        let by_index = |id: &Id| {
            let needs = cx.desired.get(id).map(|object| cx.desired.all_needs(object)).unwrap_or_default();
            parts.iter().any(|part| needs.contains(&part.id))
        };
        ids.extend(marks.into_iter().filter(by_index));
    }
    let (created, others): (Vec<Id>, Vec<Id>) = ids.into_iter().partition(|id| cx.desired.contains(id));
    (created, others.into_iter().filter(|id| cx.live.contains(id)).collect())
}

/// Routines that stay as they are and mention a type by name.
fn spoken(cx: &Context<'_>, again: &BTreeSet<Id>, types: &[Relabel<'_>]) -> Vec<Id> {
    if types.is_empty() {
        return Vec::new();
    }
    let is_routine = |id: &Id| matches!(id.kind.as_str(), "function" | "procedure");
    let stays = |id: &Id| !again.contains(id) && cx.live.get(id) == cx.desired.get(id);
    let mentions = |object: &Object| types.iter().any(|relabel| mentions_word(object, relabel.id().name()));
    let objects = cx.live.objects.iter().filter(|(id, object)| is_routine(id) && stays(id) && mentions(object));
    objects.map(|(id, _)| id.clone()).collect()
}

/// What others need first, by kind and id where nothing decides.
pub(in crate::recipe) fn ordered(catalog: &Catalog, set: &BTreeSet<Id>) -> Vec<Id> {
    let mut sorted: Vec<&Id> = set.iter().filter(|id| catalog.contains(id)).collect();
    sorted.sort_by_key(|id| (weight(&id.kind), (*id).clone()));
    let mut order = Vec::new();
    let mut seen = BTreeSet::new();
    for id in sorted {
        visit(catalog, id, set, &mut seen, &mut order);
    }
    order
}

fn visit(catalog: &Catalog, id: &Id, set: &BTreeSet<Id>, seen: &mut BTreeSet<Id>, order: &mut Vec<Id>) {
    if !seen.insert(id.clone()) {
        return;
    }
    let Some(object) = catalog.get(id) else { return };
    for need in catalog.all_needs(object).iter().filter(|need| set.contains(*need)) {
        visit(catalog, need, set, seen, order);
    }
    order.push(id.clone());
}
