//! What a partition's column is set to for itself (statistics target, storage, compression, options, NOT NULL): it comes, and changes
//! its type, with the column of the table above, and is set as that one then.

use super::backfill;
use crate::catalog::Id;
use crate::kind::Kind as _;
use crate::kind::column::Column;
use crate::kind::default::Default;
use crate::plan::draft::{Context, Draft, Effect, Op};
use crate::plan::op::{Action, Alteration};
use crate::plan::plan::StageName;

const RECIPE: &str = "part-column";

/// Sets it again behind each such change.
pub fn set_again(cx: &Context<'_>, draft: &mut Draft) {
    let followers: Vec<(Id, Id)> = draft.followers.iter().filter(|(id, _)| id.kind == Column::KEYWORD).cloned().collect();
    for (id, above) in &followers {
        let top = top(&followers, above);
        let Some((first, ready)) = draft.first.get(top).copied().zip(draft.ready.get(top).copied()) else { continue };
        let (Some(wanted), Some(leading)) = (cx.desired.get_as::<Column>(id), cx.desired.get_as::<Column>(above)) else { continue };
        let live = |id: &Id| cx.live.get_as::<Column>(id);
        let came = came(wanted, leading, live(id).zip(live(above)));
        if live(id).is_none() && wanted.not_null && !leading.not_null {
            not_null(cx, wanted, ready, draft);
        }
        let Some(action) = setting(&came, wanted) else { continue };
        // A column that came goes again with the one above it.
        let at = draft.push(Op::new(id, action, StageName::Expand, RECIPE).undo(Vec::new()).puts(wanted.clone()));
        draft.order(if live(id).is_some() { ready } else { first }, at);
    }
}

/// A column that came is NOT NULL in the partition alone.
fn not_null(cx: &Context<'_>, column: &Column, ready: usize, draft: &mut Draft) {
    let id = column.id();
    let above = cx.hints.renames.iter().find(|(new, _)| new.name() == id.name() && draft.ready.get(new) == Some(&ready));
    let renamed = above.and_then(|(_, old)| cx.live.get_as::<Column>(&column.table.child(Column::KEYWORD, old.name())));
    // Clients of the old release leave it out.
    let filled = renamed.map_or_else(|| cx.desired.contains(&Default::id_of(&id)), |old| old.not_null);
    let stage = if filled { StageName::Switch } else { StageName::Contract };
    let mut before = ready;
    for op in backfill::set_not_null(cx, column, stage, RECIPE) {
        let at = draft.push(op);
        draft.order(before, at);
        before = at;
    }
    draft.not_null.insert(id, before);
}

/// The way back of a change of type goes over them as well: the old ones come behind it.
pub fn set_back(cx: &Context<'_>, draft: &mut Draft) {
    let followers: Vec<(Id, Id)> = draft.followers.iter().filter(|(id, _)| id.kind == Column::KEYWORD).cloned().collect();
    for (id, above) in &followers {
        let [own, theirs] = [cx.live, cx.desired].map(|state| state.get_as::<Column>(id).zip(state.get_as::<Column>(above)));
        let (Some((old, old_above)), Some(now)) = (own, theirs) else { continue };
        let Some(action) = setting(&came(old, old_above, Some(now)), old) else { continue };
        let top = top(&followers, above);
        let altering = |op: &Op| op.recipe == "alter" && op.id == *top && op.effects.iter().any(|effect| matches!(effect, Effect::Put(_)));
        if let Some(undo) = draft.ops.iter_mut().find(|op| altering(op)).and_then(|op| op.undo.as_mut()) {
            undo.extend(action.sql);
        }
    }
}

fn top<'f>(followers: &'f [(Id, Id)], above: &'f Id) -> &'f Id {
    let next = |id: &&Id| followers.iter().find(|(own, _)| own == *id).map(|(_, above)| above);
    std::iter::successors(Some(above), next).last().unwrap_or(above)
}

/// The column as it is once the one above it has its new form; `before`: it and the one above it, where they were there.
/// (Another type sets storage and compression anew; SET COMPRESSION, unlike SET STORAGE, stays with its table; measured.)
fn came(column: &Column, above: &Column, before: Option<(&Column, &Column)>) -> Column {
    let Column { storage, compression, statistics, options, .. } = above.clone();
    let Some((own, was)) = before else { return Column { storage, compression, statistics, options, ..column.clone() } };
    let retyped = was.data_type != above.data_type || was.collation != above.collation;
    Column {
        storage: if retyped || was.storage != storage { storage } else { own.storage.clone() },
        compression: own.compression.clone().filter(|_| !retyped),
        statistics: if was.statistics == statistics { own.statistics } else { statistics },
        options: if was.options == options { own.options.clone() } else { options },
        ..column.clone()
    }
}

/// What sets a column that came so as it is wanted.
fn setting(came: &Column, wanted: &Column) -> Option<Action> {
    let Alteration::Act(actions) = Column::alter(came, wanted) else { return None };
    actions.into_iter().filter(|action| !action.sql.is_empty()).reduce(|mut all, action| {
        all.sql.extend(action.sql);
        all.locks.extend(action.locks);
        all.title = format!("Set what {} has for itself", wanted.id());
        all
    })
}
