//! Columns that others take the place of: one that is split into several, several that are merged into one, one that is
//! computed anew. Both sides stand, kept in step by triggers, until the old clients are gone: what an old client writes
//! becomes the new columns by their `backfill`, what a new client writes becomes the old ones by `revert … of=`.
//!
//! The way there and back need not give the same value: no side that a client wrote is ever computed from the other.

mod group;
mod triggers;

use group::{Group, New, Old};

use std::collections::BTreeSet;

use super::sync::take_if_there;
use super::{backfill, drop_column, own_trigger, preflight, published, rights, types};
use crate::catalog::closure::words;
use crate::catalog::id::quote;
use crate::catalog::{Id, Ident};
use crate::kind::Kind as _;
use crate::kind::column::Column;
use crate::kind::default::Default;
use crate::plan::change::{Change, Changes};
use crate::plan::draft::{Context, Draft, Op, name_blocking};
use crate::plan::op::{Action, Cost, Hazard, LockMode};
use crate::plan::plan::StageName;

const RECIPE: &str = "replace-columns";

/// Takes the columns that come and those that go where the former are computed from the latter.
pub fn apply(cx: &Context<'_>, changes: &mut Changes, draft: &mut Draft) {
    if cx.policy.direct {
        return;
    }
    renamed_above(cx, changes, draft);
    for group in group::groups(cx, changes) {
        if let Some(why) = group.not_in_step(cx) {
            // They are added and dropped each for itself.
            let subject = format!(
                "what old clients write into {} does not reach {}, nor the other way: {why}",
                group.old_title(),
                own_trigger::listed(&group.new_names())
            );
            let id = group.new[0].column.id();
            draft.push(Op::new(&id, Action::new("").hazard(Hazard::Breaking, subject), StageName::Expand, RECIPE));
            continue;
        }
        for New { column, .. } in &group.new {
            changes.shift_remove(&column.id());
            // It gets its default at the end, as a renamed column does.
            changes.shift_remove(&Default::id_of(&column.id()));
        }
        for Old { column, .. } in &group.old {
            changes.shift_remove(&column.id());
        }
        put(cx, &group, draft);
        let (old, new) = (group.old_names(), group.new_names());
        own_trigger::turn_functions(cx, group.table, &new, own_trigger::Turn::InsteadOf(&old), RECIPE, changes, draft);
        own_trigger::keep_firing(cx, group.table, &old, &new, RECIPE, changes, draft);
    }
}

/// Columns of a table that gets another name in the same plan: what takes the place of what is not known then.
fn renamed_above(cx: &Context<'_>, changes: &Changes, draft: &mut Draft) {
    let of = |wanted: Change| {
        let table = |id: &Id| cx.hints.renames.contains_key(&id.up("table")) && cx.persists(&id.up("table"));
        changes.iter().filter(move |(id, change)| **change == wanted && id.kind == Column::KEYWORD && table(id)).map(|(id, _)| id)
    };
    for new in of(Change::Create) {
        let read = cx.hints.backfills.get(new).map(|expression| words(expression)).unwrap_or_default();
        let replaced = of(Change::Drop).filter(|old| old.up("table") == new.up("table") && !cx.facts.reads.contains_key(new));
        for old in replaced.filter(|old| read.contains(old.name())) {
            let subject = format!(
                "what old clients write into {old} does not reach {}, nor the other way: {} is renamed in the same plan: make two plans of it",
                new.name(),
                new.up("table")
            );
            draft.push(Op::new(new, Action::new("").hazard(Hazard::Breaking, subject), StageName::Expand, RECIPE));
        }
    }
}

impl Group<'_> {
    fn old_names(&self) -> Vec<&Ident> {
        self.old.iter().map(|old| &old.column.name).collect()
    }

    fn new_names(&self) -> Vec<&Ident> {
        self.new.iter().map(|new| &new.column.name).collect()
    }

    /// The columns that go of which one that comes is computed.
    fn replaced_by(&self, cx: &Context<'_>, new: &Column) -> Vec<Id> {
        let read = |old: &Old<'_>| {
            cx.facts.reads.get(&new.id()).is_some_and(|names| names.contains(&old.column.name))
                || cx.hints.renames.get(&new.id()) == Some(&old.column.id())
        };
        let own: Vec<Id> = self.old.iter().filter(|old| read(old)).map(|old| old.column.id()).collect();
        if own.is_empty() { self.old.iter().map(|old| old.column.id()).collect() } else { own }
    }

    /// `column public.users.full_name`, `first_name, last_name of table public.users`.
    fn old_title(&self) -> String {
        match &self.old[..] {
            [one] => one.column.id().to_string(),
            _ => format!("{} of {}", own_trigger::listed(&self.old_names()), self.table),
        }
    }

    fn them(&self) -> &'static str {
        if self.new.len() == 1 { "it" } else { "them" }
    }

    fn new_title(&self) -> String {
        match &self.new[..] {
            [one] => one.column.id().to_string(),
            _ => format!("{} of {}", own_trigger::listed(&self.new_names()), self.table),
        }
    }
}

/// The operations of a group.
fn put(cx: &Context<'_>, group: &Group<'_>, draft: &mut Draft) {
    let sync = triggers::triggers(cx, group);
    let mut ops: Vec<Op> =
        group.old.iter().filter(|old| old.back.is_none()).filter_map(|old| drop_column::loosen(cx, old.column)).collect();
    ops.extend([expand(cx, group, &sync), fill(cx, group)]);
    let begun: Vec<usize> = in_order(draft, ops);
    let (first, filled) = (begun[begun.len() - 2], begun[begun.len() - 1]);
    let last = draft.push(contract(cx, &draft.leaving, group, &sync));
    draft.order(filled, last);
    for New { column, .. } in &group.new {
        let proof = if column.not_null { backfill::set_not_null(cx, column, StageName::Switch, RECIPE) } else { Vec::new() };
        let proof = in_order(draft, proof);
        if let (Some(begins), Some(ends)) = (proof.first(), proof.last()) {
            draft.order(filled, *begins);
            draft.order(*ends, last);
        }
        draft.first.insert(column.id(), first);
        draft.ready.insert(column.id(), filled);
        draft.not_null.insert(column.id(), proof.last().copied().unwrap_or(filled));
    }
    draft.gone.extend(group.old.iter().map(|old| (old.column.id(), last)));
}

/// Adds operations one after the other.
fn in_order(draft: &mut Draft, ops: Vec<Op>) -> Vec<usize> {
    let indexes: Vec<usize> = ops.into_iter().map(|op| draft.push(op)).collect();
    for pair in indexes.windows(2) {
        draft.order(pair[0], pair[1]);
    }
    indexes
}

/// The new columns, and what keeps them in step.
fn expand(cx: &Context<'_>, group: &Group<'_>, sync: &triggers::Sync) -> Op {
    let table = group.table;
    let nullable = |column: &Column| Column { not_null: false, ..column.clone() };
    let title = format!("Add {} and keep {} in step with {}", group.new_title(), group.them(), own_trigger::listed(&group.old_names()));
    let mut action = Action::new(title).hazard(Hazard::RowShape, format!("{table} gets a column"));
    let mut rewrites = false;
    for New { column, .. } in &group.new {
        let add = nullable(column).add(types::no_default(cx, column));
        action.sql.extend(add.sql);
        rewrites |= types::is_constrained(cx, column);
    }
    action = action.lock(table, LockMode::AccessExclusive, if rewrites { Cost::Rewrite } else { Cost::Instant });
    if rewrites && !cx.is_small(table) {
        action = name_blocking(action, table, cx.facts.rows(table));
    }
    for New { column, .. } in &group.new {
        action = published::warn_of_column(cx, table, &column.name, action);
    }
    for (hazard, subject) in hazards(cx, group) {
        action = action.hazard(hazard, subject);
    }
    for New { column, .. } in &group.new {
        action.sql.extend(rights::of_column_from(cx, &column.id(), &group.replaced_by(cx, column)));
    }
    action.sql.extend(sync.make.clone());
    let drops = group.new.iter().map(|new| format!("ALTER TABLE {} DROP COLUMN {}", table.sql(), quote(&new.column.name)));
    let mut op = Op::new(&group.new[0].column.id(), action, StageName::Expand, RECIPE)
        .undo(take_if_there(&sync.take).into_iter().chain(drops).collect());
    for New { column, .. } in &group.new {
        op = op.puts(nullable(column));
    }
    for helper in &sync.helpers {
        op = op.puts_temporary(helper);
    }
    let values: Vec<(&Column, &str)> = group.new.iter().map(|new| (new.column, new.value.as_str())).collect();
    for old in &group.old {
        op.violations.extend(old.back.as_ref().map(|back| preflight::given_back(cx, old.column, back, &values)));
    }
    op
}

/// What clients of one release do not find, or cannot say, while both are there.
fn hazards(cx: &Context<'_>, group: &Group<'_>) -> Vec<(Hazard, String)> {
    let mut hazards = Vec::new();
    let news = own_trigger::listed(&group.new_names());
    let has_default = |old: &Column| cx.live.contains(&Default::id_of(&old.id())) || types::has_default(cx.live, &old.data_type);
    for Old { column, .. } in group.old.iter().filter(|old| old.back.is_none()) {
        let id = column.id();
        let in_new = if has_default(column) { "its default" } else { "NULL" };
        let subject = format!(
            "until contract old clients find in {id} what was there before where a new client changed {news}, and {in_new} in rows that it inserted; `revert \"…\" of={}` at {} keeps it in step",
            column.name, group.new[0].column.name
        );
        hazards.push((Hazard::Breaking, subject));
        hazards.extend(drop_column::stuck_in_key(cx, column).map(|subject| (Hazard::Breaking, subject)));
    }
    for Old { column, .. } in group.old.iter().filter(|old| old.column.not_null && old.back.is_some()) {
        let id = column.id();
        let found = cx.facts.gives_null.get(&id).into_iter().flatten();
        let nulls: Vec<&Ident> = found.filter(|name| group.new.iter().any(|new| new.column.name == **name)).collect();
        if !nulls.is_empty() {
            let listed = own_trigger::listed(&nulls);
            let subject = format!(
                "a new client that leaves {listed} NULL is refused until contract: {id} is NOT NULL, and its `revert` then gives NULL"
            );
            hazards.push((Hazard::Breaking, subject));
        }
    }
    // The trigger cannot tell a NULL that was given from one that was left out.
    let all_nullable = group.new.iter().all(|new| !new.column.not_null);
    if let Some(old) = group.old.iter().find(|old| all_nullable && has_default(old.column)) {
        let subject = format!("an INSERT that gives {news} as NULL gets what comes of the default of {} until contract", old.column.name);
        hazards.push((Hazard::Breaking, subject));
    }
    for New { column, .. } in group.new.iter().filter(|new| !new.column.not_null && new.default.is_some()) {
        let subject = format!("an INSERT that gives {} as NULL gets its default until contract", column.name);
        hazards.push((Hazard::Breaking, subject));
    }
    hazards
}

/// Rows that are there: forward only, whatever the triggers would make of it.
fn fill(cx: &Context<'_>, group: &Group<'_>) -> Op {
    let wants = |new: &New<'_>| {
        let null = types::is_null(cx, new.column, &quote(&new.column.name));
        let gives = types::is_not_null(cx, new.column, &format!("({})", new.value));
        if new.column.not_null { null } else { format!("{null} AND {gives}") }
    };
    let filter = match &group.new[..] {
        [one] => wants(one),
        several => several.iter().map(|new| format!("({})", wants(new))).collect::<Vec<_>>().join(" OR "),
    };
    let value = |new: &New<'_>| format!("({})", new.value);
    let set = group.new.iter().map(|new| format!("{} = {}", quote(&new.column.name), value(new))).collect::<Vec<_>>().join(", ");
    let settings = vec![(super::rename_column::MARKER.to_owned(), "on".to_owned())];
    let mut op = backfill::fill_set(cx, &group.new[0].column.id(), group.table, &set, &filter, RECIPE, settings);
    op.fills = group.new.iter().map(|new| (new.column.id(), value(new))).collect();
    op.action.title = format!("Backfill {}", group.new_title());
    op
}

/// The end of the triggers and of the old columns, at once: no client could insert between the two.
fn contract(cx: &Context<'_>, leaving: &BTreeSet<Id>, group: &Group<'_>, sync: &triggers::Sync) -> Op {
    let verb = if group.new.len() == 1 { "replaces" } else { "replace" };
    let news = own_trigger::listed(&group.new_names());
    let title = format!("Drop {}, which {news} {verb}", group.old_title());
    let defaults: Vec<&Default> = group.new.iter().filter_map(|new| new.default).collect();
    let unset = group.new.iter().filter(|new| new.default.is_none()).map(|new| new.column).filter_map(|column| {
        types::no_default(cx, column)?;
        Some(format!("ALTER TABLE {} ALTER COLUMN {} DROP DEFAULT", column.table.sql(), quote(&column.name)))
    });
    let first = sync.take.iter().cloned().chain(defaults.iter().flat_map(|default| default.create().sql)).chain(unset).collect();
    let olds: Vec<&Column> = group.old.iter().map(|old| old.column).collect();
    let mut op = drop_column::end(cx, leaving, &olds, title, first, &format!("whose place {news} took"), RECIPE);
    for helper in &sync.helpers {
        op = op.removes(helper);
    }
    for default in defaults {
        op = op.puts(default.clone());
    }
    op
}
