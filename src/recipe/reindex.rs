//! A function with another body under an index or a CHECK: the index holds what the old body gave, the CHECK was proven
//! by it (measured, safe-changes.md). The index is built again, the CHECK validated again; what cannot be computed
//! again beside the traffic is named.

use super::{partitioned_index, undo};
use crate::catalog::Id;
use crate::kind::check::Check;
use crate::kind::index::Index;
use crate::kind::table::Table;
use crate::kind::{Kind as _, Object};
use crate::plan::Alteration;
use crate::plan::change::{Change, Changes};
use crate::plan::draft::{Context, Draft, Op, name_blocking};
use crate::plan::op::Hazard;
use crate::plan::plan::StageName;

/// Functions whose texts change in place, each with what stands on it and stays as it is.
#[must_use]
pub fn wanted(cx: &Context<'_>, changes: &Changes) -> Vec<(Id, Object)> {
    let mut found = Vec::new();
    for (id, change) in changes {
        let (Some(old), Some(new)) = (cx.live.get(id), cx.desired.get(id)) else { continue };
        if id.kind != "function" || !matches!(change, Change::Alter(_)) || old.texts() == new.texts() {
            continue;
        }
        for own in cx.live.dependants(id) {
            if let (Some(object), true, false) = (cx.live.get(own), cx.desired.contains(own), changes.contains_key(own)) {
                found.push((id.clone(), object.clone()));
            }
        }
    }
    found
}

fn altered_back(cx: &Context<'_>, id: &Id) -> Vec<String> {
    match cx.desired.get(id).zip(cx.live.get(id)).map(|(new, old)| Object::alter(new, old)) {
        Some(Alteration::Act(actions)) => actions.into_iter().flat_map(|action| action.sql).collect(),
        _ => Vec::new(),
    }
}

/// Makes them again beside the old ones, once their functions have the new bodies. (What REINDEX
/// CONCURRENTLY did cannot be seen after a crash.)
pub fn apply(cx: &Context<'_>, wanted: Vec<(Id, Object)>, draft: &mut Draft) {
    for (function, object) in wanted {
        let id = object.id();
        let Some(ready) = draft.ready.get(&function).copied() else { continue };
        // Two functions under one index.
        if !draft.first.contains_key(&id) {
            match &object {
                // It goes with the one above it.
                Object::Index(index) if index.part_of.is_some() => continue,
                Object::Index(index) => {
                    // On the way back the function changes last: the index is built once more with what it gives then.
                    let back = draft.ops[ready].undo.get_or_insert_with(|| altered_back(cx, &function));
                    if cx.live.get_as::<Table>(&index.on).is_some_and(|table| table.partition_by.is_some()) {
                        back.extend(partitioned_index::built_again(cx, index).unwrap_or_default());
                        with_parts(cx, index, draft);
                    } else {
                        back.extend(super::carry::built_again(cx, index));
                        super::index::replace(cx, index, index, &mut Changes::new(), draft);
                    }
                }
                Object::Check(check) if !check.not_valid && !cx.policy.direct => again(cx, check, draft),
                _ => {
                    draft.ops[ready].action.hazards.extend(disagrees(&object, &function));
                    continue;
                }
            }
        }
        if let Some(begins) = draft.first.get(&id).copied() {
            draft.order(ready, begins);
        }
    }
}

/// An index with its parts: beside the old one, or on a small table at once.
fn with_parts(cx: &Context<'_>, index: &Index, draft: &mut Draft) {
    let ids = partitioned_index::ids(cx, index);
    let mut changes: Changes = ids.iter().map(|id| (id.clone(), Change::Replace)).collect();
    if !cx.is_small(&index.on) && partitioned_index::replace(cx, index, index, &mut changes, draft) {
        return;
    }
    let id = index.id();
    let mut action = index.drop();
    action.title = format!("Build {id} with its parts again");
    action.hazards.clear();
    action.sql.extend(undo::plainly(cx, ids.iter().filter_map(|id| cx.live.get(id)).collect()));
    action.locks = index.create().locks;
    let action = name_blocking(action, &index.on, cx.facts.rows(&index.on));
    draft.chain(&id, vec![Op::new(&id, action, StageName::Expand, "replace-index").puts(index.clone())]);
}

/// On a small table at once, else beside the old one.
fn again(cx: &Context<'_>, check: &Check, draft: &mut Draft) {
    if !cx.is_small(&check.table) {
        super::check::replace(cx, check, draft);
        return;
    }
    let id = check.id();
    let mut action = check.drop();
    action.title = format!("Check {id} once more");
    let add = check.create();
    action.sql.extend(add.sql);
    action.locks.extend(add.locks);
    draft.chain(&id, vec![Op::new(&id, action, StageName::Expand, "check").puts(check.clone())]);
}

/// What holds what the old body gave, and no statement beside the traffic would compute it again.
fn disagrees(object: &Object, function: &Id) -> Option<(Hazard, String)> {
    let id = object.id();
    let what = match object {
        Object::Column(column) if column.generated.as_ref().is_some_and(|generated| !generated.is_virtual) => {
            "rows that are there keep what the old body gave until they are updated"
        }
        Object::DomainCheck(_) => "values that are there were checked by the old body",
        Object::Exclusion(_) => "its index holds what the old body gave: REINDEX it",
        Object::MaterializedView(_) => "its rows are what the old body gave: REFRESH it",
        Object::Check(check) if check.not_valid => return None,
        Object::Check(_) => "rows that are there were checked by the old body",
        _ => return None,
    };
    Some((Hazard::Breaking, format!("{id} stands on {function}: {what}")))
}
