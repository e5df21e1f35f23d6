//! A renamed column: old and new stand side by side, kept in step by triggers, until the old clients
//! are gone (safe-changes.md, The sync triggers of a rename).

use super::{backfill, own_trigger, sync, types};
use crate::catalog::id::{literal, quote};
use crate::catalog::{Id, Ident};
use crate::kind::Kind as _;
use crate::kind::column::Column;
use crate::kind::default::Default;
use crate::kind::sql_type::display;
use crate::kind::type_change::keeps_heap;
use crate::plan::change::Changes;
use crate::plan::draft::{Context, Draft, Op, name_blocking};
use crate::plan::op::{Action, Cost, Hazard, LockMode};
use crate::plan::plan::StageName;

const RECIPE: &str = "rename-column";

/// The setting that tells the sync triggers that the backfill writes, where the pair is not the same
/// value.
pub(super) const MARKER: &str = "schema.backfill";

/// Takes every renamed column that can be kept in step; the others were renamed in place before.
pub fn apply(cx: &Context<'_>, changes: &mut Changes, draft: &mut Draft) {
    for (new_id, old_id) in &cx.hints.renames {
        let (Some(old), Some(new)) = (cx.live.get_as::<Column>(old_id), cx.desired.get_as::<Column>(new_id)) else { continue };
        if cx.live.contains(new_id) || cx.desired.contains(old_id) || !super::rename::can_sync(cx.live, cx.desired, old_id, new_id) {
            continue;
        }
        // Where the two do not hold the same value, and triggers of the table's own stand between, one takes the place of
        // the other as columns that are split do: the side that a client wrote is never computed from the other.
        if !ways(cx, old, new).same && own_trigger::changing(cx, &new.table).next().is_some() {
            continue;
        }
        changes.shift_remove(new_id);
        changes.shift_remove(old_id);
        // The new column gets its default at the end: with one on both, an old client's explicit value
        // would be overwritten (measured).
        let default_id = Default::id_of(new_id);
        let default = cx.desired.get_as::<Default>(&default_id);
        changes.shift_remove(&default_id);
        if let Some((last, again)) = rename(cx, old, new, default, changes, draft) {
            let turn = own_trigger::Turn::Wins { last: &last, again: &again };
            own_trigger::turn_functions(cx, &new.table, &[&new.name], turn, RECIPE, changes, draft);
        }
        own_trigger::keep_firing(cx, &new.table, &[&old.name], &[&new.name], RECIPE, changes, draft);
    }
}

/// The triggers that keep a renamed column in step.
struct Sync {
    make: Vec<String>,
    take: Vec<String>,
    helpers: Vec<Id>,
    forward: String,
    same: bool,
    /// The statements that let the new column win, and the old one again, among the table's triggers.
    turn: Option<(String, String)>,
}

/// How the two become each other.
pub(super) struct Ways {
    /// The new column, over the old one.
    pub(super) forward: String,
    /// The old column, over the new one.
    pub(super) reverse: String,
    /// Whether they hold the same value.
    pub(super) same: bool,
}

/// How a column and the one that it was become each other.
pub(super) fn ways(cx: &Context<'_>, old: &Column, new: &Column) -> Ways {
    let (o, n) = (quote(&old.name), quote(&new.name));
    let id = new.id();
    let (backfill, revert) = (cx.hints.backfills.get(&id), cx.hints.reverts.get(&id));
    let cast = |value: &str, from: &Column, to: &Column| {
        if from.data_type == to.data_type { value.to_owned() } else { format!("{value}::{}", to.data_type) }
    };
    let same = old.data_type == new.data_type && (backfill.is_none() || revert.is_none());
    // Rows that are there keep their value; a backfill fills what has none. With a `revert`, both
    // ways are the author's.
    let forward = match (backfill, revert) {
        (Some(backfill), Some(_)) => format!("({backfill})"),
        (Some(backfill), None) => format!("COALESCE({}, ({backfill}))", cast(&o, old, new)),
        (None, _) => cast(&o, old, new),
    };
    let reverse = revert.map_or_else(|| cast(&n, new, old), |revert| format!("({revert})"));
    Ways { forward, reverse, same }
}

/// The triggers that keep the pair in step.
fn sync_triggers(cx: &Context<'_>, old: &Column, new: &Column) -> Sync {
    let table = &new.table;
    let (o, n) = (quote(&old.name), quote(&new.name));
    let Ways { forward, reverse, same } = ways(cx, old, new);
    // The expressions speak of columns by name, so the new row stands in for the table.
    let of_row = |expression: &str, target: &str| {
        if expression == o || expression == n {
            format!("{} := {}", sync::field("NEW", target), sync::field("NEW", expression))
        } else {
            sync::assign(table, target, expression)
        }
    };
    let (to_new, to_old) = (of_row(&forward, &n), of_row(&reverse, &o));
    let changed = |column: &str| sync::differ(&sync::field("NEW", column), &sync::field("OLD", column));
    let [first, last] = ["_sync_first", "_sync_last"].map(|suffix| sync::name(cx, table, &new.name, suffix));
    let resolution = sync::resolution(&[&forward, &reverse]);
    let settings = if same && forward == o { String::new() } else { sync::settings(cx, table, &[old, new], &[&forward, &reverse]) };
    let of_new = sync::field("NEW", &n);
    let (is_null, is_not_null) = (types::is_null(cx, new, &of_new), types::is_not_null(cx, new, &of_new));
    let marker = if same {
        String::new()
    } else {
        format!("    IF current_setting('{MARKER}', true) = 'on' THEN\n        RETURN NEW;\n    END IF;\n")
    };
    // SET new = DEFAULT: the new column gets its default at the end.
    let default = cx.live.get_as::<Default>(&Default::id_of(&old.id())).filter(|_| old.not_null);
    let by_default = default.map_or_else(String::new, |default| {
        format!(
            "    ELSIF {is_null} AND {} THEN\n        {};\n        {to_new};\n",
            changed(&n),
            sync::assign(table, &o, &default.expression)
        )
    });
    let first_body = format!(
        "{resolution}BEGIN\n{marker}    IF TG_OP = 'INSERT' THEN\n        IF {is_not_null} THEN\n            {to_old};\n        ELSE\n            {to_new};\n        END IF;\n{by_default}    ELSIF {} THEN\n        {to_old};\n    ELSIF {} OR {is_null} THEN\n        {to_new};\n    END IF;\n    RETURN NEW;\nEND",
        changed(&n),
        changed(&o)
    );
    let mut make = Vec::new();
    let mut take = Vec::new();
    let mut helpers = Vec::new();
    let mut trigger = |sign: &str, name: &Ident, body: &str| {
        let trigger = sync::row_trigger(table, sign, name, "INSERT OR UPDATE", &settings, body);
        make.extend(trigger.make);
        take.extend(trigger.take);
        helpers.extend(trigger.helpers);
    };
    trigger("!", &first, &first_body);
    // Between the two come the table's own triggers. The column that they know wins: the old one, until
    // their functions speak of the new one.
    let mut turn = None;
    if own_trigger::changing(cx, table).next().is_some() {
        let differs = sync::differ(&sync::field("NEW", &n), &sync::field("NEW", &o));
        let last_body = |assignment: &str| {
            format!("{resolution}BEGIN\n{marker}    IF {differs} THEN\n        {assignment};\n    END IF;\n    RETURN NEW;\nEND")
        };
        trigger("~", &last, &last_body(&to_new));
        turn = Some((
            format!("CREATE OR REPLACE {}", sync::function(table, &last, &settings, &last_body(&to_old))),
            format!("CREATE OR REPLACE {}", sync::function(table, &last, &settings, &last_body(&to_new))),
        ));
    }
    Sync { make, take, helpers, forward, same, turn }
}

/// What clients write on the one side and cannot be a value on the other, where nobody says how it becomes one.
fn unfit(cx: &Context<'_>, old: &Column, new: &Column) -> Vec<(Hazard, String)> {
    let (id, old_id) = (new.id(), old.id());
    let fits = |from: &Column, to: &Column| {
        let (from, to) = (from.data_type.as_str(), to.data_type.as_str());
        let holds_all = ["text", "character varying"].contains(&to);
        from == to || holds_all || keeps_heap(from, to) || super::preflight::widens(from, to)
    };
    let mut found = Vec::new();
    if !cx.hints.backfills.contains_key(&id) && !fits(old, new) {
        let subject = format!("{old_id}: what {} cannot hold is refused from the first step on", display(&new.data_type));
        found.push((Hazard::LossyCast, subject));
    }
    if !cx.hints.reverts.contains_key(&id) && !fits(new, old) {
        let subject = format!("{id}: what {} cannot hold is refused, or cut for old clients, until contract", display(&old.data_type));
        found.push((Hazard::Breaking, subject));
    }
    found
}

/// The step before the end: what was written past the triggers (they can be disabled, and dropped) is in one of the two
/// columns alone, and would be lost. Nobody waits for it. Where an author says how one becomes the other, nothing tells what
/// the one should be now.
fn compare(cx: &Context<'_>, old: &Column, new: &Column) -> Option<Op> {
    let (id, table) = (new.id(), &new.table);
    let (o, n) = (quote(&old.name), quote(&new.name));
    let Ways { forward, reverse, same } = ways(cx, old, new);
    let [backfill, revert] = [&cx.hints.backfills, &cx.hints.reverts].map(|hints| hints.contains_key(&id));
    let apart = match (same, backfill, revert) {
        // What an old client left NULL was filled in the new column alone.
        (true, true, _) => format!("{} AND {}", types::is_not_null(cx, old, &o), sync::differ(&n, &o)),
        (true, false, _) => sync::differ(&n, &o),
        // One of the two was computed from the other.
        (false, false, false) => {
            format!("CASE WHEN {} THEN {} ELSE false END", sync::differ(&n, &forward), sync::differ(&o, &reverse))
        }
        (false, ..) => return None,
    };
    let [new_name, old_name, of] = [new.name.as_str(), old.name.as_str(), &table.to_string()].map(|name| name.replace('%', "%%"));
    let message =
        format!("rows of {of} in which {new_name} and {old_name} differ: %; they were written past the trigger that keeps both in step");
    let hint = format!(
        "SELECT them WHERE {apart}; let both hold the value that counts (UPDATE … SET {n} = {o}, or the other way round), and go on"
    );
    let action = Action::new(format!("Compare {id} with {}, which it replaces", old.name))
        .sql(format!(
            "DO $do$\n{}DECLARE differing bigint; BEGIN\n    \
             SELECT count(*) INTO differing FROM {} WHERE {apart};\n    \
             IF differing > 0 THEN\n        \
             RAISE EXCEPTION {}, differing USING HINT = {};\n    \
             END IF;\nEND $do$",
            sync::USE_COLUMN,
            table.sql(),
            literal(&message),
            literal(&hint),
        ))
        .lock(table, LockMode::AccessShare, Cost::Scan);
    Some(Op::new(&id, action, StageName::Contract, RECIPE).undo(Vec::new()))
}

fn rename(
    cx: &Context<'_>,
    old: &Column,
    new: &Column,
    default: Option<&Default>,
    changes: &mut Changes,
    draft: &mut Draft,
) -> Option<(String, String)> {
    let (id, old_id) = (new.id(), old.id());
    let table = &new.table;
    let Sync { make, take, helpers, forward, same, turn } = sync_triggers(cx, old, new);
    let nullable = Column { not_null: false, ..new.clone() };
    let mut expand = nullable.add(types::no_default(cx, new)).hazard(Hazard::RowShape, format!("{table} gets a column"));
    if types::is_constrained(cx, new) {
        // Every row is looked at and written again (measured).
        expand.locks.iter_mut().for_each(|lock| lock.cost = Cost::Rewrite);
        if !cx.is_small(table) {
            expand = name_blocking(expand, table, cx.facts.rows(table));
        }
    }
    if !old.not_null && (cx.live.contains(&Default::id_of(&old_id)) || types::has_default(cx.live, &old.data_type)) {
        // The trigger cannot tell a NULL that was given from one that was left out.
        expand = expand
            .hazard(Hazard::Breaking, format!("an INSERT that gives {} as NULL gets the default of {} until contract, and an UPDATE that sets it to DEFAULT sets it to NULL", new.name, old.name));
    }
    expand = super::published::warn_of_column(cx, table, &new.name, expand);
    for (hazard, subject) in unfit(cx, old, new) {
        expand = expand.hazard(hazard, subject);
    }
    expand.title = format!("Add {id} and keep it in step with {}", old.name);
    expand.sql.extend(super::rights::of_column(cx, &id));
    expand.sql.extend(make.clone());
    let drop_new = format!("ALTER TABLE {} DROP COLUMN {}", table.sql(), quote(&new.name));
    let mut first =
        Op::new(&id, expand, StageName::Expand, RECIPE).undo([sync::take_if_there(&take), vec![drop_new]].concat()).puts(nullable);
    for helper in &helpers {
        first = first.puts_temporary(helper);
    }
    // Without a value for them, clients of the old release go on to write NULL until they are gone.
    let filled = old.not_null || cx.hints.backfills.contains_key(&id);
    let has_value = if new.not_null && filled { String::new() } else { format!(" AND {}", types::is_not_null(cx, old, &quote(&old.name))) };
    let filter = format!("{}{has_value}", types::is_null(cx, new, &quote(&new.name)));
    let settings = if same { Vec::new() } else { vec![(MARKER.to_owned(), "on".to_owned())] };
    let mut ops = vec![first, backfill::fill(cx, new, &forward, &filter, RECIPE, settings)];
    if new.not_null {
        let stage = if filled { StageName::Switch } else { StageName::Contract };
        ops.extend(backfill::set_not_null(cx, new, stage, RECIPE));
    }
    let last = ops.len() - 1;
    ops.extend(compare(cx, old, new));
    let mut contract = Action::new(format!("Drop {old_id}, which {} replaces", new.name))
        .lock(table, LockMode::AccessExclusive, Cost::Instant)
        .hazard(Hazard::DropColumn, format!("{old_id}, whose values {} holds", new.name))
        .loses(&old_id);
    contract.sql.extend(take);
    let unset =
        types::no_default(cx, new).map(|_| vec![format!("ALTER TABLE {} ALTER COLUMN {} DROP DEFAULT", table.sql(), quote(&new.name))]);
    contract.sql.extend(default.map(|default| default.create().sql).or(unset).unwrap_or_default());
    let of_parts = super::part_default::of_renamed(cx, table, &new.name, changes, &mut contract);
    contract.sql.extend(old.drop().sql);
    let mut end = Op::new(&old_id, contract, StageName::Contract, RECIPE).removes(&old_id).removes(&Default::id_of(&old_id));
    for helper in &helpers {
        end = end.removes(helper);
    }
    for default in default.into_iter().chain(&of_parts) {
        end = end.puts(default.clone());
    }
    end.teardown = true;
    ops.push(end);
    let indexes = draft.chain(&id, ops);
    draft.ready.insert(id.clone(), indexes[1]);
    draft.not_null.insert(id, indexes[last]);
    draft.gone.insert(old_id, indexes[indexes.len() - 1]);
    turn
}
