//! A computed column that clients write themselves from now on: the expression goes at once, and a trigger computes the
//! column for those who do not write it until they are gone (safe-changes.md, Columns).
//!
//! Facts: manual, ALTER TABLE: DROP EXPRESSION keeps the values of the rows. No statement gives it back to a column.

use super::sync::{self, RowTrigger};
use super::{plain, types};
use crate::catalog::Id;
use crate::catalog::id::quote;
use crate::kind::column::{Column, Generated};
use crate::kind::default::Default;
use crate::kind::partition::Partition;
use crate::kind::{Kind as _, Object};
use crate::plan::change::{Change, Changes};
use crate::plan::draft::{Context, Draft, Op, create};
use crate::plan::op::{Action, Cost, Hazard, LockMode};
use crate::plan::plan::StageName;

const RECIPE: &str = "drop-expression";

/// Takes the columns that are computed and stored, and are not to be.
pub fn apply(cx: &Context<'_>, changes: &mut Changes, draft: &mut Draft) {
    let altered = changes.iter().filter(|(id, change)| id.kind == Column::KEYWORD && matches!(change, Change::Alter(_)));
    let ids: Vec<Id> = altered.map(|(id, _)| id.clone()).collect();
    for id in ids {
        let (Some(old), Some(new)) = (cx.live.get_as::<Column>(&id), cx.desired.get_as::<Column>(&id)) else { continue };
        let (Some(generated), None) = (&old.generated, &new.generated) else { continue };
        // The column of a partition follows the one above it.
        if plain::follows_parent(cx, changes, &id) || cx.live.contains(&Partition::id_of(&old.table)) {
            continue;
        }
        let Some(Change::Alter(mut actions)) = changes.shift_remove(&id) else { continue };
        let mut dropped = Op::new(&id, actions.remove(0), StageName::Expand, RECIPE).puts(Column { generated: None, ..old.clone() });
        // The expression does not come back.
        dropped.irreversible = true;
        if !cx.policy.direct {
            let subject = format!("{id} may hold what a client writes, and not what was computed, for its readers");
            dropped.action.hazards.push((Hazard::RowShape, subject));
        }
        let computing = (!cx.policy.direct).then(|| computing(cx, old, generated));
        if let Some(trigger) = &computing {
            dropped.action.title += ", computed for those who do not write it until contract";
            dropped.action.sql.extend(trigger.make.iter().cloned());
            for helper in &trigger.helpers {
                dropped = dropped.puts_temporary(helper);
            }
        }
        let rest = plain::alterations(cx, &id, actions, &new.clone().into());
        draft.chain(&id, std::iter::once(dropped).chain(rest).collect());
        let Some(trigger) = computing else { continue };
        let mut action = Action::new(format!("Stop computing {id}")).lock(&old.table, LockMode::AccessExclusive, Cost::Instant);
        action.sql.clone_from(&trigger.take);
        let mut last = Op::new(&id, action, StageName::Contract, RECIPE);
        for helper in &trigger.helpers {
            last = last.removes(helper);
        }
        last.teardown = true;
        let last = draft.push(last);
        draft.order(draft.ready[&id], last);
        // Who leaves the column out is one who does not write it, as long as it is computed for them.
        let default = Default::id_of(&id);
        if changes.get(&default) == Some(&Change::Create)
            && let Some(object) = cx.desired.get(&default)
        {
            changes.shift_remove(&default);
            let set = draft.chain(&default, vec![create(object, StageName::Contract)]);
            draft.order(last, set[0]);
        }
    }
}

/// What the expression reads goes when nobody computes with it any more.
pub fn ends_first(cx: &Context<'_>, draft: &mut Draft) {
    let ends: Vec<usize> = (0..draft.ops.len()).filter(|at| draft.ops[*at].recipe == RECIPE && draft.ops[*at].teardown).collect();
    for end in ends {
        let table = cx.live.get(&draft.ops[end].id).and_then(Object::parent);
        let of_table = draft.gone.iter().filter(|(id, _)| id.kind == Column::KEYWORD && Some(id.up("table")) == table);
        let gone: Vec<usize> = of_table.map(|(_, at)| *at).collect();
        for at in gone {
            draft.order(end, at);
        }
    }
}

/// The trigger that goes on computing: where a row comes without a value, and where what it is computed from changes and
/// the value does not.
fn computing(cx: &Context<'_>, column: &Column, generated: &Generated) -> RowTrigger {
    let (table, expression) = (&column.table, generated.expression.as_str());
    let of = |row: &str| format!("(SELECT {expression} FROM (SELECT {row}.*) AS {})", quote(table.name()));
    let [new, old] = ["NEW", "OLD"].map(|row| sync::field(row, &quote(&column.name)));
    let body = format!(
        "{}BEGIN\n    IF TG_OP = 'INSERT' AND {} OR TG_OP = 'UPDATE' AND NOT {} AND {} THEN\n        {};\n    END IF;\n    RETURN NEW;\nEND",
        sync::resolution(&[expression]),
        types::is_null(cx, column, &new),
        sync::differ(&new, &old),
        sync::differ(&of("NEW"), &of("OLD")),
        sync::assign(table, &quote(&column.name), expression)
    );
    let name = sync::name(cx, table, &column.name, "_computed");
    sync::row_trigger(table, "~", &name, "INSERT OR UPDATE", &sync::settings(cx, table, &[column], &[expression]), &body)
}
