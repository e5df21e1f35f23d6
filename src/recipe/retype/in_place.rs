//! A change of type that leaves the rows as they are, but not what stands on the column: the server verifies a CHECK that
//! names it once more, under ACCESS EXCLUSIVE (measured). The CHECK goes and comes again, unvalidated, in the same
//! transaction, and is proven beside the traffic. A foreign key locks the table on its other side.

use std::collections::{BTreeMap, BTreeSet};

use super::way;
use crate::catalog::Id;
use crate::kind::check::Check;
use crate::kind::column::Column;
use crate::kind::comment::Comment;
use crate::kind::foreign_key::ForeignKey;
use crate::kind::table::Table;
use crate::kind::{Kind as _, Object};
use crate::plan::change::{Change, Changes};
use crate::plan::draft::{Context, Draft, Op, name_blocking};
use crate::plan::op::{Action, Cost, Hazard, LockMode};
use crate::plan::plan::{BEGIN, COMMIT, StageName};
use crate::recipe::{index, plain, undo};

const RECIPE: &str = "alter";

/// Takes the columns that are left to change where they are, with their checks.
pub(super) fn apply(cx: &Context<'_>, changes: &mut Changes, draft: &mut Draft) {
    let mut tables: BTreeMap<Id, Vec<Id>> = BTreeMap::new();
    for (id, change) in changes.iter_mut().filter(|(id, _)| id.kind == Column::KEYWORD) {
        let Change::Alter(actions) = change else { continue };
        let Some(action) = actions.iter_mut().find(|action| action.title.starts_with("Change the type")) else { continue };
        for other in across(cx, id) {
            *action = std::mem::take(action).lock(&other, LockMode::AccessExclusive, Cost::Instant);
        }
        // What writes or builds anyway looks at every row anyway.
        if action.locks.iter().all(|lock| lock.cost == Cost::Instant) && !tightens(cx, id) {
            tables.entry(id.up("table")).or_default().push(id.clone());
        }
    }
    for (table, columns) in tables {
        if cx.is_small(&table) || columns.iter().any(|id| plain::follows_parent(cx, changes, id)) {
            continue;
        }
        let found: BTreeSet<&Id> = columns.iter().flat_map(|id| cx.live.dependants(id)).collect();
        let checks: Vec<(&Check, &Check)> = found
            .into_iter()
            .filter_map(|id| Some((cx.live.get_as::<Check>(id)?, cx.desired.get_as::<Check>(id)?)))
            .filter(|(old, _)| old.table == table && !old.not_valid)
            .collect();
        if checks.is_empty() {
            continue;
        }
        let beside = |id: &&Id| matches!(changes.get(*id), Some(Change::Replace)) && !checks.iter().any(|(old, _)| old.id() == **id);
        let mut dependants = columns.iter().flat_map(|id| cx.live.dependants(id));
        // What goes and comes again in one transaction with the column stays together with it.
        let together = dependants.any(|id| beside(&id)) || checks.iter().any(|(_, new)| !is_settled(cx, changes, draft, &columns, new));
        let partitioned = cx.live.get_as::<Table>(&table).is_some_and(|table| table.partition_by.is_some());
        if partitioned || together || checks.iter().any(|(old, _)| plain::must_go_first(cx, changes, &old.id()).is_some()) {
            reads(cx, &table, &columns, changes);
            continue;
        }
        put(cx, &table, &columns, &checks, changes, draft);
    }
}

/// Whether a check speaks only of columns that stay as they are, or change here, and no other recipe has it.
fn is_settled(cx: &Context<'_>, changes: &Changes, draft: &Draft, columns: &[Id], check: &Check) -> bool {
    let id = check.id();
    let needs = cx.desired.get(&id).map(|object| cx.desired.all_needs(object)).unwrap_or_default();
    let stays = |need: &Id| columns.contains(need) || cx.live.contains(need) && !changes.contains_key(need);
    !draft.first.contains_key(&id) && needs.iter().filter(|need| need.kind == Column::KEYWORD).all(stays)
}

/// Says that every row is read.
fn reads(cx: &Context<'_>, table: &Id, columns: &[Id], changes: &mut Changes) {
    for id in columns {
        let Some(Change::Alter(actions)) = changes.get_mut(id) else { continue };
        for action in actions.iter_mut().filter(|action| action.title.starts_with("Change the type")) {
            action.locks.iter_mut().for_each(|lock| lock.cost = Cost::Scan);
            *action = name_blocking(std::mem::take(action), table, cx.facts.rows(table));
        }
    }
}

/// The tables on the other sides of foreign keys over a column.
fn across(cx: &Context<'_>, column: &Id) -> BTreeSet<Id> {
    let keys = cx.live.dependants(column).filter(|id| cx.desired.contains(id)).filter_map(|id| cx.live.get_as::<ForeignKey>(id));
    keys.flat_map(|key| [key.table.clone(), key.references.clone()]).filter(|table| *table != column.up("table")).collect()
}

/// Whether it becomes NOT NULL as well, which has a recipe of its own.
fn tightens(cx: &Context<'_>, id: &Id) -> bool {
    let not_null = |state: &crate::catalog::Catalog| state.get_as::<Column>(id).is_some_and(|column| column.not_null);
    not_null(cx.desired) && !not_null(cx.live)
}

fn put(cx: &Context<'_>, table: &Id, columns: &[Id], checks: &[(&Check, &Check)], changes: &mut Changes, draft: &mut Draft) {
    let mut sql: Vec<String> = checks.iter().flat_map(|(old, _)| old.drop().sql).collect();
    let mut comes_back = true;
    let (mut back, mut titles, mut hazards, mut locks) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for id in columns {
        let Some(Change::Alter(actions)) = changes.shift_remove(id) else { continue };
        for action in actions {
            let title = if titles.is_empty() { action.title } else { action.title.replacen("Change", "change", 1) };
            titles.push(title);
            hazards.extend(action.hazards.into_iter().filter(|(hazard, _)| *hazard != Hazard::Blocking));
            locks.extend(action.locks);
            sql.extend(action.sql);
        }
        if let Some((new, old)) = cx.desired.get_as::<Column>(id).zip(cx.live.get_as::<Column>(id)) {
            match way::back(cx, new, old) {
                Some(sql) => back.extend(sql),
                None => comes_back = false,
            }
            let collation = |state: &crate::catalog::Catalog| state.get_as::<Column>(id).and_then(|column| column.collation.clone());
            if collation(cx.live) != collation(cx.desired) {
                back.extend(undo::collated_again(cx, id));
            }
        }
    }
    sql.extend(columns.iter().flat_map(|id| index::targets_again(cx, id)));
    back.extend(columns.iter().flat_map(|id| index::targets_back(cx, id)));
    sql.extend(checks.iter().flat_map(|(_, new)| new.add_not_valid().sql));
    // A comment goes with its constraint.
    let comments: Vec<&Object> = checks.iter().filter_map(|(_, new)| cx.desired.get(&new.id().satellite(Comment::KEYWORD, None))).collect();
    for comment in &comments {
        changes.shift_remove(&comment.id());
    }
    sql.extend(comments.iter().flat_map(|comment| comment.create().sql));
    let mut undo: Vec<String> = checks.iter().flat_map(|(_, new)| new.drop().sql).collect();
    undo.extend(back);
    undo.extend(checks.iter().flat_map(|(old, _)| old.add_not_valid().sql));
    undo.extend(checks.iter().flat_map(|(old, _)| undo::hanging(cx, &old.id())));
    for (old, _) in checks {
        undo.extend([COMMIT.to_owned(), BEGIN.to_owned()]);
        undo.extend(old.validate().sql);
    }
    let mut action = Action::new(titles.join(", and "));
    action.sql = sql;
    action.hazards = hazards;
    action.locks = locks;
    let about = columns[0].clone();
    let mut op = Op::new(&about, action.lock(table, LockMode::AccessExclusive, Cost::Instant), StageName::Expand, RECIPE);
    op.undo = comes_back.then_some(undo);
    op.irreversible = !comes_back;
    for object in columns.iter().filter_map(|id| cx.desired.get(id)) {
        op = op.puts(object.clone());
    }
    for comment in comments {
        op = op.puts(comment.clone());
    }
    for (_, new) in checks {
        op = op.puts(Check { not_valid: true, ..(*new).clone() });
    }
    let at = draft.push(op);
    for id in columns {
        draft.first.insert(id.clone(), at);
        draft.ready.insert(id.clone(), at);
    }
    for (_, new) in checks {
        let id = new.id();
        changes.shift_remove(&id);
        let proof = Op::new(&id, new.validate(), StageName::Backfill, RECIPE).undo(Vec::new()).puts((*new).clone());
        let ready = if new.not_valid { at } else { draft.push(proof) };
        draft.order(at, ready);
        draft.first.insert(id.clone(), at);
        draft.ready.insert(id, ready);
    }
}
