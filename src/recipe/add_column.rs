//! Adding a column to a table that is in use (safe-changes.md, Columns).

use super::{backfill, published, types};
use crate::catalog::Id;
use crate::catalog::id::{default_name, derived_name, literal, quote};
use crate::kind::Kind as _;
use crate::kind::column::Column;
use crate::kind::default::Default;
use crate::plan::change::{Change, Changes};
use crate::plan::draft::{Context, Draft, Op, name_blocking};
use crate::plan::op::{Action, Cost, Hazard, LockMode};
use crate::plan::plan::StageName;

pub(super) const RECIPE: &str = "add-column";

/// Takes every column that is added to a table which stays.
pub fn apply(cx: &Context<'_>, changes: &mut Changes, draft: &mut Draft) {
    let ids: Vec<Id> =
        changes.iter().filter(|(id, change)| **change == Change::Create && id.kind == Column::KEYWORD).map(|(id, _)| id.clone()).collect();
    for id in ids {
        let Some(column) = cx
            .desired
            .get_as::<Column>(&id)
            .filter(|column| cx.persists(&column.table) && !matches!(changes.get(&column.table), Some(Change::Replace)))
        else {
            continue;
        };
        if super::plain::follows_parent(cx, changes, &id) {
            continue;
        }
        changes.shift_remove(&id);
        let default_id = Default::id_of(&id);
        let default = cx.desired.get_as::<Default>(&default_id);
        // A default that needs what needs the column itself comes by itself.
        let circular = |need: &Id| cx.desired.needs.get(need).is_some_and(|needs| needs.contains(&id));
        let inline = default.filter(|_| cx.desired.needs.get(&default_id).is_none_or(|needs| !needs.iter().any(circular)));
        if inline.is_some() {
            changes.shift_remove(&default_id);
        }
        add(cx, column, inline, draft);
        if inline.is_some() {
            // It comes with the column's first operation.
            let first = draft.first[&id];
            draft.ready.insert(default_id.clone(), first);
            draft.first.insert(default_id, first);
        }
    }
}

fn add(cx: &Context<'_>, column: &Column, default: Option<&Default>, draft: &mut Draft) {
    let id = column.id();
    let table = &column.table;
    let undo = vec![format!("ALTER TABLE {} DROP COLUMN {}", table.sql(), quote(&column.name))];
    let empty = cx.facts.rows(table) == Some(0);
    let unfilled = column.not_null
        && default.is_none()
        && column.identity.is_none()
        && column.generated.is_none()
        && !cx.hints.backfills.contains_key(&id);
    if unfilled && empty && !cx.policy.direct {
        wait_for_clients(cx, column, draft);
        return;
    }
    let backfill_hint = cx.hints.backfills.get(&id);
    let volatile = default.is_some() && cx.facts.volatile_defaults.contains(&id);
    let constrained = types::is_constrained(cx, column);
    let shape = |action: Action| {
        if cx.policy.direct {
            return action;
        }
        published::warn_of_column(cx, table, &column.name, action.hazard(Hazard::RowShape, format!("{table} gets a column")))
    };

    let rewriting = column.generated.as_ref().is_some_and(|generated| !generated.is_virtual) || constrained;
    let identity = column.identity.is_some();
    let unfilled = column.not_null && default.is_none() && !identity && column.generated.is_none();
    let must_fill = unfilled || backfill_hint.is_some() || volatile || identity;
    // A domain that refuses NULL cannot be added first and filled then.
    let filled_later = constrained && backfill_hint.is_some() && !types::refuses_null(cx.desired, &column.data_type);
    if !must_fill
        || rewriting && !filled_later
        || (empty && backfill_hint.is_none())
        || (cx.is_small(table) && backfill_hint.is_none() && (volatile || identity))
    {
        let mut action = column.add(default.map(|default| default.expression.as_str()));
        if (rewriting || volatile || identity) && !empty {
            for lock in &mut action.locks {
                lock.cost = Cost::Rewrite;
            }
            if !cx.is_small(table) {
                action = name_blocking(action, table, cx.facts.rows(table));
                let advice = if column.generated.is_some() {
                    let offer = if cx.facts.server >= 180_000 {
                        "`virtual` stores nothing and is an instant"
                    } else {
                        "a plain column that a trigger fills needs no such lock"
                    };
                    Some(format!("computing {id} for every row: {offer}"))
                } else if constrained {
                    Some(format!(
                        "checking {id} in every row: its base type, with the domain's checks as checks of the table, needs no such lock"
                    ))
                } else {
                    None
                };
                if let Some(advice) = advice {
                    action.hazards.retain(|(hazard, _)| *hazard != Hazard::Blocking);
                    action = action
                        .hazard(Hazard::Blocking, format!("{table}{} is written again while nobody can use it, {advice}", size(cx, table)));
                }
            }
        }
        if unfilled && !cx.policy.direct {
            action = action.hazard(Hazard::Breaking, format!("statements that insert into {table} without {} fail", column.name));
        }
        let mut op = Op::new(&id, shape(action), StageName::Expand, RECIPE).undo(undo).puts(column.clone());
        if let Some(default) = default {
            op = op.puts(default.clone());
        }
        let ops = draft.chain(&id, vec![op]);
        draft.not_null.insert(id, ops[0]);
        return;
    }

    let nullable = Column { not_null: false, identity: None, ..column.clone() };
    // What the author says comes before what its domain says.
    let unset = types::no_default(cx, column).filter(|_| backfill_hint.is_some() && default.is_none());
    let mut expand = nullable.add(unset);
    expand.title = format!("Add {id}");
    if constrained && !empty {
        expand.locks.iter_mut().for_each(|lock| lock.cost = Cost::Rewrite);
        if !cx.is_small(table) {
            expand = name_blocking(expand, table, cx.facts.rows(table));
        }
    }
    if unset.is_some() {
        expand = expand.sql(format!("ALTER TABLE {} ALTER COLUMN {} DROP DEFAULT", table.sql(), quote(&column.name)));
    }
    let mut undo = undo;
    let mut fill_value = None;
    let mut contract: Option<(Vec<String>, [Id; 2])> = None;
    let mut switch_extra: Option<Op> = None;
    let mut temporary = Vec::new();
    if let Some(identity) = &column.identity {
        // Numbers come from a sequence of the recipe's own until the switch makes the column an
        // identity column that goes on from there.
        let sequence = derived_name(&format!("{}_{}", table.name(), column.name), "_fill_seq");
        let sequence_sql = format!("{}.{}", quote(table.schema()), quote(&sequence));
        let value = format!("nextval({}::regclass)", literal(&sequence_sql));
        // An identity column asks nobody for rights on its sequence; a default does.
        let made = [
            format!("CREATE SEQUENCE {sequence_sql}{}", identity.options.clauses(true)),
            format!("GRANT USAGE ON SEQUENCE {sequence_sql} TO PUBLIC"),
        ];
        expand.sql.extend(made.clone());
        expand = expand.sql(format!("ALTER TABLE {} ALTER COLUMN {} SET DEFAULT {value}", table.sql(), quote(&column.name)));
        undo.push(format!("DROP SEQUENCE {sequence_sql}"));
        temporary.push(Id::new("sequence", [table.path[0].as_str(), sequence.as_str()]));
        let plain = Column { identity: None, ..column.clone() };
        let crate::plan::Alteration::Act(actions) = Column::alter(&plain, column) else { unreachable!("an identity is added in place") };
        let mut action = Action::new(format!("Make {id} an identity column that goes on from there"))
            .sql(format!("ALTER TABLE {} ALTER COLUMN {} DROP DEFAULT", table.sql(), quote(&column.name)))
            .lock(table, LockMode::AccessExclusive, Cost::Instant);
        action.sql.extend(actions.into_iter().flat_map(|action| action.sql));
        action = action
            .sql(format!("SELECT setval(pg_get_serial_sequence({}, {}), (SELECT last_value FROM {sequence_sql}), (SELECT is_called FROM {sequence_sql}))", literal(&table.sql()), literal(&column.name)))
            .sql(format!("DROP SEQUENCE {sequence_sql}"));
        let mut op = Op::new(&id, action, StageName::Switch, RECIPE).puts(column.clone()).removes(&temporary[0]);
        // The other way: the recipe's sequence goes on from where the identity column's is.
        let name = identity.name.clone().unwrap_or_else(|| default_name(table.name(), &column.name, "seq"));
        let own = format!("{}.{}", quote(table.schema()), quote(&name));
        let alter = |what: &str| format!("ALTER TABLE {} ALTER COLUMN {} {what}", table.sql(), quote(&column.name));
        let back = [
            format!("SELECT setval({}, last_value, is_called) FROM {own}", literal(&sequence_sql)),
            alter("DROP IDENTITY"),
            alter(&format!("SET DEFAULT {value}")),
        ];
        op.undo = Some(made.into_iter().chain(back).collect());
        switch_extra = Some(op);
        fill_value = Some(value);
    } else if let Some(default) = default {
        expand = expand.sql(format!("ALTER TABLE {} ALTER COLUMN {} SET DEFAULT {}", table.sql(), quote(&column.name), default.expression));
        fill_value = Some(backfill_hint.cloned().unwrap_or_else(|| default.expression.clone()));
    } else if let Some(expression) = backfill_hint {
        fill_value = Some(expression.clone());
        if column.not_null && !cx.policy.direct {
            let (make, take, trigger) = backfill::fill_trigger(cx, column, expression);
            expand.title = format!("Add {id} and let it be filled where a client leaves it out");
            expand.sql.extend(make);
            undo = [super::sync::take_if_there(&take), undo].concat();
            temporary.extend(trigger.clone());
            contract = Some((take, trigger));
        }
    }
    let mut ops = Vec::new();
    let mut first = Op::new(&id, shape(expand), StageName::Expand, RECIPE).undo(undo).puts(nullable);
    if let Some(default) = default {
        first = first.puts(default.clone());
    }
    for helper in &temporary {
        first = first.puts_temporary(helper);
    }
    ops.push(first);
    if let Some(value) = &fill_value {
        let null = types::is_null(cx, column, &quote(&column.name));
        // A row for which the expression gives NULL wants nothing.
        let gives = types::is_not_null(cx, column, &format!("({value})"));
        let filter = if column.not_null || backfill_hint.is_none() { null } else { format!("{null} AND {gives}") };
        let mut fill = backfill::fill(cx, column, &format!("({value})"), &filter, RECIPE, Vec::new());
        if !column.not_null {
            // Clients may write NULL all the while, so none need be left only for a moment.
            fill.verify.clear();
        }
        ops.push(fill);
    }
    let filled = ops.len() - 1;
    if column.not_null {
        let plain = Column { identity: None, ..column.clone() };
        ops.extend(backfill::set_not_null(cx, &plain, StageName::Switch, RECIPE));
    }
    ops.extend(switch_extra);
    let last = ops.len() - 1;
    if let Some((take, [trigger, function])) = contract {
        let action = Action {
            sql: take,
            ..Action::new(format!("Stop filling {id}: every client gives it now")).lock(table, LockMode::AccessExclusive, Cost::Instant)
        };
        let mut op = Op::new(&id, action, StageName::Contract, RECIPE).removes(&trigger).removes(&function);
        op.undo = Some(backfill::fill_trigger(cx, column, fill_value.as_deref().unwrap_or("NULL")).0);
        op.teardown = true;
        ops.push(op);
    }
    let indexes = draft.chain(&id, ops);
    draft.ready.insert(id.clone(), indexes[filled]);
    draft.not_null.insert(id, indexes[last]);
}

/// Without a value to fill with, clients of the old release leave it NULL: it becomes NOT NULL when
/// they are gone.
fn wait_for_clients(cx: &Context<'_>, column: &Column, draft: &mut Draft) {
    let (id, table) = (column.id(), &column.table);
    let nullable = Column { not_null: false, ..column.clone() };
    let action = nullable.add(None).hazard(Hazard::RowShape, format!("{table} gets a column"));
    let action = published::warn_of_column(cx, table, &column.name, action);
    let undo = vec![format!("ALTER TABLE {} DROP COLUMN {}", table.sql(), quote(&column.name))];
    let mut ops = vec![Op::new(&id, action, StageName::Expand, RECIPE).undo(undo).puts(nullable)];
    ops.extend(backfill::set_not_null(cx, column, StageName::Contract, RECIPE));
    let indexes = draft.chain(&id, ops);
    draft.ready.insert(id.clone(), indexes[0]);
    draft.not_null.insert(id, indexes[indexes.len() - 1]);
}

/// The number of rows, for people.
fn size(cx: &Context<'_>, table: &Id) -> String {
    cx.facts.rows(table).map_or_else(String::new, |rows| format!(" (about {rows} rows)"))
}
