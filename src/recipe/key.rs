//! Primary keys and unique constraints of tables that are in use: the index is built beside the
//! traffic, the constraint made out of it in an instant.

use super::{names, partition, partitioned_key, plain, undo};
use crate::catalog::Id;
use crate::catalog::id::{dotted, quote};
use crate::kind::column::Column;
use crate::kind::index::probe_built;
use crate::kind::key::{Deferrable, Key};
use crate::kind::primary_key::PrimaryKey;
use crate::kind::table::Table;
use crate::kind::unique::Unique;
use crate::kind::{Kind as _, Object};
use crate::plan::change::{Change, Changes};
use crate::plan::draft::{Context, Draft, Op, create, drop};
use crate::plan::op::{Action, Cost, Hazard, Lock, LockMode, Transaction};
use crate::plan::plan::StageName;

/// Takes every key of a large table that is made or made again.
pub fn apply(cx: &Context<'_>, changes: &mut Changes, draft: &mut Draft) {
    let ids: Vec<Id> = changes
        .iter()
        .filter(|(id, change)| {
            matches!(id.kind.as_str(), PrimaryKey::KEYWORD | Unique::KEYWORD) && matches!(change, Change::Create | Change::Replace)
        })
        .map(|(id, _)| id.clone())
        .collect();
    for id in ids {
        // It went with the one above.
        if !changes.contains_key(&id) {
            continue;
        }
        let (key, word, nulls) = match cx.desired.get(&id) {
            Some(Object::PrimaryKey(object)) => (&object.key, "PRIMARY KEY", false),
            // USING INDEX takes NULLS NOT DISTINCT from the index.
            Some(Object::Unique(object)) => (&object.key, "UNIQUE", object.nulls_not_distinct),
            _ => continue,
        };
        let partitioned = cx.live.get_as::<Table>(&key.table).is_some_and(|table| table.partition_by.is_some());
        // A foreign key that is made beside its old form stands on the new index before the key is made of it.
        let leant_on = changes.get(&id) == Some(&Change::Replace) && draft.follow_ups.iter().any(|(need, _)| *need == id);
        if !cx.persists(&key.table)
            || changes.get(&key.table) == Some(&Change::Replace)
            || cx.is_small(&key.table) && !leant_on
            || plain::follows_parent_index(cx, changes, draft, &id)
        {
            continue;
        }
        if partitioned {
            if changes.get(&id) == Some(&Change::Replace) && !cx.policy.direct && partitioned_key::replace(cx, &id, changes, draft) {
                continue;
            }
            if let Some(parts) = parts(cx, key, &id).filter(|_| changes.get(&id) == Some(&Change::Create) && !cx.policy.direct) {
                changes.shift_remove(&id);
                let object = cx.desired.get(&id).expect("looked up above");
                above(key, object, &parts, draft);
            }
            continue;
        }
        let replaced = changes.shift_remove(&id) == Some(Change::Replace);
        let object = cx.desired.get(&id).expect("looked up above");
        make(cx, key, object, word, nulls, replaced, draft);
    }
}

/// The keys of all partitions that are to be part of a key of a partitioned table.
fn parts(cx: &Context<'_>, key: &Key, id: &Id) -> Option<Vec<Id>> {
    let of = |object: &Object| match object {
        Object::PrimaryKey(part) => Some(part.key.clone()),
        Object::Unique(part) => Some(part.key.clone()),
        _ => None,
    };
    partition::staying(cx, &key.table)
        .map(|table| {
            let mut parts = cx.desired.parts(table).into_iter().filter(|part| part.id().kind == id.kind);
            parts.find(|object| of(object).is_some_and(|part| part.part_of.as_ref() == Some(&key.name))).map(Object::id)
        })
        .collect()
}

/// The keys of the partitions are made out of indexes that were built beside the traffic; the one above them is made
/// without them, and they are attached to it.
fn above(key: &Key, object: &Object, parts: &[Id], draft: &mut Draft) {
    let id = object.id();
    let mut only = create(object, StageName::Switch);
    only.recipe = "unique-key";
    // A part that is divided itself may be gone by then with the one above it.
    let exists = if key.part_of.is_some() { "IF EXISTS " } else { "" };
    only.undo = Some(vec![format!("ALTER TABLE {} DROP CONSTRAINT {exists}{}", key.table.sql(), quote(&key.name))]);
    only.action.title = format!("Add {id}, without its parts");
    for sql in &mut only.action.sql {
        *sql = sql.replacen("ALTER TABLE ", "ALTER TABLE ONLY ", 1);
    }
    only.action.locks = vec![Lock { relation: dotted(&key.table.path), mode: LockMode::AccessExclusive, cost: Cost::Instant }];
    let mut ops = vec![only];
    ops.extend(parts.iter().map(|part| partition::attach_index(&id, part, "unique-key", StageName::Switch)));
    draft.chain(&id, ops);
}

/// Until the constraint is made of it, its index looks at every row at once.
pub(super) fn strict_until(key: &Key, id: &Id) -> Option<(Hazard, String)> {
    let subject = || format!("{id}: what breaks it for a moment within a transaction is refused until its index becomes the constraint");
    (key.deferrable != Deferrable::No).then(|| (Hazard::Breaking, subject()))
}

fn make(cx: &Context<'_>, key: &Key, object: &Object, word: &str, nulls: bool, replaced: bool, draft: &mut Draft) {
    let id = object.id();
    let temporary = names::of_index(cx, key.table.schema(), &key.name, "_idx");
    let temporary_id = key.table.child("index", &temporary);
    let twin =
        key.columns.iter().any(|name| cx.hints.renames.get(&Column::id_of(&key.table, name)).is_some_and(|old| cx.live.contains(old)));
    let index = format!("{}.{}", quote(key.table.schema()), quote(&temporary));
    let build = Action::new(format!("Build the unique index of {id} concurrently"))
        .sql(key.index_sql(&temporary, nulls))
        .lock(&key.table, LockMode::ShareUpdateExclusive, Cost::Build)
        .transaction(Transaction::Outside)
        .probe(probe_built(key.table.schema(), &temporary), vec![format!("DROP INDEX CONCURRENTLY {index}")]);
    let mut build = Op::new(&id, build, StageName::Backfill, "unique-key")
        .undo(vec![format!("DROP INDEX CONCURRENTLY IF EXISTS {index}")])
        .puts_temporary(&temporary_id);
    if twin {
        // The old column's unique index stands beside it until contract (measured).
        build.action.hazards.push((
            Hazard::UpsertRace,
            format!("{id}: ON CONFLICT on the old name can raise a unique violation under hot keys until contract"),
        ));
    }
    build.action.hazards.extend(strict_until(key, &id));
    if let Some(live) = cx.live.get(&id).filter(|_| replaced && !cx.policy.direct) {
        let old = match live {
            Object::PrimaryKey(old) => &old.key.columns,
            Object::Unique(old) => &old.key.columns,
            _ => &key.columns,
        };
        if old.len() > key.columns.len() && key.columns.iter().all(|name| old.contains(name)) {
            build
                .action
                .hazards
                .push((Hazard::Breaking, format!("{id}: rows that differ only in what leaves the key are refused from the build on")));
        }
    }
    let leaves = replaced
        && cx
            .live
            .needs
            .get(&id)
            .into_iter()
            .flatten()
            .chain(cx.live.get(&id).map(Object::needs).iter().flatten())
            .any(|need| need.kind == "column" && !cx.desired.contains(need));
    let stage = if leaves { StageName::Contract } else { StageName::Switch };
    let mut adopt = Op::new(&id, key.adopt(&id, word, &temporary), stage, "unique-key").removes(&temporary_id).puts(object.clone());
    // A part goes away with the key above it.
    let exists = if key.part_of.is_some() { "IF EXISTS " } else { "" };
    adopt.undo = Some(vec![format!("ALTER TABLE {} DROP CONSTRAINT {exists}{}", key.table.sql(), quote(&key.name))]);
    if !replaced {
        draft.chain(&id, vec![build, adopt]);
        return;
    }
    let Some(old) = cx.live.get(&id) else { return };
    let group = draft.group();
    let mut away = drop(old, stage);
    away.action.hazards.clear();
    let same_columns = matches!((old, object), (Object::PrimaryKey(old), Object::PrimaryKey(new)) if old.key.columns == new.key.columns)
        || matches!((old, object), (Object::Unique(old), Object::Unique(new)) if old.key.columns == new.key.columns);
    if !same_columns && stage == StageName::Switch && !cx.policy.direct {
        away.action.hazards.push((Hazard::Breaking, format!("{id}: ON CONFLICT on its old columns fails")));
    }
    // The old one is built beside the traffic before it takes the place of the new one again.
    away.undo = Some(Vec::new());
    adopt.undo = undo::build_key(old, &adopt.undo.unwrap_or_default()).map(|sql| [sql, undo::hanging(cx, &id)].concat());
    away.group = Some(group);
    adopt.group = Some(group);
    away.teardown = false;
    let indexes = draft.chain(&id, vec![build, away, adopt]);
    draft.gone.insert(id, indexes[1]);
}
