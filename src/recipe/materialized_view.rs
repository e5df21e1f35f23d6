//! A materialized view with another query: built and indexed beside the old one, which answers until both change
//! their names in one transaction (safe-changes.md, Tables and the rest).

use super::undo;
use crate::catalog::Id;
use crate::catalog::id::derived_name;
use crate::kind::index::Index;
use crate::kind::materialized_view::MaterializedView;
use crate::kind::{Kind as _, Object};
use crate::plan::draft::{Context, Draft, Op, create, drop};
use crate::plan::op::Hazard;
use crate::plan::plan::StageName;

const RECIPE: &str = "replace-materialized-view";

/// Makes the new form of the view, or of an index on it, beside the old one; `group` is the transaction in which the
/// old one goes and what stands on it is made again.
pub fn replace(cx: &Context<'_>, view: &Id, old: &Object, new: &Object, group: Option<usize>, draft: &mut Draft) {
    let id = new.id();
    let beside_view = view.renamed(&derived_name(view.name(), "_new"));
    let (beside, rename) = match new {
        Object::MaterializedView(new) => {
            let mut beside = MaterializedView { name: beside_view.name().into(), ..new.clone() };
            // Filled if the old one is: REFRESH is the application's business.
            if let Object::MaterializedView(old) = old {
                beside.populated = old.populated.clone();
            }
            (Object::from(beside), MaterializedView::rename(&beside_view, &id))
        }
        Object::Index(new) => {
            let name = derived_name(&new.name, "_new");
            let beside = Index { on: beside_view.clone(), name: name.clone(), ..new.clone() };
            // By then it is the new view's.
            (Object::from(beside), Index::rename(&view.child(Index::KEYWORD, &name), &id))
        }
        _ => return,
    };
    let beside_id = beside.id();
    let mut build = create(&beside, StageName::Backfill).puts_temporary(&beside_id);
    build.effects.remove(0);
    build.recipe = RECIPE;
    build.action.title = format!("Build the new {id} beside the old one");
    // Nobody uses it yet.
    build.action.locks.clear();
    // An index goes away with the view that it is on.
    build.undo = Some(if matches!(new, Object::Index(_)) { Vec::new() } else { beside.drop().sql });
    let mut name = Op::new(&id, rename.unwrap_or_default(), StageName::Switch, RECIPE).removes(&beside_id).puts(new.clone());
    name.action.title = format!("Give the new {id} its name");
    name.action.locks.clear();
    name.action.hazards.clear();
    name.group = group;
    let back = match new {
        Object::MaterializedView(_) => MaterializedView::rename(&id, &beside_view),
        _ => Index::rename(&id, &view.child(Index::KEYWORD, beside_id.name())),
    };
    name.undo = Some(back.unwrap_or_default().sql);
    let is_view = matches!(new, Object::MaterializedView(_));
    if is_view {
        name.action = std::mem::take(&mut name.action)
            .hazard(Hazard::Breaking, format!("{id} is made anew: statements that rely on its old form fail"));
    }
    let build = draft.push(build);
    if is_view {
        let mut away = drop(old, StageName::Switch);
        away.action.hazards.clear();
        away.action.loses = None;
        // Made again with its indexes, filled if it was.
        away.undo = Some(undo::remake(cx, old));
        away.group = group;
        let away = draft.push(away);
        let name = draft.push(name);
        draft.order(build, away);
        draft.order(away, name);
        draft.first.insert(id.clone(), build);
        draft.making.insert(id.clone(), build);
        draft.gone.insert(id.clone(), away);
        draft.ready.insert(id, name);
        return;
    }
    // The view comes first in every state.
    let name = draft.push(name);
    for (map, later) in [(&draft.making, build), (&draft.ready, name)] {
        if let Some(of) = map.get(view).copied() {
            draft.edges.insert((of, later));
        }
    }
    if let Some(away) = draft.gone.get(view).copied() {
        draft.order(build, away);
    }
    for map in [&mut draft.first, &mut draft.making, &mut draft.ready] {
        map.insert(id.clone(), name);
    }
}
