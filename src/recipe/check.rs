//! CHECK constraints of tables that are in use: added NOT VALID, validated in a transaction of its
//! own (both in one keep ACCESS EXCLUSIVE, safe-changes.md).

use super::{names, plain, undo};
use crate::catalog::Id;
use crate::kind::Kind as _;
use crate::kind::check::Check;
use crate::plan::change::{Change, Changes};
use crate::plan::draft::{Context, Draft, Op, drop};
use crate::plan::plan::StageName;

const RECIPE: &str = "check";

/// Takes every check of a large table that is made or made again.
pub fn apply(cx: &Context<'_>, changes: &mut Changes, draft: &mut Draft) {
    let ids: Vec<Id> = changes
        .iter()
        .filter(|(id, change)| id.kind == Check::KEYWORD && matches!(change, Change::Create | Change::Replace))
        .map(|(id, _)| id.clone())
        .collect();
    for id in ids {
        let Some(check) = cx.desired.get_as::<Check>(&id) else { continue };
        if !cx.persists(&check.table)
            || changes.get(&check.table) == Some(&Change::Replace)
            || cx.is_small(&check.table)
            || plain::follows_parent(cx, changes, &id)
        {
            continue;
        }
        let forced = plain::must_go_first(cx, changes, &id);
        if changes.shift_remove(&id) == Some(Change::Replace) {
            match forced {
                Some(stage) => remake(cx, check, stage, draft),
                None => replace(cx, check, draft),
            }
            continue;
        }
        let mut ops = vec![
            Op::new(&id, check.add_not_valid(), StageName::Expand, RECIPE)
                .undo(check.drop().sql)
                .puts(Check { not_valid: true, ..check.clone() }),
        ];
        if !check.not_valid {
            ops.push(Op::new(&id, check.validate(), StageName::Backfill, RECIPE).puts(check.clone()));
        }
        draft.chain(&id, ops);
    }
}

/// What it calls is made again, so the old one goes before that and the new one comes after it.
fn remake(cx: &Context<'_>, check: &Check, stage: StageName, draft: &mut Draft) {
    let id = check.id();
    let Some(old) = cx.live.get(&id) else { return };
    let mut away = drop(old, stage);
    away.teardown = false;
    let mut ops = vec![
        away,
        Op::new(&id, check.add_not_valid(), stage, RECIPE).undo(check.drop().sql).puts(Check { not_valid: true, ..check.clone() }),
    ];
    if !check.not_valid {
        ops.push(Op::new(&id, check.validate(), StageName::Backfill, RECIPE).puts(check.clone()));
    }
    let indexes = draft.chain(&id, ops);
    draft.gone.insert(id.clone(), indexes[0]);
    draft.making.insert(id, indexes[1]);
}

/// The new one under another name, proven; then the old one goes and the new one takes its name.
pub(super) fn replace(cx: &Context<'_>, check: &Check, draft: &mut Draft) {
    let id = check.id();
    let beside = Check { name: names::of_constraint(cx, &id, "_new"), ..check.clone() };
    let beside_id = beside.id();
    let Some(old) = cx.live.get(&id) else { return };
    let mut ops = vec![Op::new(&id, beside.add_not_valid(), StageName::Expand, RECIPE).undo(beside.drop().sql).puts_temporary(&beside_id)];
    if !check.not_valid {
        ops.push(Op::new(&id, beside.validate(), StageName::Backfill, RECIPE));
    }
    let mut switch = drop(old, StageName::Switch).action;
    switch.title = format!("Put the new {id} in the old one's place");
    switch.sql.extend(Check::rename(&beside_id, &id).unwrap_or_default().sql);
    let aside = Check::rename(&id, &beside_id).unwrap_or_default().sql;
    ops.push(
        Op::new(&id, switch, StageName::Switch, RECIPE)
            .removes(&beside_id)
            .puts(check.clone())
            .undo([aside, undo::remake(cx, old)].concat()),
    );
    let indexes = draft.chain(&id, ops);
    draft.gone.insert(id, indexes[indexes.len() - 1]);
}
