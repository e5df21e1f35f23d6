//! A table's own triggers while old and new columns are kept in step: they stand between the triggers that do so.

use std::collections::{BTreeMap, BTreeSet};

use super::undo;
use crate::catalog::closure::mentions_word;
use crate::catalog::{Id, Ident};
use crate::kind::Kind as _;
use crate::kind::column::Column;
use crate::kind::trigger::Trigger;
use crate::plan::change::{Change, Changes};
use crate::plan::draft::{Context, Draft, Effect, Op};
use crate::plan::op::{Action, Hazard};
use crate::plan::plan::StageName;

const RECIPE: &str = "own-trigger";

/// Names for people.
#[must_use]
pub fn listed(names: &[&Ident]) -> String {
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// What it means for the old columns that a function speaks of the new ones.
#[derive(Clone, Copy)]
pub enum Turn<'t> {
    /// They are the same values: the last sync trigger lets the new ones win.
    Wins {
        /// The statement that does so.
        last: &'t str,
        /// The statement that takes it back.
        again: &'t str,
    },
    /// They are not: what the function did to these is done no longer.
    InsteadOf(&'t [&'t Ident]),
}

/// The table's own triggers that can change a row before it is written.
pub fn changing<'c>(cx: &'c Context<'_>, table: &'c Id) -> impl Iterator<Item = &'c Trigger> {
    cx.live.within::<Trigger>(table).filter(|trigger| trigger.timing == "before" && trigger.for_each_row)
}

/// Functions of the table's own triggers that speak of the new column from now on: they change in the
/// switch, in one transaction with what that asks of the triggers that keep both sides in step.
pub fn turn_functions(
    cx: &Context<'_>,
    table: &Id,
    new: &[&Ident],
    turn: Turn<'_>,
    recipe: &'static str,
    changes: &mut Changes,
    draft: &mut Draft,
) {
    let functions: BTreeSet<Id> = changing(cx, table).map(|trigger| trigger.execute.function.clone()).collect();
    for function in functions {
        let (Some(Change::Alter(actions)), Some(desired)) = (changes.get(&function), cx.desired.get(&function)) else { continue };
        let spoken: Vec<&Ident> = new.iter().copied().filter(|name| mentions_word(desired, name)).collect();
        if spoken.is_empty() {
            continue;
        }
        let mut action = Action::new(format!("Let {function} speak of {}", listed(&spoken)));
        action.sql = actions.iter().flat_map(|action| action.sql.clone()).collect();
        let back = cx.live.get(&function).map(|old| crate::kind::Object::alter(desired, old));
        let mut undo = Vec::new();
        match turn {
            Turn::Wins { last, again } => {
                action.sql.push(last.to_owned());
                undo.push(again.to_owned());
            }
            Turn::InsteadOf(old) => {
                let (new, old) = (listed(&spoken), listed(old));
                let subject = format!("from the switch on {function} sees to {new}, and no longer to {old}, which old clients write");
                action = action.hazard(Hazard::Breaking, subject);
            }
        }
        if let Some(crate::plan::Alteration::Act(actions)) = back {
            undo.extend(actions.into_iter().flat_map(|action| action.sql));
        }
        let op = Op::new(&function, action, StageName::Switch, recipe).undo(undo).puts(desired.clone());
        changes.shift_remove(&function);
        draft.chain(&function, vec![op]);
    }
}

/// The table's own triggers that fire on an UPDATE of the old column: from the switch on they fire on one of either,
/// when the old clients are gone, on one of the new column.
pub fn keep_firing(
    cx: &Context<'_>,
    table: &Id,
    old: &[&Ident],
    new: &[&Ident],
    recipe: &'static str,
    changes: &mut Changes,
    draft: &mut Draft,
) {
    let fires = |trigger: &Trigger, names: &[&Ident]| names.iter().any(|name| trigger.update_of.contains(name));
    let wanted = |trigger: &&Trigger| trigger.relation == *table && fires(trigger, old);
    for live in cx.live.of::<Trigger>().filter(wanted) {
        let id = live.id();
        let Some(desired) = cx.desired.get_as::<Trigger>(&id).filter(|desired| fires(desired, new)) else { continue };
        // What it calls may be made again beneath it: then it goes and comes with that.
        if !matches!(changes.get(&id), Some(Change::Alter(_) | Change::Replace)) || super::plain::must_go_first(cx, changes, &id).is_some()
        {
            continue;
        }
        changes.shift_remove(&id);
        let mut both = desired.clone();
        let of = |trigger: &Trigger, names: &[&Ident]| {
            names.iter().filter(|name| trigger.update_of.contains(name)).copied().cloned().collect::<Vec<_>>()
        };
        let (was, now) = (of(live, old), of(desired, new));
        both.update_of.extend(was.clone());
        let (was, now) = (listed(&was.iter().collect::<Vec<_>>()), listed(&now.iter().collect::<Vec<_>>()));
        let title = [format!("Let {id} fire on {was} and on {now}"), format!("Let {id} fire on {now} alone")];
        let forms = [(live, &both, StageName::Switch), (&both, desired, StageName::Contract)];
        let ops = forms.into_iter().zip(title).map(|((from, to, stage), title)| {
            let mut action = statements(from, to);
            action.title = title;
            Op::new(&id, action, stage, recipe).undo(statements(to, from).sql).puts(to.clone())
        });
        let ops: Vec<Op> = ops.collect();
        draft.chain(&id, ops);
    }
}

/// Those that [`keep_firing`] took go and come again around the change in place of the type of another column that they
/// name: PostgreSQL refuses it while they stand ("cannot alter type of a column used in a trigger definition").
pub fn make_way(cx: &Context<'_>, draft: &mut Draft) {
    let standing: Vec<(Id, usize)> =
        draft.first.iter().filter(|(id, _)| id.kind == Trigger::KEYWORD).map(|(id, at)| (id.clone(), *at)).collect();
    for (id, first) in standing {
        let Some(live) = cx.live.get(&id).filter(|_| !draft.gone.contains_key(&id)) else { continue };
        let needs = cx.live.all_needs(live);
        let columns: Vec<&Id> = needs.iter().filter(|need| need.kind == Column::KEYWORD).collect();
        let retypes = |op: &Op| {
            columns.contains(&&op.id) && matches!(op.recipe, "alter" | "convert") && op.action.sql.iter().any(|sql| sql.contains(" TYPE "))
        };
        let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        let found: Vec<usize> = (0..draft.ops.len()).filter(|at| retypes(&draft.ops[*at])).collect();
        for at in found {
            let group = draft.ops[at].group.unwrap_or_else(|| draft.group());
            draft.ops[at].group = Some(group);
            groups.entry(group).or_default().push(at);
        }
        let mut last = None;
        for (group, retyping) in groups {
            let again = undo::remake(cx, live);
            let op = |title: String, sql: Vec<String>, undo: Vec<String>| {
                let mut op = Op::new(&id, Action { title, sql, ..live.drop() }, StageName::Expand, RECIPE).undo(undo);
                op.group = Some(group);
                op
            };
            let away = draft.push(op(format!("Take {id} away for a moment"), live.drop().sql, again.clone()).removes(&id));
            let back = draft.push(op(format!("Make {id} again"), again, live.drop().sql).puts(live.clone()));
            if let Some(last) = last {
                draft.order(last, away);
            }
            for at in retyping {
                draft.order(away, at);
                draft.order(at, back);
            }
            draft.order(back, first);
            last = Some(back);
        }
    }
}

/// From one form of a trigger to another: in place, or gone and made again at once.
fn statements(from: &Trigger, to: &Trigger) -> Action {
    match Trigger::alter(from, to) {
        crate::plan::Alteration::Act(actions) | crate::plan::Alteration::Retype(actions) => {
            actions.into_iter().reduce(joined).unwrap_or_default()
        }
        crate::plan::Alteration::Replace => joined(from.drop(), to.create()),
    }
}

fn joined(mut first: Action, second: Action) -> Action {
    first.sql.extend(second.sql);
    first.locks.extend(second.locks);
    first.hazards.extend(second.hazards);
    first
}

/// Names the functions of a table's own triggers that go on to speak of a column which goes: nothing records what a body
/// names, and every statement that fires them fails from then on.
pub fn left_behind(cx: &Context<'_>, draft: &mut Draft) {
    if cx.policy.direct {
        return;
    }
    for op in &mut draft.ops {
        let gone = op.effects.iter().filter_map(|effect| if let Effect::Remove(id) = effect { Some(id) } else { None });
        let columns = gone.filter(|id| id.kind == Column::KEYWORD && cx.live.contains(id) && !cx.desired.contains(id));
        let found: BTreeSet<String> = columns.flat_map(|column| speaking(cx, column)).collect();
        op.action.hazards.extend(found.into_iter().map(|subject| (Hazard::Breaking, subject)));
    }
}

/// What fills a column may read one that goes: it ends before that.
pub fn stopped_first(cx: &Context<'_>, draft: &mut Draft) {
    let removed = |op: &Op, kind: &str| -> BTreeSet<Id> {
        let gone = op.effects.iter().filter_map(|effect| if let Effect::Remove(id) = effect { Some(id) } else { None });
        gone.filter(|id| id.kind == kind && cx.live.contains(id) == (kind == Column::KEYWORD)).map(|id| id.up("table")).collect()
    };
    let of = |kind: &str| -> Vec<(usize, BTreeSet<Id>)> {
        let found = draft.ops.iter().enumerate().filter(|(_, op)| op.stage == StageName::Contract);
        found.map(|(at, op)| (at, removed(op, kind))).filter(|(_, tables)| !tables.is_empty()).collect()
    };
    let (columns, helpers) = (of(Column::KEYWORD), of(Trigger::KEYWORD));
    let fills = |at: &usize| [super::add_column::RECIPE, super::not_null::RECIPE].contains(&draft.ops[*at].recipe);
    let helpers: Vec<_> = helpers.into_iter().filter(|(at, _)| fills(at)).collect();
    for (helper, on) in &helpers {
        for (column, _) in columns.iter().filter(|(_, tables)| !tables.is_disjoint(on)) {
            draft.order(*helper, *column);
        }
    }
}

fn speaking(cx: &Context<'_>, column: &Id) -> Vec<String> {
    let table = column.up("table");
    let names = ["new", "old"].map(|row| format!("{row}.{}", column.name_sql().to_lowercase()));
    let speaks = |text: &&str| {
        let text = text.to_lowercase();
        let ends = |at: usize| !text[at..].starts_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$');
        names.iter().any(|name| text.match_indices(name.as_str()).any(|(at, _)| ends(at + name.len())))
    };
    let triggers = cx.desired.within::<Trigger>(&table);
    let functions: BTreeSet<&Id> = triggers.map(|trigger| &trigger.execute.function).collect();
    functions
        .into_iter()
        .filter(|function| cx.desired.get(function).is_some_and(|object| object.texts().iter().any(speaks)))
        .map(|function| format!("{function} goes on to speak of {column}: what fires it fails when that is gone"))
        .collect()
}
