//! Routines with SQL bodies that say INSERT … ON CONFLICT DO UPDATE and speak of EXCLUDED: PostgreSQL records that they
//! need every column of the table, whichever they name (measured: "cannot drop column … because other objects depend on
//! it"). Such a column goes while they are not there: they are taken away and made again in the transaction that drops it.

use std::collections::BTreeSet;

use super::retype::followers::{Followers, ordered};
use crate::catalog::closure::mentions_word;
use crate::catalog::{Catalog, Id, Indexed};
use crate::kind::column::{Column, columns_of};
use crate::kind::function::Function;
use crate::kind::materialized_view::MaterializedView;
use crate::kind::procedure::Procedure;
use crate::kind::{Kind as _, Object};
use crate::plan::draft::{Context, Draft, Effect, Op, name_blocking};
use crate::plan::op::{Action, Cost, LockMode};
use crate::plan::plan::StageName;

const RECIPE: &str = "excluded";

/// The kinds that use a routine and can be made again.
const USERS: [&str; 7] = ["view", "materialized-view", "function", "procedure", "rule", "policy", "trigger"];

/// The tables of which a routine needs every column, by EXCLUDED.
#[must_use]
pub fn tables(state: &Catalog, id: &Id) -> Vec<Id> {
    let is_routine = matches!(id.kind.as_str(), "function" | "procedure");
    if !is_routine || !state.get(id).is_some_and(|object| mentions_word(object, "excluded")) {
        return Vec::new();
    }
    let Some(needs) = state.needs.get(id) else { return Vec::new() };
    let tables: BTreeSet<Id> = needs.iter().filter(|need| need.kind == Column::KEYWORD).map(|need| need.up("table")).collect();
    tables.into_iter().filter(|table| columns_of(state, table).all(|column| needs.contains(&column.id()))).collect()
}

/// The routines that speak of it, each with the tables of which it needs every column.
fn speaking(state: &Indexed<'_>) -> Vec<(Id, Vec<Id>)> {
    let routines = state.of::<Function>().map(Function::id).chain(state.of::<Procedure>().map(Procedure::id));
    routines.map(|id| (tables(state, &id), id)).filter(|(tables, _)| !tables.is_empty()).map(|(tables, id)| (id, tables)).collect()
}

/// Puts such routines around the end of columns.
pub fn make_way(cx: &Context<'_>, draft: &mut Draft) {
    let (mut altered, mut altered_ends): (Vec<Id>, Vec<usize>) = (Vec::new(), Vec::new());
    for (id, tables) in speaking(cx.desired) {
        let (id, Some(routine)) = (&id, cx.desired.get(&id)) else { continue };
        let ends: Vec<usize> = tables.iter().flat_map(|table| dropping(draft, table)).collect();
        if ends.is_empty() {
            continue;
        }
        let again = draft.gone.get(id).copied().zip(draft.making.get(id).copied());
        let again = again.filter(|_| cx.live.get(id) == Some(routine) && !is_forced(cx, draft, routine));
        if let Some((away, back)) = again {
            // It would go and come before, to need the column once more.
            enclose(draft, away, &ends, back);
        } else {
            altered.push(id.clone());
            altered_ends.extend(ends);
        }
    }
    if !altered.is_empty() {
        let (away, back) = around(cx, draft, &altered);
        enclose(draft, away, &altered_ends, back);
    }
}

/// Puts operations between two others, all in one transaction.
fn enclose(draft: &mut Draft, away: usize, ends: &[usize], back: usize) {
    let group = draft.ops[away].group.unwrap_or_else(|| draft.group());
    for at in ends.iter().copied().chain([away, back]) {
        join(draft, at, group);
    }
    for end in ends {
        draft.order(away, *end);
        draft.order(*end, back);
    }
}

/// The same for the way back of an operation that adds a column: one that came later has its old body again by then, which
/// was written while the column was there.
pub fn make_way_back(cx: &Context<'_>, draft: &mut Draft, order: &[usize]) {
    for (id, tables) in speaking(cx.live) {
        let touches = |op: &Op| {
            op.effects.iter().any(|effect| match effect {
                Effect::Put(object) => object.id() == id,
                Effect::Remove(gone) => *gone == id,
                Effect::PutTemporary(_) => false,
            })
        };
        let Some(last) = order.iter().rposition(|at| touches(&draft.ops[*at])) else { continue };
        for at in &order[..last] {
            let Some(undo) = &mut draft.ops[*at].undo else { continue };
            let drops: Vec<usize> = (0..undo.len()).filter(|at| tables.iter().any(|table| drops_column(&undo[*at], table))).collect();
            if let (Some(first), Some(last)) = (drops.first(), drops.last()) {
                let (gone, made) = statements(cx.live, &ordered(cx.live, &standing(cx.live, std::slice::from_ref(&id))));
                undo.splice((last + 1)..=*last, made);
                undo.splice(*first..*first, gone);
            }
        }
    }
}

/// The operations that drop a column of a table.
fn dropping(draft: &Draft, table: &Id) -> Vec<usize> {
    let drops = |op: &Op| op.action.sql.iter().any(|sql| drops_column(sql, table));
    (0..draft.ops.len()).filter(|at| drops(&draft.ops[*at])).collect()
}

fn drops_column(sql: &str, table: &Id) -> bool {
    sql.starts_with(&format!("ALTER TABLE {} DROP COLUMN ", table.sql()))
}

/// Whether something else beneath it is made again, which it has to go for.
fn is_forced(cx: &Context<'_>, draft: &Draft, routine: &Object) -> bool {
    cx.live.all_needs(routine).iter().any(|need| draft.making.contains_key(need))
}

/// Takes routines as they are wanted away, with what uses them and what hangs on all of that, and makes them again.
fn around(cx: &Context<'_>, draft: &mut Draft, routines: &[Id]) -> (usize, usize) {
    let all = ordered(cx.desired, &standing(cx.desired, routines));
    let objects: Vec<&Object> = all.iter().filter_map(|id| cx.desired.get(id)).collect();
    let (gone, made) = statements(cx.desired, &all);
    let id = &routines[0];
    let names = routines.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let mut action = Action { sql: made.clone(), ..Action::new(format!("Make {names} again")) };
    for view in objects.iter().map(|object| object.id()).filter(|id| id.kind == MaterializedView::KEYWORD) {
        action = name_blocking(action.lock(&view, LockMode::AccessExclusive, Cost::Build), &view, cx.facts.rows(&view));
    }
    let ready: Vec<usize> = all.iter().filter_map(|id| draft.ready.get(id).copied()).collect();
    let title = Action::new(format!("Take {names} away for a moment"));
    let away = Op::new(id, Action { sql: gone.clone(), ..title }, StageName::Expand, RECIPE).undo(made);
    let away = draft.push(all.iter().fold(away, Op::removes));
    let back = Op::new(id, action, StageName::Expand, RECIPE).undo(gone);
    let back = draft.push(objects.into_iter().fold(back, |op, object| op.puts(object.clone())));
    for at in ready {
        draft.order(at, away);
    }
    (away, back)
}

/// What takes these objects away, and what makes them.
fn statements(state: &Indexed<'_>, all: &[Id]) -> (Vec<String>, Vec<String>) {
    let (early, late) = Followers::drop(state, all);
    let made = all.iter().filter_map(|id| state.get(id)).flat_map(|object| object.create().sql);
    ([early, late].concat(), made.collect())
}

/// The routines, what uses them, and what hangs on all of them.
fn standing(state: &Indexed<'_>, routines: &[Id]) -> BTreeSet<Id> {
    let mut all: BTreeSet<Id> = routines.iter().cloned().collect();
    let mut open = routines.to_vec();
    while let Some(id) = open.pop() {
        let parts = state.parts(&id).into_iter().map(Object::id);
        let users = state.dependants(&id).filter(|user| USERS.contains(&user.kind.as_str())).cloned();
        for next in parts.chain(users).collect::<Vec<_>>() {
            if all.insert(next.clone()) {
                open.push(next);
            }
        }
    }
    all
}

/// Puts an operation, with those of its own group, into another one.
fn join(draft: &mut Draft, at: usize, group: usize) {
    let own = draft.ops[at].group;
    for (other, op) in draft.ops.iter_mut().enumerate() {
        if other == at || own.is_some() && op.group == own {
            op.group = Some(group);
        }
    }
}
