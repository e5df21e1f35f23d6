//! What would make a later step fail, asked before the first one runs: rows that break a constraint, values that a
//! column's new type refuses, rows for which a fill gives nothing. Every operation gets the looks that belong to it,
//! whichever recipe made it; when each can be known is decided when the order stands (`plan::assemble`).

use std::collections::BTreeMap;

use super::retype::{relabel, way};
use super::sync;
use crate::catalog::Id;
use crate::catalog::closure::{mentions_word, words};
use crate::catalog::id::quote;
use crate::kind::column::Column;
use crate::kind::foreign_key::ForeignKey;
use crate::kind::type_change::keeps_heap;
use crate::kind::{Kind as _, Object, sql_type, violations};
use crate::plan::draft::{Context, Draft, Effect, Op};
use crate::plan::op::{Cost, Violations};

/// Up to so many rows a table is copied, where only a copy can tell.
const COPIED_ROWS: u64 = 1_000_000;

/// Adds to every operation the rows that would make it fail.
pub fn attach(cx: &Context<'_>, draft: &mut Draft) {
    if cx.policy.direct {
        return;
    }
    let mut found: BTreeMap<usize, Vec<Violations>> = BTreeMap::new();
    // A table that another form of it takes the place of has had its rows looked at.
    for (at, op) in draft.ops.iter().enumerate().filter(|(_, op)| !super::repartition::owns(op)) {
        for effect in &op.effects {
            let Effect::Put(object) = effect else { continue };
            let id = object.id();
            let Some(table) = table_of(&id).filter(|table| has_rows(cx, draft, table)) else { continue };
            let list = match object {
                // The forms in between lead to this one.
                Object::Column(_) if cx.desired.get(&id) != Some(object) => continue,
                Object::Column(column) => of_column(cx, draft, column),
                Object::ForeignKey(key) if is_emptied(cx, draft, &key.references) => left_over(cx, draft, key).into_iter().collect(),
                object => of_constraint(cx, &table, object),
            };
            if !list.is_empty() {
                let fills = |op: &Op| op.fills.iter().any(|(column, _)| *column == id);
                let sufferer = draft.ops.iter().position(fills).unwrap_or_else(|| sufferer(draft, &id, at));
                found.entry(sufferer).or_default().extend(list);
            }
        }
    }
    for (at, list) in found {
        for one in list {
            if !draft.ops[at].violations.contains(&one) {
                draft.ops[at].violations.push(one);
            }
        }
    }
}

fn table_of(id: &Id) -> Option<Id> {
    let inside = matches!(id.kind.as_str(), "column" | "check" | "foreign-key" | "primary-key" | "unique" | "exclude" | "index");
    (inside || id.kind == "partition").then(|| id.up("table")).map(|up| if id.kind == "partition" { id.as_kind("table") } else { up })
}

/// Whether the table is there before the plan, and stays what it is.
fn has_rows(cx: &Context<'_>, draft: &Draft, table: &Id) -> bool {
    cx.live.contains(table) && !draft.making.contains_key(table)
}

/// The operation that fails: the first one for the object that reads rows, else the one that makes it.
fn sufferer(draft: &Draft, id: &Id, at: usize) -> usize {
    let reads = |op: &Op| {
        op.id == *id && op.backfill.is_none() && op.fills.is_empty() && op.action.locks.iter().any(|lock| lock.cost > Cost::Instant)
    };
    draft.ops.iter().position(reads).unwrap_or(at)
}

fn of_constraint(cx: &Context<'_>, table: &Id, object: &Object) -> Vec<Violations> {
    let mut list = object.violations(cx.live);
    // What the old form kept out cannot be there.
    if cx.live.get(&object.id()).is_some_and(|old| as_renamed(cx, old).violations(cx.live) == list) {
        return Vec::new();
    }
    list.retain(|one| one.copies.as_ref().is_none_or(|copied| cx.facts.rows(copied).is_some_and(|rows| rows <= COPIED_ROWS)));
    let named = cx.desired.within::<Column>(table).map(Column::id).filter(|column| mentions_word(object, column.name()));
    let needed = cx.desired.all_needs(object).into_iter().filter(|need| need.kind == "column");
    let reads: Vec<Id> = named.chain(needed).collect();
    for one in &mut list {
        one.reads.extend(reads.iter().cloned());
        one.reads.sort();
        one.reads.dedup();
    }
    list
}

/// Whether the table is dropped with its rows and made anew.
fn is_emptied(cx: &Context<'_>, draft: &Draft, table: &Id) -> bool {
    cx.live.contains(table) && draft.making.contains_key(table)
}

/// Rows that reference a table which is made anew without its rows: they would point nowhere, and the foreign key could not
/// come again when the table is gone already.
fn left_over(cx: &Context<'_>, draft: &Draft, key: &ForeignKey) -> Option<Violations> {
    let ForeignKey { table, name, columns, references, match_full, .. } = key;
    let set: Vec<String> = columns.iter().map(|column| format!("{} IS NOT NULL", quote(column))).collect();
    let condition = set.join(if *match_full { " OR " } else { " AND " });
    let why = draft.refused.get(references).map(|reason| format!(" ({reason})")).unwrap_or_default();
    (!key.not_valid).then(|| Violations {
        title: format!("rows of {table} reference {references}, which is made anew without its rows{why} (foreign key {name})"),
        rows: violations::rows(cx.live, table, "", columns, &condition),
        help: format!("drop the foreign key in a plan before, and add it when {references} has its rows again; or empty {table}"),
        reads: columns.iter().map(|column| Column::id_of(table, column)).collect(),
        ..Violations::default()
    })
}

/// An object as it speaks of columns that the plan renames and whose values stay.
fn as_renamed(cx: &Context<'_>, old: &Object) -> Object {
    let same = |new: &Id, old: &Id| {
        let (new, old) = (cx.desired.get_as::<Column>(new), cx.live.get_as::<Column>(old));
        new.zip(old).is_some_and(|(new, old)| new.data_type == old.data_type && !cx.hints.backfills.contains_key(&new.id()))
    };
    let renames = cx.hints.renames.iter().filter(|(new, old)| same(new, old));
    renames.fold(old.clone(), |object, (new, old)| crate::plan::rename::renamed_object(&object, &object.id(), old, new))
}

/// Of a column: NULLs that nothing fills, fills that give nothing or fail, values that the new type refuses.
fn of_column(cx: &Context<'_>, draft: &Draft, column: &Column) -> Vec<Violations> {
    let id = column.id();
    let old = cx.live.get_as::<Column>(&id);
    if let Some(found) = relabel::violations(cx, column) {
        return found;
    }
    let fills = |op: &'_ Op| op.fills.iter().find(|(filled, _)| *filled == id).map(|(_, value)| (op.recipe, value.clone()));
    let fill = draft.ops.iter().find_map(fills);
    let mut list = Vec::new();
    let keeps = |id: &Id| cx.facts.retypes.get(id).is_some_and(|retype| retype.keeps_values) && !cx.hints.backfills.contains_key(id);
    if let (Some(old), Some((super::retype::RECIPE, value))) = (old, &fill) {
        return if keeps(&id) { list } else { vec![cast(cx, old, column, value)] };
    }
    let fill = fill.map(|(_, value)| value);
    let from = cx.hints.renames.get(&id).and_then(|old| cx.live.get_as::<Column>(old));
    if let Some(value) = &fill {
        // A default gives something; the author's expression, or the old column, may not.
        let asked = cx.hints.backfills.contains_key(&id) || from.is_some();
        list.extend(asked.then(|| filled(cx, column, old.is_some(), value, from)).flatten());
    } else if column.not_null && old.is_none_or(|old| !old.not_null) && column.identity.is_none() && left_null(draft, &id, old) {
        list.push(nulls(cx, column));
    }
    let Some(old) = old.filter(|old| old.data_type != column.data_type && fill.is_none()) else { return list };
    let (from, to) = (&old.data_type, &column.data_type);
    if let Some(given) = way::there(cx, old, column) {
        list.push(cast(cx, old, column, &format!("({given})")));
    } else if !keeps_heap(from, to) && !keeps(&id) && !widens(from, to) {
        list.push(cast(cx, old, column, &quote(&old.name)));
    }
    list
}

/// Whether every value of one numeric type is one of the other (manual, 8.1).
pub(super) fn widens(old: &str, new: &str) -> bool {
    const TYPES: [&[&str]; 4] = [&["smallint", "int2"], &["integer", "int", "int4"], &["bigint", "int8"], &["numeric"]];
    let place = |name: &str| TYPES.iter().position(|names| names.contains(&name));
    place(old).zip(place(new)).is_some_and(|(old, new)| old < new)
}

/// Whether the column is there, and may be NULL, before it is set NOT NULL.
fn left_null(draft: &Draft, id: &Id, old: Option<&Column>) -> bool {
    let nullable = |effect: &Effect| matches!(effect, Effect::Put(Object::Column(column)) if !column.not_null && column.id() == *id);
    old.is_some() || draft.ops.iter().any(|op| op.effects.iter().any(nullable))
}

fn nulls(cx: &Context<'_>, column: &Column) -> Violations {
    let table = &column.table;
    Violations {
        title: format!("rows of {table} hold NULL in {}, which becomes NOT NULL", column.name),
        rows: violations::rows(cx.live, table, "", &[], &format!("{} IS NULL", quote(&column.name))),
        help: format!("give them a value, or say what they get: {{ backfill \"…\" }} at {}", column.name),
        reads: vec![column.id()],
        ..Violations::default()
    }
}

/// Rows for which the fill of `column` fails, or gives NULL where that is not allowed.
fn filled(cx: &Context<'_>, column: &Column, there: bool, value: &str, from: Option<&Column>) -> Option<Violations> {
    let plain = from.is_some_and(|from| from.data_type == column.data_type && value == quote(&from.name));
    if plain {
        let from = from?;
        return (column.not_null && !from.not_null).then(|| nulls(cx, &Column { not_null: true, ..from.clone() }));
    }
    let mut found = refused(cx, column, value, None, column.not_null);
    if there {
        found.rows = found.rows.replacen(" OFFSET 0", &format!(" WHERE {} IS NULL OFFSET 0", quote(&column.name)), 1);
    }
    found.title = format!("rows of {} get no value for {} from {value}", column.table, column.name);
    "correct those rows, or write a `backfill` that suits them".clone_into(&mut found.help);
    Some(found)
}

/// Rows whose value PostgreSQL refuses to turn into the type of `new`: it does not cast, is too long, out of range, or
/// breaks a domain. `expression` speaks of the columns of the table by their names.
///
/// Recipes that change a type by other ways than ALTER COLUMN TYPE add it by [`Op::preflight`].
#[must_use]
pub fn cast(cx: &Context<'_>, old: &Column, new: &Column, expression: &str) -> Violations {
    let mut found = refused(cx, new, expression, Some(&quote(&old.name)), false);
    found.title = format!(
        "values of {} do not fit into {} ({} before)",
        old.id(),
        sql_type::display(&new.data_type),
        sql_type::display(&old.data_type)
    );
    "correct them, or choose a type that holds them".clone_into(&mut found.help);
    found.reads.push(old.id());
    found
}

/// Rows that do not give `old` back by `back` from what the new columns get: a client that changes one of these would be
/// refused. `values` are the new columns, each with what it gets.
#[must_use]
pub fn given_back(cx: &Context<'_>, old: &Column, back: &str, values: &[(&Column, &str)]) -> Violations {
    let alias = quote(old.table.name());
    let new: Vec<String> =
        values.iter().map(|(column, value)| format!("({value})::{} AS {}", column.data_type, quote(&column.name))).collect();
    let from = format!("(SELECT {alias}.*, {} FROM (SELECT ($1).*) AS {alias}) AS {alias}", new.join(", "));
    let mut found = refused_from(cx, old, &format!("({back})"), Some(&quote(&old.name)), old.not_null, &from);
    found.title = format!("rows of {} do not give {} back by {back}", old.table, old.name);
    "correct those rows, or write a `revert` that suits them".clone_into(&mut found.help);
    found
}

/// Rows for which `expression` cannot become a value of `column`. PostgreSQL tries every one, and says why not: the
/// assignment first, because an explicit cast would cut what is too long. `shown` is what a person must see of them.
fn refused(cx: &Context<'_>, column: &Column, expression: &str, shown: Option<&str>, not_null: bool) -> Violations {
    let row = format!("(SELECT ($1).*) AS {}", quote(column.table.name()));
    refused_from(cx, column, expression, shown, not_null, &row)
}

/// The same, where the expression speaks of another row: `from` makes it of `$1`.
fn refused_from(cx: &Context<'_>, column: &Column, expression: &str, shown: Option<&str>, not_null: bool, from: &str) -> Violations {
    let table = &column.table;
    let null = if not_null { "CASE WHEN target IS NULL THEN 'it is NULL' END" } else { "NULL" };
    let alias = quote(table.name());
    let get = |value: &str| format!("SELECT {value} INTO target FROM {from}");
    // `target` may be the name of a column, too.
    let resolution = if words(expression).contains("target") { sync::USE_COLUMN } else { sync::resolution(&[expression]) };
    // Where the expression writes (a sequence, say), it is no business of a look: the backfill tells.
    let function = format!(
        "CREATE FUNCTION pg_temp.preflight_refused({row}) RETURNS text LANGUAGE plpgsql SET search_path = {path}, pg_temp AS $refused$\n\
         {resolution}DECLARE target {data_type};\nBEGIN\n    BEGIN\n        {assign};\n    EXCEPTION\n        \
         WHEN string_data_right_truncation OR string_data_length_mismatch THEN RETURN SQLERRM;\n        WHEN OTHERS THEN {explicit};\n    \
         END;\n    RETURN {null};\nEXCEPTION\n    WHEN read_only_sql_transaction THEN RETURN NULL;\n    \
         WHEN OTHERS THEN RETURN SQLERRM;\nEND $refused$",
        row = table.sql(),
        path = super::backfill::search_path(table),
        data_type = column.data_type,
        assign = get(expression),
        explicit = get(&format!("({expression})::{}", column.data_type)),
    );
    let mut list = violations::named_by(cx.live, table);
    // A value that cannot be computed cannot be shown either.
    let itself = || cx.live.within::<Column>(table).any(|column| quote(&column.name) == expression).then_some(expression);
    list.extend(shown.or_else(itself).map(|value| format!("{value} AS value")));
    Violations {
        title: String::new(),
        rows: format!(
            "SELECT * FROM (SELECT {}, pg_temp.preflight_refused({alias}) AS problem FROM {} AS {alias} OFFSET 0) tried WHERE problem IS NOT NULL",
            list.join(", "),
            table.sql()
        ),
        help: String::new(),
        setup: vec![function],
        reads: cx.live.within::<Column>(table).map(Column::id).filter(|id| words(expression).contains(id.name())).collect(),
        copies: None,
    }
}
