//! A table that is divided otherwise: a plain one gets partitions, a partitioned one others or none. Its new form is
//! made beside it, filled beside the traffic and kept in step; then it takes the table's place in one short transaction.
//! The old form is kept in step until contract, so that the switch can be undone.
//!
//! A small table is copied in that one transaction. What cannot be carried over is said by name, and the table is
//! dropped and made anew, which has a hazard of its own.

mod attach;
mod beside;
mod followers;
mod strict;
mod switch;
mod sync;
mod tree;

use std::collections::BTreeSet;

use super::backfill;
use super::sync::take_if_there;
use crate::catalog::Id;
use crate::catalog::id::{quote, quoted_list};
use crate::kind::Kind as _;
use crate::kind::table::Table;
use crate::plan::change::{Change, Changes};
use crate::plan::draft::{Context, Draft, Op};
use crate::plan::op::{Action, Cost, Hazard, LockMode};
use crate::plan::plan::{Backfill, Copying, StageName};
use attach::Attach;
pub use attach::becomes_part;
use sync::{Side, Sync};
use tree::{Keys, Tree};

const RECIPE: &str = "repartition-table";

/// Whether an operation belongs to one of these recipes.
#[must_use]
pub fn owns(op: &Op) -> bool {
    [RECIPE, attach::RECIPE].contains(&op.recipe)
}

/// Takes the tables whose division changes; says of the others why they are dropped.
pub fn apply(cx: &Context<'_>, changes: &mut Changes, draft: &mut Draft) {
    let divided = |id: &Id| {
        let key = |state: &crate::catalog::Catalog| state.get_as::<Table>(id).map(|table| table.partition_by.clone());
        cx.persists(id) && key(cx.live) != key(cx.desired)
    };
    let roots: Vec<Id> = changes
        .iter()
        .filter(|(id, change)| id.kind == Table::KEYWORD && **change == Change::Replace && divided(id))
        .map(|(id, _)| id.clone())
        .collect();
    for root in roots {
        let small = cx.is_small(&root);
        let attached = if small { None } else { Attach::of(cx, changes, &root) };
        let attached = attached.map(|planned| {
            planned.and_then(|attach| {
                let ops = attach.ops(cx)?;
                Ok((attach.tree, ops))
            })
        });
        let copied = || {
            let tree = Tree::of(cx, changes, &root, !small)?;
            let creation = tree.creation(cx, &tree.new, &[tree.schema_new(), tree.schema_old()])?;
            let ops = match &tree.keys {
                Some(keys) => staged(cx, &tree, keys, creation),
                None => at_once(cx, &tree, creation),
            };
            Ok((tree, ops))
        };
        let said = cx.hints.renames.iter().any(|(new, old)| *old == root && becomes_part(cx.desired, old, new));
        let (attached, why) = match attached {
            Some(Ok(planned)) => (Some(planned), None),
            Some(Err(reason)) => (None, Some(reason).filter(|_| said)),
            None => (None, None),
        };
        match attached.map_or_else(copied, Ok) {
            Ok((tree, mut ops)) => {
                if let (Some(why), Some(first)) = (why, ops.0.first_mut()) {
                    first.action.title = format!("{}, for it cannot become a partition itself: {why}", first.action.title);
                }
                put(cx, &tree, ops, changes, draft);
            }
            Err(reason) => {
                let reason: String = reason;
                draft.refused.insert(root, reason);
            }
        }
    }
}

fn put(cx: &Context<'_>, tree: &Tree<'_>, (ops, switch): (Vec<Op>, usize), changes: &mut Changes, draft: &mut Draft) {
    let has_end = ops.last().is_some_and(|op| op.stage == StageName::Contract);
    let own = tree.own(cx);
    let indexes: Vec<usize> = ops.into_iter().map(|op| draft.push(op)).collect();
    for pair in indexes.windows(2) {
        draft.order(pair[0], pair[1]);
    }
    let (first, switch, last) = (indexes[0], indexes[switch], indexes[indexes.len() - 1]);
    // What the new form is made of is there before it is.
    let made = tree::objects(cx.desired, &tree.new).map(|object| (object, first));
    let after = tree.after.iter().filter_map(|id| cx.desired.get(id)).map(|object| (object, switch));
    let needs: BTreeSet<(Id, usize)> =
        made.chain(after).flat_map(|(object, at)| cx.desired.all_needs(object).into_iter().map(move |need| (need, at))).collect();
    draft.follow_ups.extend(needs.into_iter().filter(|(need, _)| !own.contains(need)));
    for id in own {
        changes.shift_remove(&id);
        if cx.desired.contains(&id) {
            draft.first.insert(id.clone(), switch);
            draft.ready.insert(id, switch);
        } else {
            draft.silent.push(id);
        }
    }
    if has_end {
        draft.gone.insert(tree.root.clone(), last);
    }
}

/// Beside the traffic; the operations, and which of them is the switch.
fn staged(cx: &Context<'_>, tree: &Tree<'_>, keys: &Keys, creation: Vec<String>) -> (Vec<Op>, usize) {
    let mut ops = vec![expand(cx, tree, keys, creation), fill(cx, tree, keys), statistics(tree, true)];
    let switch = ops.len();
    let mut action = tree.held(cx, Action::new(format!("Let the new form of {} take its place", tree.root)));
    action.sql = tree.switch_sql(cx, Vec::new());
    if keys.old.len() < keys.new.len() {
        let columns = keys.old.join(", ");
        action = action.hazard(
            Hazard::Breaking,
            format!("{}: a second row of one ({columns}) is refused until contract, the old form holds one of each", tree.root),
        );
    }
    let op = Op::new(&tree.root, action, StageName::Switch, RECIPE).undo([tree.undo_sql(cx, Vec::new()), tree.proven_again()].concat());
    let mut op = tree.effects(cx, op);
    for id in Sync::of(tree, keys, Side::Old).helpers {
        op = op.removes(&id);
    }
    for id in tree.new.iter().map(|table| tree.made(table)) {
        op = op.removes(&id);
    }
    for id in Sync::of(tree, keys, Side::New).helpers.into_iter().chain(tree.old.iter().map(|table| tree.aside(table))) {
        op = op.puts_temporary(&id);
    }
    ops.push(op);
    ops.extend(tree.validations(cx));
    ops.extend(tree.contract(cx));
    (ops, switch)
}

/// In one transaction; the old form waits for its end untouched, and takes the rows back when that is undone.
fn at_once(cx: &Context<'_>, tree: &Tree<'_>, creation: Vec<String>) -> (Vec<Op>, usize) {
    let list = quoted_list(tree.copied());
    let copy =
        |from: &Id, into: &Id| format!("INSERT INTO {} ({list}) OVERRIDING SYSTEM VALUE SELECT {list} FROM {}", into.sql(), from.sql());
    let (made, aside) = (tree.made(&tree.root), tree.aside(&tree.root));
    let mut action = Action::new(format!("Copy {} into its new form, which takes its place", tree.root));
    action = tree.held(cx, action).lock(&tree.root, LockMode::AccessExclusive, Cost::Rewrite);
    action.sql = tree.switch_sql(cx, [creation, vec![copy(&tree.root, &made)]].concat());
    if cx.policy.direct {
        action.sql.extend(tree.end_sql());
    }
    let stage = if cx.policy.direct { StageName::Expand } else { StageName::Switch };
    let mut op = Op::new(&tree.root, action, stage, RECIPE);
    op.violations.extend(tree.unplaced(cx).filter(|_| !cx.policy.direct));
    let mut op = tree.effects(cx, op);
    if cx.policy.direct {
        op.irreversible = true;
        let mut ops = vec![op];
        ops.extend(tree.validations(cx));
        return (ops, 0);
    }
    let back = vec![format!("TRUNCATE {}", aside.sql()), copy(&tree.root, &aside)];
    let schemas = [tree.schema_new(), tree.schema_old()];
    let mut undo = tree.undo_sql(cx, back);
    undo.push(format!("DROP TABLE {}", made.sql()));
    undo.extend(schemas.iter().map(|schema| format!("DROP SCHEMA {}", quote(schema))));
    undo.extend(tree.proven_again());
    op = op.undo(undo);
    for id in schemas.map(|schema| Id::new("schema", [schema])).into_iter().chain(tree.old.iter().map(|table| tree.aside(table))) {
        op = op.puts_temporary(&id);
    }
    let mut ops = vec![op];
    ops.extend(tree.validations(cx));
    ops.push(statistics(tree, false));
    ops.extend(tree.contract(cx));
    (ops, 0)
}

/// The new form without rows, and the triggers that write to it.
fn expand(cx: &Context<'_>, tree: &Tree<'_>, keys: &Keys, creation: Vec<String>) -> Op {
    let sync = Sync::of(tree, keys, Side::Old);
    let mut action = Action::new(format!("Make the new form of {} beside it, and keep it in step", tree.root));
    for table in &tree.old {
        action = action.lock(table, LockMode::ShareRowExclusive, Cost::Instant);
    }
    for table in tree.referenced(cx) {
        action = action.lock(table, LockMode::ShareRowExclusive, Cost::Instant);
    }
    action.sql = [creation, sync.make].concat();
    let unplaced = tree.unplaced(cx);
    if unplaced.is_some() {
        action = action.hazard(Hazard::Breaking, format!("{}: a row that finds no partition is refused from the first step on", tree.root));
    }
    let made = format!("DROP TABLE {}", tree.made(&tree.root).sql());
    let schemas = [tree.schema_new(), tree.schema_old()];
    let gone = schemas.iter().map(|schema| format!("DROP SCHEMA {}", quote(schema)));
    let undo = take_if_there(&sync.take).into_iter().chain([made]).chain(gone).collect();
    let mut op = Op::new(&tree.root, action, StageName::Expand, RECIPE).undo(undo);
    op.violations.extend(unplaced);
    let helpers = schemas.iter().map(|schema| Id::new("schema", [schema.clone()])).chain(sync.helpers).chain(tree.helper_index());
    for id in helpers.chain(tree.new.iter().map(|table| tree.made(table))) {
        op = op.puts_temporary(&id);
    }
    op
}

/// The rows, in batches along the old form's key; then both are compared.
fn fill(cx: &Context<'_>, tree: &Tree<'_>, keys: &Keys) -> Op {
    let root = &tree.root;
    let made = tree.made(root);
    let action = Action::new(format!("Copy the rows of {root} into its new form, and compare")).lock(root, LockMode::RowShare, Cost::Scan);
    let mut op = Op::new(root, action, StageName::Backfill, RECIPE).verify(tree.compare(&made), "same").undo(Vec::new());
    op.backfill = Some(Backfill {
        table: root.clone(),
        key: keys.old.clone(),
        set: String::new(),
        filter: "true".to_owned(),
        settings: vec![("search_path".to_owned(), backfill::search_path(root))],
        rows: cx.facts.rows(root),
        copy: Some(Box::new(Copying { into: made, columns: tree.copied(), from: Vec::new(), unique: keys.new.clone() })),
    });
    op
}

/// The server knows nothing of a new table before it was looked at: plans of queries would go wrong with the switch.
fn statistics(tree: &Tree<'_>, beside: bool) -> Op {
    let table = if beside { tree.made(&tree.root) } else { tree.root.clone() };
    let mut action = Action::new(format!("Gather statistics of the new form of {}", tree.root)).sql(format!("ANALYZE {}", table.sql()));
    if !beside {
        action = action.lock(&tree.root, LockMode::ShareUpdateExclusive, Cost::Scan);
    }
    let stage = if beside { StageName::Backfill } else { StageName::Switch };
    Op::new(&tree.root, action, stage, RECIPE).undo(Vec::new())
}
