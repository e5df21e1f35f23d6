//! A change of type that would write a large table again: a shadow column of the new type is filled
//! beside the traffic, then takes the old one's name and everything that hangs on it, in one short
//! transaction (safe-changes.md, Type changes).
//!
//! An enum that loses values or has them in another order is such a change of all of its columns, with a second type
//! that stands beside it until the switch ([`relabel`]).
//!
//! Clients of both releases use one name. Until the switch a trigger writes the shadow column; after it
//! another one writes the old column, where every value fits, so that the switch can be undone.

mod cluster;
pub(super) mod followers;
mod in_place;
mod joined;
mod pair;
mod parts;
pub mod relabel;
pub mod sessions;
mod switch;
pub(super) mod way;

use std::collections::BTreeSet;

use super::sync::take_if_there;
use super::{backfill, plain, published};
use crate::catalog::id::{derived_name, quote};
use crate::catalog::{Catalog, Id, Ident, Indexed};
use crate::kind::column::Column;
use crate::kind::type_change::keeps_heap;
use crate::kind::{Kind as _, Object};
use crate::plan::change::{Change, Changes, changes};
use crate::plan::draft::{Context, Draft, Op};
use crate::plan::op::{Action, Cost, Hazard, LockMode};
use crate::plan::plan::StageName;
use cluster::Cluster;
use pair::Pair;
use parts::Part;
use relabel::Relabel;

pub(super) const RECIPE: &str = "retype-column";

/// The name of the column that stands beside one whose type changes, until the switch.
#[must_use]
pub fn shadow_name(live: &Catalog, desired: &Catalog, column: &Id) -> Ident {
    free_name(live, desired, column, "_schema_new")
}

/// The name of the old column after the switch.
fn aside_name(live: &Catalog, desired: &Catalog, column: &Id) -> Ident {
    free_name(live, desired, column, "_schema_old")
}

fn free_name(live: &Catalog, desired: &Catalog, column: &Id, suffix: &str) -> Ident {
    let taken = |name: &Ident| [live, desired].iter().any(|catalog| catalog.contains(&column.renamed(name)));
    let numbered = (2..).map(|number| derived_name(column.name(), &format!("{suffix}_{number}")));
    [derived_name(column.name(), suffix)].into_iter().chain(numbered).find(|name| !taken(name)).expect("a table has few columns")
}

/// Takes the columns of large tables whose change of type writes them again; says of the others what was measured, and
/// why they are changed where they are.
pub fn apply(cx: &Context<'_>, changes: &mut Changes, draft: &mut Draft) {
    let retyped: Vec<(&Column, &Column)> = changes
        .iter()
        .filter(|(id, change)| id.kind == Column::KEYWORD && matches!(change, Change::Alter(_)))
        .filter_map(|(id, _)| Some((cx.live.get_as::<Column>(id)?, cx.desired.get_as::<Column>(id)?)))
        .filter(|(old, new)| old.data_type != new.data_type || old.collation != new.collation)
        .collect();
    for (old, new) in &retyped {
        if let Some(Change::Alter(actions)) = changes.get_mut(&new.id()) {
            for action in actions {
                measured(cx, old, new, action);
            }
        }
    }
    let mut wanted: Vec<Pair<'_>> = retyped
        .into_iter()
        .filter(|(old, new)| rewrites(cx, old, new) && !plain::follows_parent(cx, changes, &new.id()))
        .map(|(old, new)| Pair::new(cx, old, new))
        .collect();
    for of in Relabel::all(cx, changes) {
        let pairs = of.columns(cx).into_iter().map(|(old, new)| Pair::relabelled(cx, &of, old, new)).collect::<Vec<_>>();
        for pair in &pairs {
            if let Some(Change::Convert(action)) = changes.get_mut(&pair.id()) {
                pair.convert(action);
            }
        }
        wanted.extend(pairs);
    }
    if cx.policy.direct {
        joined::make_way(cx, changes);
        return;
    }
    for pairs in cluster::connected(cx, wanted) {
        let ids: Vec<Id> = pairs.iter().map(Pair::id).collect();
        let beside = without(cx, changes, &pairs);
        match Cluster::of(cx, beside.as_ref().unwrap_or(changes), pairs) {
            Ok(cluster) => {
                if let Some(beside) = beside {
                    *changes = beside;
                }
                put(cx, &cluster, changes, draft);
            }
            Err(reason) => explain(changes, &ids, &reason),
        }
    }
    joined::make_way(cx, changes);
    in_place::apply(cx, changes, draft);
}

/// What is left to change when the enums of these columns are as they are wanted: nothing has to be made again because
/// of them.
fn without(cx: &Context<'_>, all: &Changes, pairs: &[Pair<'_>]) -> Option<Changes> {
    let types: BTreeSet<Id> = pairs.iter().filter_map(Pair::relabel).map(Relabel::id).collect();
    if types.is_empty() {
        return None;
    }
    let mut live = Catalog::clone(cx.live);
    for id in types {
        let wanted = cx.desired.get(&id)?.clone();
        live.objects.insert(id, wanted);
    }
    let fresh = changes(&Indexed::new(&live), cx.desired);
    // What other recipes took before stays theirs.
    let mut left = all.clone();
    left.retain(|id, change| {
        let forced = matches!(change, Change::Replace | Change::Convert(_));
        match fresh.get(id) {
            Some(now) if forced => *change = now.clone(),
            Some(_) => {}
            None => return !forced,
        }
        true
    });
    Some(left)
}

/// Whether the change writes the table again: as measured, else as the catalogue of safe changes has it; or what stands
/// on the column.
fn rewrites(cx: &Context<'_>, old: &Column, new: &Column) -> bool {
    let guess = || old.data_type != new.data_type && !keeps_heap(&old.data_type, &new.data_type);
    cx.facts.retypes.get(&new.id()).map_or_else(guess, |retype| retype.rewrites) || builds_again(cx, old, new)
}

/// Whether an index is built again under ACCESS EXCLUSIVE although the rows stay as they are: PostgreSQL compares no
/// expressions and conditions of indexes (`CheckIndexCompatible` in `src/backend/commands/indexcmds.c`), and another
/// collation is another order.
fn builds_again(cx: &Context<'_>, old: &Column, new: &Column) -> bool {
    let other_order = old.collation != new.collation;
    let standing: Vec<&Object> =
        cx.live.dependants(&old.id()).filter(|id| cx.desired.contains(id)).filter_map(|id| cx.live.get(id)).collect();
    if !standing.iter().any(|object| matches!(object, Object::Index(_) | Object::PrimaryKey(_) | Object::Unique(_) | Object::Exclusion(_)))
    {
        return false;
    }
    // A column by its name, quoted where it must be, before its operator class and its order.
    let is_column = |element: &String| {
        let name = element
            .strip_prefix('"')
            .and_then(|rest| rest.split_once('"'))
            .map_or_else(|| element.split(' ').next().unwrap_or_default().to_owned(), |(name, _)| name.to_owned());
        let rest = element.strip_prefix(&quote(&name));
        cx.live.contains(&old.table.child(Column::KEYWORD, &name)) && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
    };
    standing.into_iter().any(|object| match object {
        Object::Index(index) => other_order || index.filter.is_some() || !index.elements.iter().all(is_column),
        Object::PrimaryKey(_) | Object::Unique(_) | Object::Exclusion(_) => other_order,
        _ => false,
    })
}

/// What was measured instead of what the kind supposes: a hazard that is none goes; the author's expression is the way.
fn measured(cx: &Context<'_>, old: &Column, new: &Column, action: &mut Action) {
    let id = new.id();
    if !action.title.starts_with("Change the type") {
        return;
    }
    let given = way::there(cx, old, new);
    if let Some(expression) = given {
        action.sql = vec![new.retype_sql(&format!("({expression})"))];
    }
    let facts = cx.facts.retypes.get(&id).copied();
    if given.is_some() || facts.is_some_and(|facts| facts.keeps_values) {
        action.hazards.retain(|(hazard, _)| *hazard != Hazard::LossyCast);
    }
    if !cx.policy.direct {
        let subject = format!("{}: a prepared statement that returns {} fails until it is prepared again", new.table, new.name);
        action.hazards.push((Hazard::Prepared, subject));
    }
    if builds_again(cx, old, new) {
        action.locks.iter_mut().for_each(|lock| lock.cost = lock.cost.max(Cost::Build));
        if !action.hazards.iter().any(|(hazard, _)| *hazard == Hazard::Blocking) {
            let subject = format!("{}: its indexes are built again while nobody can use it", new.table);
            action.hazards.push((Hazard::Blocking, subject));
        }
    }
    let Some(facts) = facts else { return };
    if let Some(reason) = pair::incompatible(cx, old, new).filter(|_| !cx.policy.direct) {
        action.hazards.push((Hazard::Breaking, reason));
    }
    if !facts.rewrites && given.is_none() {
        if builds_again(cx, old, new) {
            action.locks.iter_mut().for_each(|lock| lock.cost = Cost::Build);
            return;
        }
        action.hazards.retain(|(hazard, _)| *hazard != Hazard::Blocking);
        action.locks.iter_mut().for_each(|lock| lock.cost = Cost::Instant);
    } else {
        action.locks.iter_mut().for_each(|lock| lock.cost = Cost::Rewrite);
    }
}

/// Says in the hazard why the table is written again after all.
fn explain(changes: &mut Changes, ids: &[Id], reason: &str) {
    for id in ids {
        let actions = match changes.get_mut(id) {
            Some(Change::Alter(actions)) => actions.iter_mut().collect(),
            Some(Change::Convert(action)) => vec![action],
            _ => Vec::new(),
        };
        for (hazard, subject) in actions.into_iter().flat_map(|action| &mut action.hazards) {
            if *hazard == Hazard::Blocking {
                *subject = format!("{subject} (no shadow column: {reason})");
            }
        }
    }
}

fn put(cx: &Context<'_>, cluster: &Cluster<'_>, changes: &mut Changes, draft: &mut Draft) {
    let mut ops: Vec<(Op, Option<Id>)> = Vec::new();
    let mut add = |op: Op| ops.push((op, None));
    for of in &cluster.types {
        add(of.expand());
    }
    for table in &cluster.tables {
        add(expand(cx, cluster, table));
    }
    for table in &cluster.tables {
        add(fill(cx, cluster, table));
    }
    for pair in cluster.pairs.iter().filter(|pair| pair.new.not_null) {
        prove(pair).into_iter().for_each(&mut add);
    }
    // Indexes before the foreign keys that lean on them.
    let (keys, others): (Vec<&Part<'_>>, Vec<&Part<'_>>) = cluster.parts.iter().partition(|part| part.id.kind == "foreign-key");
    for part in others.into_iter().chain(keys) {
        ops.extend(part.build().into_iter().map(|op| (op, Some(part.id.clone()))));
    }
    for table in &cluster.tables {
        ops.push((statistics(table), None));
    }
    let switch = ops.len();
    ops.push((cluster.switch(cx), None));
    // Statistics over several columns are made again with their objects, empty.
    let emptied =
        cluster.followers.after.iter().filter(|id| id.kind == "statistics").filter_map(|id| cx.desired.get(id)).filter_map(Object::parent);
    let emptied: BTreeSet<Id> = emptied.filter(|parent| parent.kind == "table").collect();
    ops.extend(emptied.iter().map(|table| (Op { stage: StageName::Switch, ..statistics(table) }, None)));
    ops.push((cluster.contract(cx), None));
    let own = cluster.own();
    let about: Vec<Option<Id>> = ops.iter().map(|(_, part)| part.clone()).collect();
    let indexes: Vec<usize> = ops.into_iter().map(|(op, _)| draft.push(op)).collect();
    for pair in indexes.windows(2) {
        draft.order(pair[0], pair[1]);
    }
    // What a part is built with comes before it, even though the part is ready only with the switch.
    for (at, part) in indexes.iter().zip(about) {
        let needs = part.and_then(|part| cx.desired.get(&part)).map(|object| cx.desired.all_needs(object)).unwrap_or_default();
        draft.follow_ups.extend(needs.into_iter().filter(|need| !own.contains(need)).map(|need| (need, *at)));
    }
    let (first, switch, last) = (indexes[0], indexes[switch], indexes[indexes.len() - 1]);
    for id in own {
        changes.shift_remove(&id);
        draft.first.insert(id.clone(), switch);
        draft.ready.insert(id, switch);
    }
    for pair in &cluster.pairs {
        draft.first.insert(pair.id(), first);
        draft.not_null.insert(pair.id(), switch);
        draft.gone.insert(pair.id(), last);
    }
    for of in &cluster.types {
        draft.first.insert(of.id(), first);
        draft.gone.insert(of.id(), last);
    }
}

/// The shadow columns of a table and the trigger that writes them.
fn expand(cx: &Context<'_>, cluster: &Cluster<'_>, table: &Id) -> Op {
    let pairs = cluster.of_table(table);
    let names = pairs.iter().map(|pair| pair.new.name.to_string()).collect::<Vec<_>>().join(", ");
    let mut action = Action::new(format!(
        "Add {} beside {names} of {table} and keep {} in step",
        pairs.iter().map(|pair| pair.shadow.to_string()).collect::<Vec<_>>().join(", "),
        if pairs.len() == 1 { "it" } else { "them" }
    ))
    .lock(table, LockMode::AccessExclusive, Cost::Instant)
    .hazard(Hazard::RowShape, format!("{table} gets a column"));
    for pair in &pairs {
        action.sql.extend(pair.shadow_column().add(pair.domain_default[0].then_some("NULL")).sql);
        if let Some(subject) = pair.lossy(cx) {
            action = action.hazard(Hazard::LossyCast, subject);
        }
        // The switch swaps the two names, for subscribers as well.
        for name in [&pair.shadow, &pair.aside] {
            action = published::warn_of_column(cx, table, name, action);
        }
    }
    let sync = pair::forward_trigger(cx, table, &pairs);
    action.sql.extend(sync.make.clone());
    let drops = pairs.iter().map(|pair| pair.shadow_column().drop().sql).collect::<Vec<_>>().concat();
    let mut op = Op::new(table, action, StageName::Expand, RECIPE).undo([take_if_there(&sync.take), drops].concat());
    for helper in pairs.iter().map(|pair| pair.shadow_id()).chain(sync.helpers) {
        op = op.puts_temporary(&helper);
    }
    op
}

/// One pass over a table for all of its shadow columns.
fn fill(cx: &Context<'_>, cluster: &Cluster<'_>, table: &Id) -> Op {
    let pairs = cluster.of_table(table);
    let set = pairs.iter().map(|pair| format!("{} = {}", crate::catalog::id::quote(&pair.shadow), pair.forward)).collect::<Vec<_>>();
    let wants = pairs.iter().map(|pair| pair.unfilled()).collect::<Vec<_>>();
    let filter =
        if wants.len() == 1 { wants[0].clone() } else { wants.iter().map(|want| format!("({want})")).collect::<Vec<_>>().join(" OR ") };
    let subject = pairs[0].shadow_id();
    let mut op = backfill::fill_set(cx, &subject, table, &set.join(", "), &filter, RECIPE, Vec::new());
    op.fills = pairs.iter().map(|pair| (pair.id(), pair.forward.clone())).collect();
    op.action.title = format!("Backfill {} of {table}", pairs.iter().map(|pair| pair.shadow.to_string()).collect::<Vec<_>>().join(", "));
    op
}

/// The proof that a shadow column is NOT NULL, so that the switch reads nothing.
fn prove(pair: &Pair<'_>) -> Vec<Op> {
    let id = pair.shadow_id();
    let proof = pair.proof();
    let add = Action { title: format!("Add a proof that {id} is NOT NULL, not yet validated"), ..proof.add_not_valid() };
    let validate = Action { title: format!("Prove {id} NOT NULL"), ..proof.validate() };
    vec![
        Op::new(&id, add, StageName::Backfill, RECIPE).undo(proof.drop().sql).puts_temporary(&proof.id()),
        Op::new(&id, validate, StageName::Backfill, RECIPE),
    ]
}

/// The server knows nothing of a new column before it was looked at: plans of queries would go wrong with the switch.
fn statistics(table: &Id) -> Op {
    let action = Action::new(format!("Gather statistics of {table}")).sql(format!("ANALYZE {}", table.sql())).lock(
        table,
        LockMode::ShareUpdateExclusive,
        Cost::Scan,
    );
    Op::new(table, action, StageName::Backfill, RECIPE)
}

/// A LOCK TABLE of several tables, in this order.
fn lock_tables(tables: &[Id]) -> String {
    format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", tables.iter().map(Id::sql).collect::<Vec<_>>().join(", "))
}
