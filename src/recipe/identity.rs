//! A column that counts by itself and takes its values from a sequence of its own afterwards, or the other way round: what
//! counts next goes on behind the rows, in one transaction with what counted before.

use crate::catalog::id::{literal, quote};
use crate::catalog::{Id, Ident};
use crate::kind::column::Column;
use crate::kind::default::Default;
use crate::kind::index::Index;
use crate::kind::primary_key::PrimaryKey;
use crate::kind::sequence::Sequence;
use crate::kind::unique::Unique;
use crate::kind::{Kind as _, Object};
use crate::plan::draft::{Context, Draft, name_blocking};
use crate::plan::op::{Action, Cost, LockMode};

/// Looks at what the other recipes drafted.
pub fn count_on(cx: &Context<'_>, draft: &mut Draft) {
    become_defaults(cx, draft);
    come_of_defaults(cx, draft);
}

/// An action that looks for the greatest value of a column: at hand where an index begins with it, else it reads the table.
#[must_use]
pub fn looked_up(cx: &Context<'_>, action: Action, column: &Column) -> Action {
    let table = &column.table;
    let first = |columns: &[Ident]| columns.first() == Some(&column.name);
    let at_hand = cx.live.within::<PrimaryKey>(table).any(|key| first(&key.key.columns))
        || cx.live.within::<Unique>(table).any(|unique| first(&unique.key.columns))
        || cx.live.within::<Index>(table).any(|index| index.filter.is_none() && index.elements.first() == Some(&quote(&column.name)));
    if at_hand {
        return action;
    }
    let action = action.lock(table, LockMode::AccessExclusive, Cost::Scan);
    if cx.is_small(table) { action } else { name_blocking(action, table, cx.facts.rows(table)) }
}

/// A column that counted by itself and takes its values from a sequence now: that one goes on behind the rows, and no
/// statement of a client comes in between.
fn become_defaults(cx: &Context<'_>, draft: &mut Draft) {
    let made: Vec<(Id, usize)> =
        draft.ready.iter().filter(|(id, _)| id.kind == Default::KEYWORD).map(|(id, at)| (id.clone(), *at)).collect();
    for (id, at) in made {
        let Some(default) = cx.desired.get_as::<Default>(&id) else { continue };
        let columns = [cx.live, cx.desired].map(|state| state.get_as::<Column>(&default.column));
        let [Some(Column { identity: Some(_), .. }), Some(column @ Column { identity: None, .. })] = columns else { continue };
        let needs = cx.desired.all_needs(&Object::from(default.clone()));
        let Some(sequence) = needs.iter().find_map(|need| cx.desired.get_as::<Sequence>(need)) else { continue };
        let Some(away) = draft.ready.get(&column.id()).copied().filter(|away| *away != at) else { continue };
        let goes_on = column.behind_rows(&literal(&sequence.id().sql()), &sequence.options);
        draft.ops[at].action = looked_up(cx, std::mem::take(&mut draft.ops[at].action), column).sql(goes_on);
        let group = draft.ops[away].group.unwrap_or_else(|| draft.group());
        draft.ops[away].group = Some(group);
        draft.ops[at].group = Some(group);
        draft.order(away, at);
    }
}

/// The other way round: a row that comes in between would have no value.
fn come_of_defaults(cx: &Context<'_>, draft: &mut Draft) {
    let gone: Vec<(Id, usize)> =
        draft.gone.iter().filter(|(id, _)| id.kind == Default::KEYWORD).map(|(id, at)| (id.clone(), *at)).collect();
    for (id, default_goes) in gone {
        let Some(default) = cx.live.get_as::<Default>(&id) else { continue };
        if cx.desired.get_as::<Column>(&default.column).is_none_or(|column| column.identity.is_none()) {
            continue;
        }
        let Some(counts) = draft.ready.get(&default.column).copied() else { continue };
        let needs = cx.live.all_needs(&Object::from(default.clone()));
        let sequences = needs.iter().filter(|need| need.kind == Sequence::KEYWORD).filter_map(|need| draft.gone.get(need).copied());
        let all: Vec<usize> = sequences.chain([default_goes, counts]).collect();
        let group = all.iter().find_map(|at| draft.ops[*at].group).unwrap_or_else(|| draft.group());
        for at in all {
            draft.ops[at].group = Some(group);
        }
    }
}
