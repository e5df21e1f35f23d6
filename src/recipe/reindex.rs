//! A function with another body under an index: the index holds what the old body gave (measured,
//! safe-changes.md), so it is built again.

use crate::catalog::Id;
use crate::kind::Kind as _;
use crate::kind::Object;
use crate::kind::index::Index;
use crate::plan::Alteration;
use crate::plan::change::{Change, Changes};
use crate::plan::draft::{Context, Draft};
use crate::plan::plan::{BEGIN, COMMIT};

/// Functions whose texts change in place, each with an index that stands on it and stays as it is.
#[must_use]
pub fn wanted(cx: &Context<'_>, changes: &Changes) -> Vec<(Id, Index)> {
    let mut found = Vec::new();
    for (id, change) in changes {
        let (Some(old), Some(new)) = (cx.live.get(id), cx.desired.get(id)) else { continue };
        if id.kind != "function" || !matches!(change, Change::Alter(_)) || old.texts() == new.texts() {
            continue;
        }
        for index in cx.live.of::<Index>() {
            let own = index.id();
            let stands = cx.live.needs.get(&own).is_some_and(|needs| needs.contains(id));
            if stands && cx.desired.contains(&own) && !changes.contains_key(&own) {
                found.push((id.clone(), index.clone()));
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

/// Builds them again beside the old ones, once their functions have the new bodies. (What REINDEX
/// CONCURRENTLY did cannot be seen after a crash.)
pub fn apply(cx: &Context<'_>, wanted: Vec<(Id, Index)>, draft: &mut Draft) {
    for (function, index) in wanted {
        let id = index.id();
        if draft.first.contains_key(&id) {
            // Two functions under one index.
            if let (Some(ready), Some(begins)) = (draft.ready.get(&function).copied(), draft.first.get(&id).copied()) {
                draft.order(ready, begins);
            }
            continue;
        }
        let Some(ready) = draft.ready.get(&function).copied() else { continue };
        // On the way back the function changes last: the index is built once more with what it gives then.
        let back = draft.ops[ready].undo.get_or_insert_with(|| altered_back(cx, &function));
        back.extend([COMMIT.to_owned(), format!("REINDEX INDEX CONCURRENTLY {}", id.in_schema()), BEGIN.to_owned()]);
        super::index::replace(cx, &index, &index, draft);
        let begins = draft.first[&id];
        draft.order(ready, begins);
    }
}
