//! SET NOT NULL on a column that is in use (safe-changes.md, Columns).

use super::{backfill, types};
use crate::catalog::Id;
use crate::catalog::id::quote;
use crate::kind::Kind as _;
use crate::kind::column::Column;
use crate::kind::default::Default;
use crate::plan::change::{Change, Changes};
use crate::plan::draft::{Context, Draft, Op};
use crate::plan::op::{Action, Cost, LockMode};
use crate::plan::plan::StageName;

pub(super) const RECIPE: &str = "set-not-null";

/// Takes the NOT NULL part of altered columns; the rest of their alteration stays for [`super::plain`].
pub fn apply(cx: &Context<'_>, changes: &mut Changes, draft: &mut Draft) {
    let ids: Vec<Id> = changes
        .iter()
        .filter(|(id, change)| id.kind == Column::KEYWORD && matches!(change, Change::Alter(_)))
        .map(|(id, _)| id.clone())
        .collect();
    for id in ids {
        let (Some(old), Some(new)) = (cx.live.get_as::<Column>(&id), cx.desired.get_as::<Column>(&id)) else { continue };
        if old.not_null
            || !new.not_null
            || super::plain::follows_parent(cx, changes, &id)
            || cx.policy.direct && !cx.hints.backfills.contains_key(&id)
        {
            continue;
        }
        let Some(Change::Alter(actions)) = changes.get_mut(&id) else { continue };
        let own: Vec<Vec<String>> = new.alter_not_null(old).into_iter().map(|action| action.sql).collect();
        let before: Vec<Action> = actions.iter().filter(|action| !own.contains(&action.sql)).cloned().collect();
        // An identity column is NOT NULL before it can be one: that comes after.
        let (late, early): (Vec<Action>, Vec<Action>) =
            before.into_iter().partition(|action| action.sql.iter().any(|sql| sql.contains(" ADD GENERATED ")));
        let nullable = Column { not_null: false, constraint: old.constraint.clone(), identity: old.identity.clone(), ..new.clone() };
        let mut ops: Vec<Op> = super::plain::alterations(cx, &id, early, &nullable.clone().into());
        super::plain::together(&mut ops, draft);
        let filled = fill(cx, new, &mut ops);
        // One that is not validated refuses NULL already.
        let stage = if filled || old.constraint.not_valid { StageName::Switch } else { StageName::Contract };
        let proven = Column { identity: old.identity.clone(), ..new.clone() };
        let contract = ops.iter().position(|op| op.stage == StageName::Contract).map(|at| ops.remove(at));
        ops.extend(backfill::set_not_null(cx, &proven, stage, RECIPE));
        ops.extend(super::plain::alterations(cx, &id, late, &new.clone().into()));
        let last = ops.len() - 1;
        ops.extend(contract);
        let indexes = draft.chain(&id, ops);
        draft.not_null.insert(id.clone(), indexes[last]);
        draft.ready.insert(id.clone(), indexes[last]);
        changes.shift_remove(&id);
    }
}

/// The fill trigger and the backfill, where there is something to fill with.
fn fill(cx: &Context<'_>, column: &Column, ops: &mut Vec<Op>) -> bool {
    let id = column.id();
    let default = cx.desired.get_as::<Default>(&Default::id_of(&id)).map(|default| &default.expression);
    let Some(expression) = cx.hints.backfills.get(&id).or(default) else { return false };
    if !cx.policy.direct {
        let (make, take, trigger) = backfill::fill_trigger(cx, column, expression);
        let lock = |action: Action, mode| action.lock(&column.table, mode, Cost::Instant);
        let title = format!("Let {id} be filled where a client leaves it NULL");
        let action = Action { sql: make.clone(), ..lock(Action::new(title), LockMode::ShareRowExclusive) };
        ops.push(
            Op::new(&id, action, StageName::Expand, RECIPE)
                .undo(super::sync::take_if_there(&take))
                .puts_temporary(&trigger[0])
                .puts_temporary(&trigger[1]),
        );
        let title = format!("Stop filling {id}: every client gives it now");
        let action = Action { sql: take, ..lock(Action::new(title), LockMode::AccessExclusive) };
        let mut stop = Op::new(&id, action, StageName::Contract, RECIPE).undo(make).removes(&trigger[0]).removes(&trigger[1]);
        stop.teardown = true;
        ops.push(stop);
    }
    let filter = types::is_null(cx, column, &quote(&column.name));
    let mut fill = backfill::fill(cx, column, &format!("({expression})"), &filter, RECIPE, Vec::new()).undo(Vec::new());
    // The way back leaves the values where they are.
    fill.action = fill.action.loses(format!("which rows were NULL in {id}"));
    ops.push(fill);
    true
}
