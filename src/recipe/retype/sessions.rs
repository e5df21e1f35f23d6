//! Open sessions that have run a trigger of a table whose column gets another type. PL/pgSQL keeps the plans of a function
//! with the types that the row had ("type of parameter … does not match that when preparing the plan", measured): every
//! later statement of such a session would fail. A function that is put once more is compiled anew.

use std::collections::BTreeSet;

use super::RECIPE;
use crate::catalog::Id;
use crate::catalog::id::{literal, quote};
use crate::kind::column::Column;
use crate::kind::function::Function;
use crate::kind::trigger::Trigger;
use crate::kind::{Kind as _, sql_type};
use crate::plan::draft::{Context, Draft, Effect, Op};
use crate::plan::plan::{COMMIT, StageName};

/// Puts what other recipes made for these tables, and the functions of the tables' own triggers, once more where a type
/// changes.
pub fn put_again(cx: &Context<'_>, draft: &mut Draft) {
    if cx.policy.direct {
        return;
    }
    let mut found: Vec<(usize, BTreeSet<String>)> = Vec::new();
    for (at, op) in draft.ops.iter().enumerate() {
        let swapped = op.recipe == RECIPE && op.stage == StageName::Switch;
        let tables: BTreeSet<Id> = if swapped { aside(op) } else { changed_in_place(cx, op) };
        if tables.is_empty() {
            continue;
        }
        let helping = |other: &&Op| {
            other.recipe != RECIPE && other.stage == StageName::Expand && !other.teardown && triggers(other).any(|on| tables.contains(&on))
        };
        let mut met: BTreeSet<String> = draft.ops.iter().filter(helping).flat_map(functions).collect();
        if !swapped {
            met.extend(tables.iter().flat_map(|table| own(cx, table)));
        }
        found.push((at, met));
    }
    for (at, functions) in found {
        let sql: Vec<String> = functions.iter().map(|function| again(function)).collect();
        let op = &mut draft.ops[at];
        if let Some(undo) = &mut op.undo {
            let end = undo.iter().position(|statement| statement == COMMIT).unwrap_or(undo.len());
            undo.splice(end..end, sql.iter().cloned());
        }
        op.action.sql.extend(sql);
    }
}

/// Where it is there by then, and may be put by who applies the plan.
fn again(function: &str) -> String {
    let met = format!("to_regprocedure({})", literal(function));
    format!(
        "DO $do$ BEGIN\n    IF (SELECT pg_has_role(proowner, 'USAGE') FROM pg_proc WHERE oid = {met}) THEN\n        \
         EXECUTE pg_get_functiondef({met});\n    END IF;\nEND $do$"
    )
}

fn call(schema: &str, name: &str) -> String {
    format!("{}.{}()", quote(schema), quote(name))
}

/// The tables of which columns are set aside.
fn aside(op: &Op) -> BTreeSet<Id> {
    temporary(op).filter(|id| id.kind == Column::KEYWORD).map(|id| id.up("table")).collect()
}

fn temporary(op: &Op) -> impl Iterator<Item = &Id> {
    op.effects.iter().filter_map(|effect| if let Effect::PutTemporary(id) = effect { Some(id) } else { None })
}

fn triggers(op: &Op) -> impl Iterator<Item = Id> {
    temporary(op).filter(|id| id.kind == Trigger::KEYWORD).map(|id| id.up("table"))
}

fn functions(op: &Op) -> impl Iterator<Item = String> {
    temporary(op).filter(|id| id.kind == Function::KEYWORD).map(|id| call(id.schema(), &id.path[1]))
}

/// The table of which a column is given another type where it stands.
fn changed_in_place(cx: &Context<'_>, op: &Op) -> BTreeSet<Id> {
    let other = |id: &Id| {
        let base = |state: &crate::catalog::Catalog| state.get_as::<Column>(id).map(|column| sql_type::base(&column.data_type));
        base(cx.live).zip(base(cx.desired)).is_some_and(|(old, new)| old != new)
    };
    let changes = op.stage == StageName::Expand && op.action.sql.iter().any(|sql| sql.contains(" TYPE "));
    let columns = op.effects.iter().filter_map(|effect| if let Effect::Put(object) = effect { Some(object.id()) } else { None });
    columns.chain([op.id.clone()]).filter(|id| changes && id.kind == Column::KEYWORD && other(id)).map(|id| id.up("table")).collect()
}

/// The functions of a table's own triggers that stay as they are.
fn own(cx: &Context<'_>, table: &Id) -> BTreeSet<String> {
    let triggers = cx.live.within::<Trigger>(table).filter(|trigger| trigger.for_each_row);
    let functions = triggers.map(|trigger| &trigger.execute.function).filter(|function| {
        let kept = cx.live.get(function).zip(cx.desired.get(function)).is_some_and(|(old, new)| old == new);
        kept && cx.live.get_as::<Function>(function).is_some_and(|function| function.routine.language == "plpgsql")
    });
    functions.map(|function| call(function.schema(), &function.path[1])).collect()
}
