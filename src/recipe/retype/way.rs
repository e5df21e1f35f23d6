//! How values become those of another type where a column stays, and how they come back: as the author says, where he does.

use crate::catalog::id::quote;
use crate::kind::Kind as _;
use crate::kind::column::Column;
use crate::plan::draft::Context;
use crate::plan::op::Alteration;

/// The author's expression for rows that are there. Where the column becomes NOT NULL, it is for those that hold none.
pub fn there<'c>(cx: &Context<'c>, old: &Column, new: &Column) -> Option<&'c String> {
    cx.hints.backfills.get(&new.id()).filter(|_| old.not_null || !new.not_null)
}

/// The statements that make `before` of `now` again; nothing where no value is known to come back: the author says how they
/// become the new ones and not how they do the old ones, or PostgreSQL has no cast back.
#[must_use]
pub fn back(cx: &Context<'_>, now: &Column, before: &Column) -> Option<Vec<String>> {
    let (Alteration::Act(actions) | Alteration::Retype(actions)) = Column::alter(now, before) else { return None };
    let id = now.id();
    let retyped = now.data_type != before.data_type;
    let revert = cx.hints.reverts.get(&id).filter(|_| retyped);
    let one_way = there(cx, before, now).is_some() || cx.facts.retypes.get(&id).is_some_and(|retype| retype.one_way);
    if retyped && revert.is_none() && one_way {
        return None;
    }
    let cast = before.retype_sql(&before.conversion(now, &quote(&before.name)));
    let sql = actions.into_iter().flat_map(|action| action.sql);
    Some(
        sql.map(|sql| revert.filter(|_| sql == cast).map_or_else(|| sql.clone(), |revert| before.retype_sql(&format!("({revert})"))))
            .collect(),
    )
}
