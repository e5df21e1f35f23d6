//! A key of a partitioned table that is made again over other columns: the unique indexes of the partitions are built
//! beside the traffic; then, in one short transaction, the old key goes with all its parts, theirs are made out of the
//! indexes, and the one above takes them over (safe-changes.md, Constraints and indexes).

use super::{partition, undo};
use crate::catalog::id::{derived_name, quote};
use crate::catalog::{Id, Indexed};
use crate::kind::Object;
use crate::kind::index::probe_built;
use crate::kind::key::Key;
use crate::kind::table::Table;
use crate::plan::change::{Change, Changes};
use crate::plan::draft::{Context, Draft, Op};
use crate::plan::op::{Action, Cost, Hazard, LockMode, Transaction};
use crate::plan::plan::{BEGIN, COMMIT, StageName};

const RECIPE: &str = "unique-key";

/// A key of one relation, in one of the two states.
#[derive(Clone, Copy)]
struct Part<'c> {
    key: &'c Key,
    word: &'static str,
    nulls_not_distinct: bool,
    object: &'c Object,
}

impl<'c> Part<'c> {
    fn of(object: &'c Object) -> Option<Self> {
        match object {
            Object::PrimaryKey(one) => Some(Self { key: &one.key, word: "PRIMARY KEY", nulls_not_distinct: false, object }),
            // USING INDEX takes NULLS NOT DISTINCT from the index.
            Object::Unique(one) => Some(Self { key: &one.key, word: "UNIQUE", nulls_not_distinct: one.nulls_not_distinct, object }),
            _ => None,
        }
    }

    fn named(&self, suffix: &str) -> Id {
        self.key.table.child("index", &derived_name(&self.key.name, suffix))
    }

    fn build(&self, suffix: &str) -> String {
        self.key.index_sql(self.named(suffix).name(), self.nulls_not_distinct)
    }

    /// The statement that makes it out of its index, or, where its relation holds no rows, without one.
    fn make(&self, divided: bool, suffix: &str) -> Vec<String> {
        if !divided {
            return self.key.adopt(&self.object.id(), self.word, self.named(suffix).name()).sql;
        }
        let only = |sql: String| sql.replacen("ALTER TABLE ", "ALTER TABLE ONLY ", 1);
        self.object.create().sql.into_iter().map(only).collect()
    }
}

/// The keys of a relation and of all partitions beneath it, the deepest first, in one state.
fn tree<'c>(cx: &'c Context<'_>, state: &'c Indexed<'_>, id: &Id) -> Option<Vec<Part<'c>>> {
    let top = Part::of(state.get(id)?)?;
    let mut all = Vec::new();
    for table in partition::staying(cx, &top.key.table) {
        let belongs = |object: &&Object| Part::of(object).is_some_and(|part| part.key.part_of.as_ref() == Some(&top.key.name));
        let part = state
            .parts(table)
            .into_iter()
            .map(Object::id)
            .find(|other| other.kind == id.kind && state.get(other).as_ref().is_some_and(belongs));
        all.extend(tree(cx, state, &part?)?);
    }
    all.push(top);
    Some(all)
}

/// Takes a key that is made again with those of all partitions. `false`: not possible, nothing was done.
pub fn replace(cx: &Context<'_>, id: &Id, changes: &mut Changes, draft: &mut Draft) -> bool {
    let (Some(news), Some(olds)) = (tree(cx, cx.desired, id), tree(cx, cx.live, id)) else { return false };
    let ids: Vec<Id> = news.iter().map(|part| part.object.id()).collect();
    let again = ids.iter().all(|id| changes.get(id) == Some(&Change::Replace)) && olds.len() == news.len();
    // A column that goes is still asked for by old clients: that key is made at the end.
    let leaves = olds.iter().any(|part| part.key.needs().iter().any(|need| !cx.desired.contains(need)));
    let fills = news.iter().any(|part| part.key.needs().iter().any(|need| !cx.live.contains(need)));
    if !again || leaves || fills {
        return false;
    }
    let divided = |part: &Part<'_>| cx.live.get_as::<Table>(&part.key.table).is_some_and(|table| table.partition_by.is_some());
    let mut ops: Vec<Op> = Vec::new();
    for part in news.iter().filter(|part| !divided(part)) {
        let index = part.named("_idx");
        let build = Action::new(format!("Build the unique index of {} concurrently", part.object.id()))
            .sql(part.build("_idx"))
            .lock(&part.key.table, LockMode::ShareUpdateExclusive, Cost::Build)
            .transaction(Transaction::Outside)
            .probe(probe_built(part.key.table.schema(), index.name()), vec![format!("DROP INDEX CONCURRENTLY {}", index.in_schema())]);
        let undo = vec![format!("DROP INDEX CONCURRENTLY IF EXISTS {}", index.in_schema())];
        ops.push(Op::new(&part.object.id(), build, StageName::Backfill, RECIPE).undo(undo).puts_temporary(&index));
    }
    let (old, new) = (olds[olds.len() - 1].key, news[news.len() - 1].key);
    if old.columns.len() > new.columns.len() && new.columns.iter().all(|name| old.columns.contains(name)) {
        let reason = format!("{id}: rows that differ only in what leaves the key are refused from the build on");
        ops[0].action.hazards.push((Hazard::Breaking, reason));
    }
    let mut action = Action::new(format!("Put the new {id} with its parts in the old one's place"));
    for part in news.iter().rev() {
        action = action.lock(&part.key.table, LockMode::AccessExclusive, Cost::Instant);
    }
    // ON CONFLICT asks for the columns, in whatever order.
    let within = |a: &Key, b: &Key| a.columns.iter().all(|name| b.columns.contains(name));
    if !within(old, new) || !within(new, old) {
        action = action.hazard(Hazard::Breaking, format!("{id}: ON CONFLICT on its old columns fails"));
    }
    action.sql = swap(&news, divided, "_idx");
    let mut switch = Op::new(id, action, StageName::Switch, RECIPE);
    for part in &news {
        switch = switch.removes(&part.object.id());
    }
    for part in &news {
        if !divided(part) {
            switch = switch.removes(&part.named("_idx"));
        }
        switch = switch.puts(part.object.clone());
    }
    switch.undo = Some(back(cx, id, &olds, &news, divided));
    ops.push(switch);
    let indexes = draft.chain(id, ops);
    let last = indexes[indexes.len() - 1];
    for own in ids {
        changes.shift_remove(&own);
        draft.first.insert(own.clone(), indexes[0]);
        draft.ready.insert(own.clone(), last);
        draft.gone.insert(own, last);
    }
    true
}

/// In one transaction: the key of the top goes with its parts, these are made out of their indexes and taken over.
fn swap(parts: &[Part<'_>], divided: impl Fn(&Part<'_>) -> bool, suffix: &str) -> Vec<String> {
    let top = parts[parts.len() - 1].key;
    let mut sql = vec![format!("ALTER TABLE {} DROP CONSTRAINT {}", top.table.sql(), quote(&top.name))];
    for part in parts {
        sql.extend(part.make(divided(part), suffix));
        // The deepest come first: those beneath it are there.
        let beneath = parts.iter().filter(|other| other.key.part_of.as_ref() == Some(&part.key.name));
        sql.extend(
            beneath.map(|other| format!("ALTER INDEX {} ATTACH PARTITION {}", part.object.id().in_schema(), other.object.id().in_schema())),
        );
    }
    sql
}

/// The old key is built beside the traffic and takes its place again; then the new one is built once more, so that the
/// switch can come again.
fn back(cx: &Context<'_>, id: &Id, olds: &[Part<'_>], news: &[Part<'_>], divided: impl Fn(&Part<'_>) -> bool + Copy) -> Vec<String> {
    let build = |part: &Part<'_>, suffix: &str| {
        [format!("DROP INDEX CONCURRENTLY IF EXISTS {}", part.named(suffix).in_schema()), part.build(suffix)]
    };
    let leaves = |parts: &[Part<'_>], suffix: &str| -> Vec<String> {
        parts.iter().filter(|part| !divided(part)).flat_map(|part| build(part, suffix)).collect()
    };
    let mut sql = vec![COMMIT.to_owned()];
    sql.extend(leaves(olds, "_back"));
    sql.push(BEGIN.to_owned());
    sql.extend(swap(olds, divided, "_back"));
    sql.extend(undo::hanging(cx, id));
    sql.push(COMMIT.to_owned());
    sql.extend(leaves(news, "_idx"));
    sql.push(BEGIN.to_owned());
    sql
}
