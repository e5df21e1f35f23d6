//! The way back of an operation that does not say its own: what it put is taken away, what it altered is altered back,
//! what it took away is made again with all that hung on it.

use std::collections::{BTreeSet, HashMap};

use super::retype;
use crate::catalog::Id;
use crate::catalog::id::{derived_name, quote};
use crate::kind::check::Check;
use crate::kind::column::Column;
use crate::kind::domain_check::DomainCheck;
use crate::kind::foreign_key::ForeignKey;
use crate::kind::index::Index;
use crate::kind::table::Table;
use crate::kind::{Inline, Kind as _, Object, Rebuild, Why, weight};
use crate::plan::draft::{Context, Draft, Effect, Op};
use crate::plan::op::{Alteration, Hazard};
use crate::plan::overlay::Overlay;
use crate::plan::plan::{BEGIN, COMMIT};

/// Says for every operation how it is undone, where it does not say so itself and it can be told. Undone are
/// operations in reverse, so each is taken back in the state that it led to.
pub fn derive(cx: &Context<'_>, draft: &mut Draft, order: &[usize]) {
    let mut state = Overlay::new(cx.live);
    let mut temporary: BTreeSet<&Id> = BTreeSet::new();
    // Indexes of partitions go away with the index above, which is not what they are part of.
    let mut carried: HashMap<&Id, Vec<&Id>> = HashMap::new();
    for (id, leader) in draft.followers.iter().chain(&draft.removed_with).filter(|(id, leader)| id.kind == leader.kind) {
        carried.entry(leader).or_default().push(id);
    }
    let mut found: Vec<(usize, Option<Vec<String>>)> = Vec::new();
    for at in order {
        let op = &draft.ops[*at];
        let mut back = Back { possible: can(op, &temporary), steps: Vec::new() };
        let told = op.undo.is_some() || !back.possible;
        let new: BTreeSet<Id> = op.effects.iter().filter_map(put).map(Object::id).filter(|id| state.get(id).is_none()).collect();
        for effect in &op.effects {
            match effect {
                Effect::Put(object) => {
                    let within = object.parent().is_some_and(|parent| new.contains(&parent));
                    if !told && !within {
                        match taken_back(cx, &state, object) {
                            Some(step) => back.steps.push(step),
                            None => back.possible = false,
                        }
                    }
                    state.set(object.id(), Some(object));
                }
                Effect::Remove(id) => {
                    if temporary.remove(id) {
                        continue;
                    }
                    let with: Vec<&Id> = carried.get(id).into_iter().flatten().copied().chain([id]).collect();
                    if !told {
                        let gone = with.iter().flat_map(|part| whole_of(&state, id, part)).collect();
                        back.steps.push(again(cx, gone));
                    }
                    for id in with {
                        state.remove(id);
                    }
                }
                Effect::PutTemporary(id) => {
                    temporary.insert(id);
                }
            }
        }
        if op.undo.is_none() {
            found.push((*at, back.possible.then(|| back.statements())));
        }
    }
    for (at, undo) in found {
        draft.ops[at].undo = undo;
    }
}

/// What is made again of `part`, which goes with `id`: a partition's column or check comes with the one above it.
fn whole_of<'a>(state: &Overlay<'a>, id: &Id, part: &Id) -> Vec<&'a Object> {
    let comes = part != id && matches!(part.kind.as_str(), "column" | "check");
    let mut whole = state.whole(part);
    whole.retain(|object| !comes || object.id() != *part);
    whole
}

fn put(effect: &Effect) -> Option<&Object> {
    if let Effect::Put(object) = effect { Some(object) } else { None }
}

/// Whether the effects of an operation tell how it is undone: not of rows, nor of a recipe's helpers.
fn can(op: &Op, temporary: &BTreeSet<&Id>) -> bool {
    let helper = |effect: &Effect| match effect {
        Effect::Put(_) => false,
        Effect::Remove(id) => temporary.contains(id),
        Effect::PutTemporary(_) => true,
    };
    let named = op.action.hazards.iter().any(|(hazard, _)| *hazard == Hazard::Irreversible);
    !op.irreversible && !named && op.action.loses.is_none() && !op.effects.iter().any(helper)
}

/// The ways back of an operation's effects, in the order of the effects.
struct Back {
    possible: bool,
    steps: Vec<Again>,
}

/// The way back from `object` to what was in its place before.
fn taken_back(cx: &Context<'_>, state: &Overlay<'_>, object: &Object) -> Option<Again> {
    let id = object.id();
    let now = match state.get(&id) {
        None => {
            let mut sql = object.drop().sql;
            if let Object::Grant(grant) = object {
                sql.extend(grant.of_columns(cx.live).flat_map(|of_column| of_column.create().sql));
            }
            sql
        }
        Some(before) if before == object => Vec::new(),
        // Of a constraint that this plan made itself the making is undone.
        Some(before) if only_validated(before, object) && cx.live.get(&id) != Some(before) => Vec::new(),
        Some(before) => match Object::alter(object, before) {
            Alteration::Act(actions) | Alteration::Retype(actions) => {
                let mut sql: Vec<String> = match (object, before) {
                    (Object::Column(now), Object::Column(before)) => retype::way::back(cx, now, before)?,
                    _ => actions.into_iter().flat_map(|action| action.sql).collect(),
                };
                if let Object::Grant(grant) = before {
                    sql.extend(grant.of_columns(cx.live).flat_map(|of_column| of_column.create().sql));
                }
                if let (Object::Column(now), Object::Column(before)) = (object, before) {
                    sql.extend(before.counts_on(now));
                    if now.data_type != before.data_type || now.collation != before.collation {
                        sql.extend(super::index::targets_back(cx, &id));
                    }
                    if now.collation != before.collation {
                        sql.extend(collated_again(cx, &id));
                    }
                }
                sql
            }
            Alteration::Replace => return replaced_back(cx, state, object, before),
        },
    };
    Some(Again { now, later: Vec::new() })
}

/// The indexes over a column that the plan changes too, made once more when it has its old collation again: what names the
/// column's own collation names none (`pg_get_indexdef`), and follows the column.
pub(super) fn collated_again(cx: &Context<'_>, column: &Id) -> Vec<String> {
    let indexes = cx.live.within::<Index>(&column.up("table"));
    let changes = |index: &&Index| {
        let object = Object::from((*index).clone());
        cx.live.all_needs(&object).contains(column) && cx.desired.get(&object.id()) != Some(&object)
    };
    let again = |index: &Index| {
        let id = index.id();
        let begin = vec![format!("DROP INDEX IF EXISTS {}", id.in_schema())];
        [begin, index.create().sql, hanging(cx, &id)].concat()
    };
    indexes.filter(changes).flat_map(again).collect()
}

/// What can only be made anew goes with all that stands on it, and comes again with it.
fn replaced_back(cx: &Context<'_>, state: &Overlay<'_>, object: &Object, before: &Object) -> Option<Again> {
    let id = object.id();
    let mut standing: Vec<&Object> = Vec::new();
    let mut open = vec![id.clone()];
    while let Some(need) = open.pop() {
        for dependant in cx.live.dependants(&need) {
            let live = cx.live.get(dependant)?;
            // Of what changed on the way nothing is known here.
            if state.get(dependant) != Some(live) {
                return None;
            }
            match live.rebuild(Why::Replaced) {
                Rebuild::Keep => {}
                Rebuild::Convert(_) => return None,
                Rebuild::Replace if *dependant == id || standing.contains(&live) => {}
                Rebuild::Replace => {
                    standing.push(live);
                    open.push(dependant.clone());
                }
            }
        }
    }
    let gone = || std::iter::once(before).chain(standing.iter().copied());
    if gone().any(|object| object.drop().loses.is_some()) {
        return None;
    }
    let hanging = gone().flat_map(|object| state.whole(&object.id()));
    let mut made = again(cx, gone().chain(hanging.filter(|object| object.id() != id)).collect());
    // What stands on something goes before it: in the reverse of the order in which they are made.
    let order = in_order(cx, standing.clone());
    let away = order.into_iter().rev().chain([object]).flat_map(|object| object.drop().sql);
    made.now = away.chain(made.now).collect();
    Some(made)
}

impl Back {
    fn statements(self) -> Vec<String> {
        let (mut now, mut later) = (Vec::new(), Vec::new());
        for step in self.steps.into_iter().rev() {
            now.extend(step.now);
            later.extend(step.later);
        }
        now.extend(later);
        now
    }
}

/// Whether nothing changes but that a constraint is now known to hold.
fn only_validated(old: &Object, new: &Object) -> bool {
    match (old, new) {
        (Object::Check(old), Object::Check(new)) => old.not_valid && *new == Check { not_valid: false, ..old.clone() },
        (Object::ForeignKey(old), Object::ForeignKey(new)) => old.not_valid && *new == ForeignKey { not_valid: false, ..old.clone() },
        (Object::DomainCheck(old), Object::DomainCheck(new)) => old.not_valid && *new == DomainCheck { not_valid: false, ..old.clone() },
        _ => false,
    }
}

/// Statements that make objects again: in the transaction at hand, and after it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Again {
    now: Vec<String>,
    /// Begins with COMMIT and ends in a transaction, where there is any.
    later: Vec<String>,
}

impl Again {
    /// All of it.
    #[must_use]
    pub fn statements(self) -> Vec<String> {
        [self.now, self.later].concat()
    }
}

/// Makes an object of the live state again, with everything that hung on it.
#[must_use]
pub fn remake(cx: &Context<'_>, object: &Object) -> Vec<String> {
    again(cx, Overlay::new(cx.live).whole(&object.id())).statements()
}

/// Makes objects of the live state again, each by its own statements, whatever it costs.
#[must_use]
pub fn plainly(cx: &Context<'_>, objects: Vec<&Object>) -> Vec<String> {
    plainly_at(cx, objects, Object::clone)
}

/// The same, each where `place` puts it.
#[must_use]
pub fn plainly_at(cx: &Context<'_>, objects: Vec<&Object>, place: impl Fn(&Object) -> Object) -> Vec<String> {
    let state = Overlay::new(cx.live);
    let whole = objects.into_iter().flat_map(|object| state.whole(&object.id())).collect();
    in_order(cx, whole).into_iter().flat_map(|object| place(object).create().sql).collect()
}

/// Makes what hung on an object of the live state again: comments, grants.
#[must_use]
pub fn hanging(cx: &Context<'_>, id: &Id) -> Vec<String> {
    let parts = Overlay::new(cx.live).whole(id).into_iter().filter(|part| part.id() != *id).collect();
    again(cx, parts).statements()
}

/// What objects of the live state need of each other beyond the index above, which takes over those of the
/// partitions: they come first.
fn needs(cx: &Context<'_>, object: &Object) -> Vec<Id> {
    let above = part_of(object);
    cx.live.all_needs(object).into_iter().filter(|need| need.kind != object.id().kind || above != Some(need.name())).collect()
}

/// Objects, each after what it needs.
fn in_order<'o>(cx: &Context<'_>, mut objects: Vec<&'o Object>) -> Vec<&'o Object> {
    objects.sort_by_key(|object| (weight(&object.id().kind), object.id()));
    objects.dedup();
    let mut missing: BTreeSet<Id> = objects.iter().map(|object| object.id()).collect();
    let mut ordered = Vec::with_capacity(objects.len());
    while !objects.is_empty() {
        // The index above takes over those of the partitions that are there, and makes those that are not, by names of its own.
        let above = |object: &Object| {
            let id = object.id();
            objects.iter().any(|part| part_of(part) == Some(id.name()) && part.id().kind == id.kind && part.id().schema() == id.schema())
        };
        let ready = |object: &&Object| needs(cx, object).iter().all(|need| !missing.contains(need)) && !above(object);
        let next = objects.iter().position(ready).unwrap_or_default();
        let object = objects.remove(next);
        missing.remove(&object.id());
        ordered.push(object);
    }
    ordered
}

fn again(cx: &Context<'_>, mut objects: Vec<&Object>) -> Again {
    let all: BTreeSet<Id> = objects.iter().map(|object| object.id()).collect();
    // A partition's column comes with the one above it, where the table itself is there.
    objects.retain(|object| {
        let Object::Column(column) = object else { return true };
        let above = super::above::live_parent(cx, &column.table).map(|parent| Column::id_of(&parent, &column.name));
        all.contains(&column.table) || !above.is_some_and(|above| all.contains(&above))
    });
    let parts: Vec<&Object> = objects
        .iter()
        .copied()
        .filter(|object| object.inlines() == Inline::Always && object.parent().is_some_and(|parent| all.contains(&parent)))
        .collect();
    let whole = objects.into_iter().filter(|object| !parts.iter().any(|part| part.id() == object.id())).collect();
    let mut made = Again::default();
    let mut late: BTreeSet<Id> = BTreeSet::new();
    for object in in_order(cx, whole) {
        let id = object.id();
        if let Some((now, later)) = beside(cx, object, &all) {
            made.now.extend(now);
            made.later.extend(later);
            late.insert(id);
            continue;
        }
        let own: Vec<&Object> = parts.iter().copied().filter(|part| part.parent().as_ref() == Some(&id)).collect();
        let sql = object.create_with(&own).sql;
        if needs(cx, object).iter().any(|need| late.contains(need)) {
            made.later.extend(sql);
            late.insert(id);
        } else {
            made.now.extend(sql);
        }
    }
    made
}

fn part_of(object: &Object) -> Option<&str> {
    let name = match object {
        Object::Index(index) => index.part_of.as_ref(),
        Object::PrimaryKey(key) => key.key.part_of.as_ref(),
        Object::Unique(key) => key.key.part_of.as_ref(),
        _ => None,
    };
    name.map(smol_str::SmolStr::as_str)
}

/// On a large table that stays: proven, or built, beside the traffic. (In the transaction, after it.)
fn beside(cx: &Context<'_>, object: &Object, gone: &BTreeSet<Id>) -> Option<(Vec<String>, Vec<String>)> {
    let table = match object {
        Object::Check(check) => &check.table,
        Object::ForeignKey(key) => &key.table,
        Object::Index(index) => &index.on,
        Object::PrimaryKey(key) => &key.key.table,
        Object::Unique(key) => &key.key.table,
        _ => return None,
    };
    let partitioned = cx.live.get_as::<Table>(table).is_some_and(|table| table.partition_by.is_some());
    if gone.contains(table) || !cx.live.contains(table) || cx.is_small(table) || partitioned || part_of(object).is_some() {
        return None;
    }
    let then = |sql: Vec<String>| [vec![COMMIT.to_owned(), BEGIN.to_owned()], sql].concat();
    Some(match object {
        Object::Check(check) if !check.not_valid => (check.add_not_valid().sql, then(check.validate().sql)),
        Object::ForeignKey(key) if !key.not_valid => (key.add_not_valid().sql, then(key.validate().sql)),
        Object::Index(index) if !index.invalid => (Vec::new(), build(index)),
        Object::PrimaryKey(_) | Object::Unique(_) => (Vec::new(), build_key(object, &[])?),
        _ => return None,
    })
}

fn build(index: &Index) -> Vec<String> {
    let name = format!("{}.{}", quote(index.on.schema()), quote(&index.name));
    let outside = vec![COMMIT.to_owned(), format!("DROP INDEX CONCURRENTLY IF EXISTS {name}"), index.create_sql(&index.name, true, false)];
    [outside, vec![BEGIN.to_owned()], index.after_creation(&index.name)].concat()
}

/// Makes a key out of an index that is built beside the traffic; `instead` takes away what stands in its place, in
/// the transaction that adopts the index.
#[must_use]
pub fn build_key(object: &Object, instead: &[String]) -> Option<Vec<String>> {
    let (key, word, nulls) = match object {
        Object::PrimaryKey(object) => (&object.key, "PRIMARY KEY", false),
        Object::Unique(object) => (&object.key, "UNIQUE", object.nulls_not_distinct),
        _ => return None,
    };
    let temporary = derived_name(&key.name, "_back");
    let outside = vec![
        COMMIT.to_owned(),
        format!("DROP INDEX CONCURRENTLY IF EXISTS {}.{}", quote(key.table.schema()), quote(&temporary)),
        key.index_sql(&temporary, nulls),
        BEGIN.to_owned(),
    ];
    Some([outside, instead.to_vec(), key.adopt(&object.id(), word, &temporary).sql].concat())
}
