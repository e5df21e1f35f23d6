//! Partitions of tables that are in use (safe-changes.md, Tables and the rest): attached when a CHECK
//! proves their rows, so that nothing is scanned under a lock; detached beside the traffic.

use crate::catalog::Id;
use crate::catalog::id::{derived_name, dotted, literal};
use crate::kind::check::Check;
use crate::kind::column::{Column, columns_of};
use crate::kind::partition::{self, Partition};
use crate::kind::table::Table;
use crate::kind::{Kind as _, Object, not_null};
use crate::plan::change::{Change, Changes};
use crate::plan::draft::{Context, Draft, Op, name_blocking};
use crate::plan::op::{Action, Cost, Hazard, LockMode, Transaction};
use crate::plan::plan::{BEGIN, StageName};

const ATTACH: &str = "attach-partition";
const DETACH: &str = "detach-partition";

/// Takes every partition that is attached to or detached from a table which stays.
pub fn apply(cx: &Context<'_>, changes: &mut Changes, draft: &mut Draft) {
    let ids: Vec<Id> = changes.keys().filter(|id| id.kind == Partition::KEYWORD).cloned().collect();
    for id in ids {
        let place = |state: &crate::catalog::Catalog| state.get_as::<Partition>(&id).filter(|place| cx.persists(&place.parent)).cloned();
        match changes.get(&id) {
            Some(Change::Create) => {
                let Some(place) = place(cx.desired).filter(|place| changes.get(&place.parent) != Some(&Change::Replace)) else { continue };
                changes.shift_remove(&id);
                let names = NotNullNames::of(cx, &place, changes);
                attach(cx, &place, &names, draft);
                carried(cx, &place, changes, draft);
            }
            Some(Change::Drop) => {
                let Some(place) = place(cx.live).filter(|place| changes.get(&place.parent) != Some(&Change::Replace)) else { continue };
                let goes = !cx.desired.contains(&place.table);
                if cx.policy.direct && goes {
                    // It goes away with its table.
                    continue;
                }
                changes.shift_remove(&id);
                let names = NotNullNames::of(cx, &place, changes);
                detach(cx, &place, goes, &names, draft);
                if !goes {
                    carried(cx, &place, changes, draft);
                }
            }
            _ => {}
        }
    }
}

/// Indexes that become part of the one above with their table, or stop being so: nothing is left to do.
fn carried(cx: &Context<'_>, place: &Partition, changes: &mut Changes, draft: &mut Draft) {
    let is_carried = |id: &Id| match (cx.live.get(id), cx.desired.get(id)) {
        (Some(old), Some(new)) => id.path.len() == 3 && id.path[..2] == place.table.path[..] && alone(old) == alone(new),
        _ => false,
    };
    let ids: Vec<Id> =
        changes.keys().filter(|id| matches!(id.kind.as_str(), "index" | "primary-key" | "unique") && is_carried(id)).cloned().collect();
    for id in ids {
        changes.shift_remove(&id);
        draft.followers.push((id, place.id()));
    }
}

/// From PostgreSQL 18 on: NOT NULL of a partition is called as that of the table above, and can be renamed only while the
/// table is no partition.
struct NotNullNames {
    there: Vec<String>,
    back: Vec<String>,
    columns: Vec<Column>,
}

impl NotNullNames {
    /// Takes the columns that change in nothing else.
    fn of(cx: &Context<'_>, place: &Partition, changes: &mut Changes) -> Self {
        let table = &place.table;
        let [old, new] = [cx.live, cx.desired].map(|state| columns_of(state, table).collect::<Vec<_>>());
        let columns = new.iter().filter_map(|new| {
            let old = old.iter().find(|old| old.name == new.name)?;
            let alike = Column { constraint: new.constraint.clone(), ..(*old).clone() } == **new;
            (alike && old.constraint != new.constraint).then(|| (*new).clone())
        });
        let columns: Vec<Column> = columns.collect();
        for column in &columns {
            changes.shift_remove(&column.id());
        }
        let server = cx.facts.server;
        Self { there: not_null::renames(server, table, &old, &new), back: not_null::renames(server, table, &new, &old), columns }
    }

    fn put(&self, op: Op) -> Op {
        self.columns.iter().fold(op, |op, column| op.puts(column.clone()))
    }
}

/// The object without what it is part of.
fn alone(object: &Object) -> Object {
    let mut object = object.clone();
    match &mut object {
        Object::Index(index) => index.part_of = None,
        Object::PrimaryKey(key) => key.key.part_of = None,
        Object::Unique(key) => key.key.part_of = None,
        _ => {}
    }
    object
}

/// Proven by a CHECK, the rows of the partition are not read under ACCESS EXCLUSIVE, nor are those of the DEFAULT
/// partition, of which none may belong to the new one (measured).
fn attach(cx: &Context<'_>, place: &Partition, names: &NotNullNames, draft: &mut Draft) {
    let id = place.id();
    let mut action = place.create();
    action.sql.splice(0..0, names.there.clone());
    action.locks.retain(|lock| lock.mode != LockMode::AccessExclusive);
    let mut ops: Vec<Op> = Vec::new();
    let mut switch: Vec<Check> = Vec::new();
    let bound = cx.facts.partition_bounds.get(&id).filter(|_| !cx.policy.direct);
    let large = |table: &Id| cx.live.contains(table) && !cx.is_small(table);
    // What its rows must be, of the partition; what they must not be, of the DEFAULT one.
    let mut wanted = vec![(place.table.clone(), "_bound", bound.cloned(), cx.live.contains(&place.table))];
    let nested = cx.live.contains(&Partition::id_of(&place.parent));
    if let Some(default) = default_of(cx, &place.parent).filter(|default| *default != place.table) {
        // The text of a partition of a partition holds the bounds above it too: its negation says less.
        wanted.push((default, "_apart", bound.filter(|_| !nested).map(|bound| format!("NOT ({bound})")), true));
    }
    for (table, suffix, expression, scanned) in wanted {
        if !scanned {
            continue;
        }
        let proven = expression
            .as_ref()
            .is_some_and(|expression| cx.live.within::<Check>(&table).any(|check| !check.not_valid && check.expression == *expression));
        let Some(expression) = expression.filter(|_| large(&table) && !proven) else {
            action = action.lock(&table, LockMode::AccessExclusive, if proven { Cost::Instant } else { Cost::Scan });
            if large(&table) && !proven {
                action = name_blocking(action, &table, cx.facts.rows(&table));
            }
            continue;
        };
        let base = if suffix == "_apart" { format!("{}_{}", table.name(), place.table.name()) } else { table.name().to_owned() };
        let check = Check { table: table.clone(), name: derived_name(&base, suffix), expression, no_inherit: false, not_valid: true };
        let name = dotted(&table.path);
        let mut add = check.add_not_valid();
        add.title = if suffix == "_apart" {
            format!("Add a proof that {name} holds nothing of {}, not yet validated", dotted(&place.table.path))
        } else {
            format!("Add a proof that {name} fits its bound, not yet validated")
        };
        if suffix == "_apart" {
            add = add.hazard(
                Hazard::Breaking,
                format!("a row that belongs to {} is refused by {name} from here until that is attached", dotted(&place.table.path)),
            );
        }
        let validate = Action { title: format!("Validate the proof of {name}"), ..check.validate() };
        ops.push(Op::new(&id, add, StageName::Expand, ATTACH).undo(check.drop().sql).puts_temporary(&check.id()));
        ops.push(Op::new(&id, validate, StageName::Backfill, ATTACH));
        action = action.lock(&table, LockMode::AccessExclusive, Cost::Instant);
        action.sql.extend(check.drop().sql);
        switch.push(check);
    }
    let stage = if switch.is_empty() { StageName::Expand } else { StageName::Switch };
    let mut undo = [place.drop().sql, names.back.clone()].concat();
    // The checks come back for the steps before to take away: not to be proven again under this lock.
    undo.extend(switch.iter().flat_map(|check| check.create().sql));
    let mut op = names.put(Op::new(&id, action, stage, ATTACH).undo(undo).puts(place.clone()));
    for check in &switch {
        op = op.removes(&check.id());
    }
    ops.push(op);
    draft.chain(&id, ops);
}

/// The live DEFAULT partition of a table.
fn default_of(cx: &Context<'_>, parent: &Id) -> Option<Id> {
    cx.live.of::<Partition>().find(|place| place.parent == *parent && place.bound == "DEFAULT").map(|place| place.table.clone())
}

/// CONCURRENTLY leaves a CHECK behind that says what the bound said: it goes in a step of its own.
fn detach(cx: &Context<'_>, place: &Partition, goes: bool, names: &NotNullNames, draft: &mut Draft) {
    let id = place.id();
    let default = default_of(cx, &place.parent);
    let left = cx.facts.detach_checks.get(&id);
    let concurrently = default.is_none() && (left.is_some() || goes) && !cx.policy.direct;
    let mut ops = Vec::new();
    if concurrently {
        let check = left.and_then(Option::as_ref).map(|name| place.table.child(Check::KEYWORD, name));
        // In a transaction, for the sake of its lock timeout.
        let mut undo = vec![BEGIN.to_owned()];
        undo.extend(place.create().sql);
        if let Some(check) = &check {
            undo.push(format!("ALTER TABLE {} DROP CONSTRAINT IF EXISTS {}", place.table.sql(), check.name_sql()));
        }
        let mut op = Op::new(&id, detach_concurrently(place), StageName::Contract, DETACH).undo(undo).removes(&id);
        if let Some(check) = check.filter(|_| !goes) {
            ops.push(op.puts_temporary(&check));
            let action = Action::new(format!("Drop the check that the bound of {} left behind", dotted(&place.table.path)))
                .sql(format!("ALTER TABLE {} DROP CONSTRAINT {}", place.table.sql(), check.name_sql()))
                .lock(&place.table, LockMode::AccessExclusive, Cost::Instant);
            // The way back of the detaching takes it away, if it is there.
            ops.push(Op::new(&id, action, StageName::Contract, DETACH).undo(Vec::new()).removes(&check));
        } else {
            op.teardown = true;
            ops.push(op);
        }
    } else {
        let mut action = place.drop();
        if let Some(default) = default.filter(|default| *default != place.table) {
            // Its bound grows by what is detached.
            action = action.lock(&default, LockMode::AccessExclusive, Cost::Instant);
        }
        ops.push(Op::new(&id, action, StageName::Contract, DETACH).undo(place.create().sql).removes(&id));
    }
    if !names.there.is_empty() {
        let title = format!("Name NOT NULL of {} after it, now that it is a table of its own", dotted(&place.table.path));
        let action = Action::new(title).lock(&place.table, LockMode::AccessExclusive, Cost::Instant);
        let action = Action { sql: names.there.clone(), ..action };
        ops.push(Op::new(&id, action, StageName::Contract, DETACH).undo(names.back.clone()));
    }
    let last = ops.pop().map(|op| names.put(op));
    ops.extend(last);
    for op in &mut ops {
        op.teardown = true;
    }
    let indexes = draft.chain(&id, ops);
    draft.ready.remove(&id);
    draft.gone.insert(id, indexes[0]);
}

fn detach_concurrently(place: &Partition) -> Action {
    let statement = |how: &str| format!("ALTER TABLE {} DETACH PARTITION {} {how}", place.parent.sql(), place.table.sql());
    let name = |id: &Id| -> [String; 2] { [id.schema(), id.name()].map(literal) };
    let ([schema, table], [parent_schema, parent]) = (name(&place.table), name(&place.parent));
    let probe = format!(
        "SELECT COALESCE((SELECT CASE WHEN h.inhdetachpending THEN 'leftover' ELSE 'absent' END FROM pg_inherits h \
         JOIN pg_class c ON c.oid = h.inhrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
         JOIN pg_class p ON p.oid = h.inhparent JOIN pg_namespace pn ON pn.oid = p.relnamespace \
         WHERE n.nspname = {schema} AND c.relname = {table} AND pn.nspname = {parent_schema} AND p.relname = {parent}), 'done')"
    );
    Action::new(format!("Detach partition {} concurrently", dotted(&place.table.path)))
        .sql(statement("CONCURRENTLY"))
        .lock(&place.parent, LockMode::ShareUpdateExclusive, Cost::Instant)
        .lock(&place.table, LockMode::AccessExclusive, Cost::Instant)
        .transaction(Transaction::Outside)
        .probe(probe, vec![statement("FINALIZE")])
}

/// The partitions of a table that are there before the plan and stay, in order.
pub fn staying<'c>(cx: &'c Context<'_>, table: &'c Id) -> impl Iterator<Item = &'c Id> {
    all_staying(cx).filter(move |place| place.parent == *table).map(|place| &place.table)
}

fn all_staying<'c>(cx: &'c Context<'_>) -> impl Iterator<Item = &'c Partition> {
    cx.live.of::<Partition>().filter(|place| cx.desired.contains(&place.id()))
}

/// Those beneath a table, to any depth: each with whether it holds rows itself.
#[must_use]
pub fn beneath<'c>(cx: &'c Context<'_>, table: &Id) -> Vec<(&'c Id, bool)> {
    let divided = |part: &Id| cx.live.get_as::<Table>(part).is_some_and(|table| table.partition_by.is_some());
    partition::beneath(all_staying(cx), table).into_iter().map(|part| (part, !divided(part))).collect()
}

/// Attaches the index of a partition to the one above it: both are there, so it is an instant (measured: ACCESS SHARE
/// on the table, ACCESS EXCLUSIVE on the index of the partition).
#[must_use]
pub fn attach_index(above: &Id, of: &Id, recipe: &'static str, stage: StageName) -> Op {
    let action = Action::new(format!("Attach {of} to {}", above.name()))
        .sql(format!("ALTER INDEX {} ATTACH PARTITION {}", above.in_schema(), of.in_schema()))
        .lock(of, LockMode::AccessShare, Cost::Instant);
    Op::new(above, action, stage, recipe)
}
