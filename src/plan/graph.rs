//! Operations in order: edges from what is needed, one pass of Kahn's algorithm.
//!
//! A cycle is a defect of a kind or a recipe: it is shown as a ring of operations, never repaired.

use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::fmt::Write as _;

use super::divided;
use super::domains;
use super::draft::{Context, Draft, Effect, Op};
use super::op::Transaction;
use super::plan::StageName;
use crate::catalog::{Id, Indexed};
use crate::kind::column::Column;
use crate::kind::{Kind as _, Object, Rebuild, Why, weight};

/// The ring of operations that wait for each other.
#[derive(Debug, thiserror::Error)]
#[error("the steps of the plan wait for each other:\n{0}")]
pub struct Cycle(pub String);

/// Adds the edges that the two states ask for.
pub fn connect(cx: &Context<'_>, draft: &mut Draft) {
    let mut edges: BTreeSet<(usize, usize)> = BTreeSet::new();
    let first = |draft: &Draft, id: &Id| draft.making.get(id).or_else(|| draft.first.get(id)).copied();
    let leaders: BTreeMap<&Id, &Id> =
        draft.followers.iter().filter(|(id, _)| id.kind == "column" && cx.desired.contains(id)).map(|(id, leader)| (id, leader)).collect();
    // Building up: what an object needs is ready before it begins.
    let touched: Vec<Id> = draft.ready.keys().cloned().collect();
    for id in &touched {
        let (Some(object), Some(begins)) = (cx.desired.get(id), first(draft, id)) else { continue };
        let ends = draft.ready[id];
        for need in cx.desired.all_needs(object) {
            // The index above takes over those of the partitions: they come first (see `partitions`).
            if need.kind == id.kind && divided::part_of(object).as_ref() == Some(&need.name().into()) {
                continue;
            }
            // A partition's column comes with the one above it.
            let mut need = need;
            while let Some(leader) = leaders.get(&need) {
                need = (*leader).clone();
            }
            let column_key = id.kind == "primary-key" && need.kind == "column";
            let leans = draft.leans.get(id).filter(|_| matches!(need.kind.as_str(), "primary-key" | "unique"));
            // A default needs the type alone, and goes with it in one transaction: not after a backfill.
            let typed = if id.kind == "default" { gets_type(draft, &need) } else { None };
            let ready = draft.not_null.get(&need).filter(|_| column_key).or(leans).or(typed.as_ref()).or_else(|| draft.ready.get(&need));
            // Both begin with one operation (a column with its default): what follows is the need's own.
            let ready = ready.filter(|_| draft.first.get(&need) != Some(&begins));
            if let Some(ready) = ready {
                // A key's index can be built as soon as the column is filled; the key itself waits.
                edges.insert((*ready, if column_key { ends } else { begins }));
                if column_key && let Some(filled) = draft.ready.get(&need) {
                    edges.insert((*filled, begins));
                }
            }
        }
        // What it no longer needs goes afterwards.
        if let Some(old) = cx.live.get(id) {
            for need in cx.live.all_needs(old) {
                // What went with its parent and is made again elsewhere needs nothing of that any more.
                let went_with = || draft.removed_with.iter().any(|(child, parent)| child == id && need.path.starts_with(&parent.path));
                if let Some(gone) = draft.gone.get(&need).filter(|gone| !draft.making.contains_key(&need) && **gone != ends)
                    && !draft.gone.contains_key(id)
                    && !went_with()
                {
                    edges.insert((ends, *gone));
                }
                // A column that was computed of it and is no more lets it change its type.
                let computed = |state: &Indexed<'_>| state.get_as::<Column>(id).is_some_and(|column| column.generated.is_some());
                if need.kind == Column::KEYWORD
                    && computed(cx.live)
                    && !computed(cx.desired)
                    && let Some(alters) = draft.first.get(&need)
                {
                    edges.insert((begins, *alters));
                }
            }
        }
    }
    // Tearing down: dependants first. What goes away with another object is gone when that is.
    let mut gone_at: BTreeMap<Id, usize> = draft.gone.clone();
    for (id, leader) in draft.followers.iter().filter(|(id, _)| !cx.desired.contains(id)) {
        let mut leader = leader;
        while let Some((_, above)) = draft.followers.iter().find(|(id, _)| id == leader) {
            leader = above;
        }
        if let Some(at) = draft.gone.get(leader) {
            gone_at.insert(id.clone(), *at);
        }
    }
    for (id, gone) in &gone_at {
        let Some(old) = cx.live.get(id) else { continue };
        for need in cx.live.all_needs(old) {
            if let Some(later) = draft.gone.get(&need) {
                edges.insert((*gone, *later));
            }
            if !draft.gone.contains_key(id) {
                continue;
            }
            // A dependant that is taken down for an alteration beneath it goes before that.
            let displaced = draft.making.contains_key(id) || id.kind == "default" || old.rebuild(Why::Retyped) != Rebuild::Keep;
            if displaced
                && need.kind == "column"
                && !draft.gone.contains_key(&need)
                && let Some(alters) = draft.first.get(&need).filter(|_| cx.live.contains(&need))
                && (is_conversion(draft, &need) || id.kind == "default")
            {
                edges.insert((*gone, *alters));
            }
        }
    }
    for (id, buried) in &draft.buried {
        for dependant in cx.live.dependants(id) {
            let stays = draft.ready.get(dependant).filter(|_| !draft.making.contains_key(dependant));
            // Its own old form may stand aside as well: a domain over a domain.
            for at in [draft.gone.get(dependant), draft.buried.get(dependant), stays].into_iter().flatten() {
                edges.insert((*at, *buried));
            }
        }
        if let Some(made) = draft.making.get(id) {
            edges.insert((*made, *buried));
        }
    }
    // What is made again under something that goes away with its parent comes after that.
    for (child, parent) in &draft.removed_with {
        let away = draft.gone.get(parent).copied();
        if let (Some(away), Some(made)) = (away, draft.making.get(child)) {
            edges.insert((away, *made));
        }
    }
    for (id, at) in &draft.follow_ups {
        edges.extend(draft.ready.get(id).or_else(|| draft.gone.get(id)).map(|ready| (*ready, *at)));
    }
    edges.extend(name_collisions(cx, draft));
    edges.extend(overloads(cx, draft));
    edges.extend(one_primary_key(cx, draft));
    // Revoking a privilege of a table takes it from the role's columns too: those are granted after.
    for (id, at) in draft.ready.iter().filter(|(id, _)| id.kind == "grant" && matches!(id.path[0].as_str(), "column" | "view-column")) {
        for kind in ["table", "view", "materialized-view"] {
            let whole = Id::new(kind, id.path[1..3].to_vec()).satellite("grant", Some(id.name()));
            for earlier in [draft.gone.get(&whole), draft.ready.get(&whole)].into_iter().flatten() {
                edges.insert((*earlier, *at));
            }
        }
    }
    // Who owns a schema holds what is granted there by that: owners first.
    for (id, at) in draft.ready.iter().filter(|(id, _)| id.kind == "grant") {
        let owner = Id::new("owner", id.path[..id.path.len() - 1].to_vec());
        edges.extend(draft.ready.get(&owner).map(|owner| (*owner, *at)));
    }
    edges.extend(not_null_goes(cx, draft, &gone_at));
    edges.extend(not_null_comes(cx, draft));
    edges.extend(divided::partitions(cx, draft));
    edges.extend(domains::checked_before_tables(cx, draft));
    draft.edges.extend(edges.into_iter().filter(|(a, b)| a != b));
    bodies(cx, draft);
}

/// A column may be NULL when it is in no key, and no replica identity, any more.
fn not_null_goes(cx: &Context<'_>, draft: &Draft, gone: &BTreeMap<Id, usize>) -> Vec<(usize, usize)> {
    let mut edges = Vec::new();
    for (at, op) in draft.ops.iter().enumerate() {
        if op.id.kind != "column" || !op.action.sql.iter().any(|sql| sql.contains(" DROP NOT NULL")) {
            continue;
        }
        let keys = gone
            .iter()
            .filter(|(id, _)| id.kind == "primary-key")
            .filter(|(id, _)| cx.live.get(id).is_some_and(|key| cx.live.all_needs(key).contains(&op.id)));
        edges.extend(keys.map(|(_, gone)| (*gone, at)));
        let identity = op.id.up("table").as_kind("replica-identity");
        edges.extend([gone.get(&identity), draft.ready.get(&identity)].into_iter().flatten().map(|changed| (*changed, at)));
    }
    edges
}

/// A replica identity by an index asks for columns that are NOT NULL.
fn not_null_comes(cx: &Context<'_>, draft: &Draft) -> Vec<(usize, usize)> {
    let mut edges = Vec::new();
    for (id, ready) in draft.ready.iter().filter(|(id, _)| id.kind == "replica-identity") {
        let Some(identity) = cx.desired.get(id) else { continue };
        let set = draft.making.get(id).unwrap_or(ready);
        let indexes = cx.desired.all_needs(identity);
        let columns = indexes.iter().filter_map(|index| cx.desired.get(index)).flat_map(|index| cx.desired.all_needs(index));
        edges.extend(columns.filter_map(|column| draft.not_null.get(&column)).map(|proven| (*proven, *set)));
    }
    edges
}

/// Bodies leave no dependencies, yet may be run while the plan is (a materialized view that is
/// filled, a domain that is checked): routines come after what their bodies mention, unless that
/// makes a ring.
fn bodies(cx: &Context<'_>, draft: &mut Draft) {
    let made: Vec<&Id> = draft.ready.keys().filter(|id| matches!(id.kind.as_str(), "function" | "procedure")).collect();
    if made.is_empty() {
        return;
    }
    let mut wanted: Vec<(usize, usize)> = Vec::new();
    for (routine, need) in crate::catalog::closure::mentions(cx.desired, &made) {
        if let (Some(need), Some(routine)) = (draft.ready.get(&need), draft.first.get(&routine))
            && need != routine
        {
            wanted.push((*need, *routine));
        }
    }
    // A body that speaks of a column which this plan adds would fail before.
    for (column, at) in
        draft.ready.iter().filter(|(id, _)| id.kind == "column" && !cx.live.contains(id) && cx.live.contains(&id.up("table")))
    {
        for routine in &made {
            if let (Some(object), Some(begins)) = (cx.desired.get(routine), draft.first.get(*routine))
                && crate::catalog::closure::mentions_word(object, column.name())
            {
                wanted.push((*at, *begins));
            }
        }
    }
    for (earlier, later) in wanted {
        if !reaches(&draft.edges, later, earlier) {
            draft.edges.insert((earlier, later));
        }
    }
}

/// Whether a path leads from one operation to another.
fn reaches(edges: &BTreeSet<(usize, usize)>, from: usize, to: usize) -> bool {
    let mut seen = BTreeSet::from([from]);
    let mut open = vec![from];
    while let Some(at) = open.pop() {
        if at == to {
            return true;
        }
        for (_, next) in edges.range((at, 0)..=(at, usize::MAX)) {
            if seen.insert(*next) {
                open.push(*next);
            }
        }
    }
    false
}

/// A routine that can be called with fewer arguments than it has makes the calls of an older one of
/// its name ambiguous: the older one goes first, in one transaction with what comes after it.
fn overloads(cx: &Context<'_>, draft: &mut Draft) -> Vec<(usize, usize)> {
    let mut edges = Vec::new();
    let has_defaults = |object: Option<&Object>| matches!(object, Some(Object::Function(function)) if function.routine.arguments.iter().any(|argument| argument.default.is_some()));
    let new: Vec<(Id, usize)> =
        draft.first.iter().filter(|(id, _)| id.kind == "function" && !cx.live.contains(id)).map(|(id, at)| (id.clone(), *at)).collect();
    for (id, made) in new {
        let older: Vec<(Id, usize)> = draft
            .gone
            .iter()
            .filter(|(other, _)| {
                other.kind == "function" && other.path[..2] == id.path[..2] && **other != id && !cx.desired.contains(other)
            })
            .map(|(id, at)| (id.clone(), *at))
            .collect();
        for (other, gone) in older {
            if !has_defaults(cx.desired.get(&id)) && !has_defaults(cx.live.get(&other)) {
                continue;
            }
            edges.push((gone, made));
            if !cx.policy.direct {
                draft.ops[gone].stage = draft.ops[gone].stage.min(StageName::Switch);
                let action = std::mem::take(&mut draft.ops[gone].action);
                draft.ops[gone].action = action.hazard(super::op::Hazard::Breaking, format!("{} makes way for {id}", draft.ops[gone].id));
            }
        }
    }
    edges
}

/// A table has at most one primary key: the old one goes before the new one comes, where that could not have its name from
/// the start.
fn one_primary_key(cx: &Context<'_>, draft: &Draft) -> Vec<(usize, usize)> {
    let keys = draft.ready.iter().filter(|(id, _)| id.kind == "primary-key");
    let comes: BTreeMap<Id, usize> = keys.map(|(id, at)| (id.up("table"), *at)).collect();
    let goes = draft.gone.iter().filter(|(id, _)| id.kind == "primary-key" && !cx.desired.contains(id));
    goes.filter_map(|(id, gone)| Some((*gone, *comes.get(&id.up("table"))?))).collect()
}

/// The operation that gives a column its new type.
fn gets_type(draft: &Draft, id: &Id) -> Option<usize> {
    draft.ops.iter().rposition(|op| op.recipe == "alter" && op.id == *id && op.action.sql.iter().any(|sql| sql.contains(" TYPE ")))
}

/// Whether a column's own operation changes its type.
fn is_conversion(draft: &Draft, id: &Id) -> bool {
    draft.first.get(id).is_some_and(|at| {
        let op = &draft.ops[*at];
        op.recipe == "convert" || op.action.sql.iter().any(|sql| sql.contains(" TYPE ")) || op.recipe == "alter"
    })
}

/// A name must be free before it is given again.
fn name_collisions(cx: &Context<'_>, draft: &Draft) -> Vec<(usize, usize)> {
    let mut freed: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (id, at) in &draft.gone {
        if let Some(name) = cx.live.get(id).and_then(Object::relation_name) {
            freed.entry(name).or_default().push(*at);
        }
        // What goes away with it frees its name as well.
        for (follower, _) in draft.followers.iter().filter(|(_, leader)| leader == id) {
            if let Some(name) = cx.live.get(follower).and_then(Object::relation_name) {
                freed.entry(name).or_default().push(*at);
            }
        }
    }
    // An alteration can free a name as well: a column that is no identity column any more.
    for (id, at) in &draft.ready {
        let (Some(old), Some(new)) = (cx.live.get(id), cx.desired.get(id)) else { continue };
        if let Some(name) = old.relation_name().filter(|name| new.relation_name().as_ref() != Some(name)) {
            freed.entry(name).or_default().push(*at);
        }
    }
    let mut edges = Vec::new();
    for (at, op) in draft.ops.iter().enumerate() {
        for effect in &op.effects {
            let Effect::Put(object) = effect else { continue };
            let Some(name) = object.relation_name() else { continue };
            // An object that had the name all along does not take it.
            if cx.live.get(&object.id()).and_then(Object::relation_name).as_ref() == Some(&name) && !draft.making.contains_key(&object.id())
            {
                continue;
            }
            edges.extend(freed.get(&name).into_iter().flatten().filter(|gone| **gone != at && !op.teardown).map(|gone| (*gone, at)));
        }
    }
    edges
}

/// The order of the operations, as indexes. Raises each operation's stage to that of the latest one
/// that comes before it.
pub fn order(draft: &mut Draft) -> Result<Vec<usize>, Cycle> {
    let count = draft.ops.len();
    let mut next: Vec<Vec<usize>> = vec![Vec::new(); count];
    let mut waits = vec![0_usize; count];
    for (earlier, later) in &draft.edges {
        next[*earlier].push(*later);
        waits[*later] += 1;
    }
    raise_stages(&mut draft.ops, &next, &waits)?;
    let mut heap: BinaryHeap<std::cmp::Reverse<(Key, usize)>> = BinaryHeap::new();
    let mut left: BTreeMap<usize, usize> = BTreeMap::new();
    for group in draft.ops.iter().filter_map(|op| op.group) {
        *left.entry(group).or_default() += 1;
    }
    let mut deferred: Vec<usize> = Vec::new();
    let mut open: Option<usize> = None;
    let mut order = Vec::with_capacity(count);
    let push = |heap: &mut BinaryHeap<_>, ops: &[Op], at: usize| heap.push(std::cmp::Reverse((key(&ops[at], at), at)));
    for at in (0..count).filter(|at| waits[*at] == 0) {
        push(&mut heap, &draft.ops, at);
    }
    while order.len() < count {
        let at = next_operation(&mut heap, &mut deferred, &draft.ops, open);
        let Some(at) = at else { break };
        if let Some(group) = draft.ops[at].group {
            let rest = left.get_mut(&group).expect("counted above");
            *rest -= 1;
            open = (*rest > 0).then_some(group);
        }
        if open.is_none() {
            for waiting in deferred.drain(..) {
                push(&mut heap, &draft.ops, waiting);
            }
        }
        order.push(at);
        for later in &next[at] {
            waits[*later] -= 1;
            if waits[*later] == 0 {
                push(&mut heap, &draft.ops, *later);
            }
        }
    }
    if order.len() < count {
        return Err(ring(draft, &next, &waits));
    }
    Ok(order)
}

/// While a group is open its own operations come first, and what cannot run in a transaction waits
/// until it is closed, if it can.
fn next_operation(
    heap: &mut BinaryHeap<std::cmp::Reverse<(Key, usize)>>,
    deferred: &mut Vec<usize>,
    ops: &[Op],
    open: Option<usize>,
) -> Option<usize> {
    let Some(group) = open else { return heap.pop().map(|entry| entry.0.1) };
    let mut passed = Vec::new();
    let mut found = None;
    while let Some(entry) = heap.pop() {
        let at = entry.0.1;
        if ops[at].group == Some(group) {
            found = Some(at);
            break;
        }
        passed.push(entry);
    }
    if found.is_none() {
        // Something else must come first for the group to go on.
        let mut rest = Vec::new();
        for entry in passed {
            let at = entry.0.1;
            if found.is_none() && ops[at].action.transaction == Transaction::Inside && ops[at].backfill.is_none() {
                found = Some(at);
            } else {
                rest.push(entry);
            }
        }
        passed = rest;
    }
    heap.extend(passed);
    found.or_else(|| heap.pop().map(|entry| entry.0.1)).or_else(|| deferred.pop())
}

/// (stage, teardown after build-up, weight and id of the object at the top, own weight, id, index).
type Key = (StageName, u8, usize, Vec<crate::catalog::Ident>, usize, Id, usize);

fn key(op: &Op, at: usize) -> Key {
    // Routines come before tables where nothing else decides: what evaluates them (a column that is
    // added with a checked default) may run bodies that mention others.
    let place = |kind: &str| if matches!(kind, "function" | "procedure") { 2 * weight("table") - 1 } else { 2 * weight(kind) };
    let own = place(&op.id.kind);
    let top: Vec<_> = op.id.path.iter().take(2).cloned().collect();
    let top_weight = if op.id.path.len() > 2 && !op.id.is_routine() { place("table") } else { own };
    if op.teardown {
        (op.stage, 1, usize::MAX - top_weight, top, usize::MAX - own, op.id.clone(), at)
    } else {
        (op.stage, 0, top_weight, top, own, op.id.clone(), at)
    }
}

fn raise_stages(ops: &mut [Op], next: &[Vec<usize>], waits: &[usize]) -> Result<(), Cycle> {
    loop {
        let mut waits = waits.to_vec();
        let mut ready: Vec<usize> = (0..ops.len()).filter(|at| waits[*at] == 0).collect();
        let mut changed = false;
        while let Some(at) = ready.pop() {
            for later in &next[at] {
                if ops[*later].stage < ops[at].stage {
                    ops[*later].stage = ops[at].stage;
                    changed = true;
                }
                waits[*later] -= 1;
                if waits[*later] == 0 {
                    ready.push(*later);
                }
            }
        }
        // One transaction lies in one stage.
        let mut stages: BTreeMap<usize, StageName> = BTreeMap::new();
        for op in ops.iter() {
            if let Some(group) = op.group {
                let stage = stages.entry(group).or_insert(op.stage);
                *stage = (*stage).max(op.stage);
            }
        }
        for op in ops.iter_mut() {
            if let Some(stage) = op.group.and_then(|group| stages.get(&group)).filter(|stage| **stage != op.stage) {
                op.stage = *stage;
                changed = true;
            }
        }
        if !changed {
            return Ok(());
        }
    }
}

/// A picture of one ring.
fn ring(draft: &Draft, next: &[Vec<usize>], waits: &[usize]) -> Cycle {
    let stuck: BTreeSet<usize> = (0..draft.ops.len()).filter(|at| waits[*at] > 0).collect();
    // Walk backwards from any stuck operation: what it waits for is stuck as well.
    let mut seen = Vec::new();
    let mut at = stuck.iter().next().copied().unwrap_or(0);
    while !seen.contains(&at) {
        seen.push(at);
        at = stuck.iter().copied().find(|earlier| next[*earlier].contains(&at)).unwrap_or(at);
    }
    let start = seen.iter().position(|other| *other == at).unwrap_or(0);
    let mut picture = String::new();
    for at in seen[start..].iter().rev() {
        let _ = writeln!(picture, "  {} ({})", draft.ops[*at].action.title, draft.ops[*at].recipe);
    }
    Cycle(picture)
}
