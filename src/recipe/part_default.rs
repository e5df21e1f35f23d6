//! The default that a partition's column has for itself, or has not: SET DEFAULT and DROP DEFAULT of the table above go over
//! it (measured; a change of type does not), and it is set again in the same transaction, there and back.

use std::collections::{BTreeMap, HashMap};

use super::partition::beneath;
use crate::catalog::{Catalog, Id, Ident};
use crate::kind::Kind as _;
use crate::kind::Object;
use crate::kind::default::Default;
use crate::kind::partition::Partition;
use crate::plan::change::Changes;
use crate::plan::draft::{Context, Draft, Effect};
use crate::plan::op::{Action, Cost, LockMode};

/// Sets them again behind the last statement that goes over them.
pub fn set_again(cx: &Context<'_>, draft: &mut Draft) {
    let mut last: BTreeMap<Id, usize> = BTreeMap::new();
    for (at, op) in draft.ops.iter().enumerate() {
        for effect in &op.effects {
            match effect {
                Effect::Put(Object::Default(default)) => {
                    last.insert(default.id(), at);
                }
                Effect::Remove(id) if id.kind == Default::KEYWORD && cx.desired.contains(&column(id)) => {
                    last.entry(id.clone()).or_insert(at);
                }
                _ => {}
            }
        }
    }
    for (id, at) in last {
        for (part, sql) in own(cx, cx.desired, &id) {
            let action = &mut draft.ops[at].action;
            action.sql.extend(sql);
            *action = std::mem::take(action).lock(&part, LockMode::AccessExclusive, Cost::Instant);
        }
    }
}

/// The same on the way back: it ends with what the first of the operations undoes.
pub fn set_back(cx: &Context<'_>, draft: &mut Draft, order: &[usize]) {
    let mut first: BTreeMap<Id, usize> = BTreeMap::new();
    for at in order {
        let touched = draft.ops[*at].effects.iter().filter_map(|effect| match effect {
            Effect::Put(Object::Default(default)) => Some(default.id()),
            Effect::Remove(id) if id.kind == Default::KEYWORD => Some(id.clone()),
            _ => None,
        });
        for id in touched.filter(|id| cx.live.contains(&column(id))) {
            first.entry(id).or_insert(*at);
        }
    }
    for (id, at) in first {
        let Some(undo) = draft.ops[at].undo.as_mut() else { continue };
        undo.extend(own(cx, cx.live, &id).into_iter().flat_map(|(_, sql)| sql));
    }
}

/// Those that a renamed column has in partitions alone come with its own in the end.
pub fn of_renamed(cx: &Context<'_>, table: &Id, name: &Ident, changes: &mut Changes, contract: &mut Action) -> Vec<Default> {
    let mut found = Vec::new();
    for (part, _) in beneath(cx, table) {
        let id = default_of(part, name);
        let Some(default) = cx.desired.get_as::<Default>(&id) else { continue };
        let above = cx.desired.get_as::<Partition>(&Partition::id_of(part)).map(|place| default_of(&place.parent, name));
        if above.is_some_and(|above| cx.desired.contains(&above)) || changes.shift_remove(&id).is_none() {
            continue;
        }
        contract.sql.extend(default.create().sql);
        found.push(default.clone());
    }
    found
}

fn column(default: &Id) -> Id {
    default.as_kind("column")
}

fn default_of(table: &Id, name: &str) -> Id {
    table.child(Default::KEYWORD, name)
}

/// What sets the defaults of the partitions beneath as they are in `state`, once all of them have that of the table above.
fn own(cx: &Context<'_>, state: &Catalog, id: &Id) -> Vec<(Id, Vec<String>)> {
    let said = |id: &Id| state.get_as::<Default>(id).map(|default| default.expression.clone());
    let table = id.up("table");
    let mut has: HashMap<Id, Option<String>> = HashMap::from([(table.clone(), said(id))]);
    let mut found = Vec::new();
    for (part, _) in beneath(cx, &table) {
        let own = default_of(part, id.name());
        let above = state.get_as::<Partition>(&Partition::id_of(part)).and_then(|place| has.get(&place.parent).cloned()).flatten();
        let wanted = said(&own);
        if wanted != above {
            let default = Default { column: column(&own), expression: wanted.clone().unwrap_or_default() };
            let action = if wanted.is_some() { default.create() } else { default.drop() };
            found.push((part.clone(), action.sql));
        }
        has.insert(part.clone(), wanted);
    }
    found
}
