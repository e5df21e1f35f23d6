//! Renames that are no column's: tables keep their old name as a view until the old clients are gone
//! (safe-changes.md, Tables and the rest); other things are renamed in place.

use super::{rights, types};
use crate::catalog::closure::words;
use crate::catalog::id::{default_name, quote};
use crate::catalog::{Id, Ident, Indexed};
use crate::kind::Kind as _;
use crate::kind::column::{Column, columns_of};
use crate::kind::default::Default;
use crate::kind::domain::Domain;
use crate::kind::sequence::Sequence;
use crate::kind::table::Table;
use crate::kind::{Object, not_null, registration};
use crate::plan::draft::{Context, Draft, Op};
use crate::plan::op::{Action, Cost, Hazard, LockMode};
use crate::plan::plan::StageName;

/// What statements of old clients lose behind the view (safe-changes.md, measured).
const LOST_THROUGH_A_VIEW: &str = "ON CONFLICT ON CONSTRAINT, TRUNCATE, COPY, MERGE before 17, WHERE CURRENT OF, ctid, GROUP BY the primary key, TABLESAMPLE and pg_get_serial_sequence do not work through the view under its old name";

/// The operations of one rename, and of what ends it.
#[must_use]
pub fn rename(cx: &Context<'_>, live: &Indexed<'_>, old: &Id, new: &Id) -> (Op, Option<Op>) {
    let action = registration(&old.kind).and_then(|kind| (kind.rename)(old, new)).unwrap_or_default();
    let back = registration(&old.kind).and_then(|kind| (kind.rename)(new, old)).unwrap_or_default();
    let mut object = live.get(old).map(|object| crate::plan::rename::renamed_object(object, old, old, new));
    if let (Some(Object::Column(column)), Some(was)) = (&mut object, live.get_as::<Column>(old))
        && was.has_not_null()
        && not_null::is_stuck(live, was)
    {
        column.name_not_null(was.not_null_name(), false);
    }
    let (mut action, mut back) = (action, back);
    for (from, to) in identity_sequences(live, old, new) {
        action.sql.push(format!("ALTER SEQUENCE {from} RENAME TO {}", quote(&to)));
        back.sql.insert(
            0,
            format!("ALTER SEQUENCE {}.{} RENAME TO {}", quote(new.schema()), quote(&to), from.rsplit('.').next().unwrap_or_default()),
        );
    }
    for (table, from, to) in not_null_names(cx, live, old, new) {
        action.sql.push(not_null::rename(&table, &from, &to));
        back.sql.insert(0, not_null::rename(&table, &to, &from));
    }
    if let Some([there, again]) = domain_not_null(cx, live, old, new) {
        action.sql.push(there);
        back.sql.insert(0, again);
    }
    let mut op = Op::new(new, action, StageName::Expand, "rename").undo(back.sql).removes(old);
    op.effects.extend(object.map(crate::plan::draft::Effect::Put));
    let staged =
        old.kind == Table::KEYWORD && !cx.policy.direct && !cx.hints.in_place.contains(new) && no_view_for(cx, live, old).is_none();
    if !staged {
        if !cx.policy.direct && visible_to_clients(&old.kind) {
            let asked = cx.hints.in_place.contains(new);
            let why = match old.kind.as_str() {
                Table::KEYWORD if !asked => no_view_for(cx, live, old).map(|why| format!(": no view can stand in for it, {why}")),
                Column::KEYWORD if !asked => {
                    not_in_step(live, cx.desired, old, new).map(|why| format!(": no second column can be kept in step with it, {why}"))
                }
                _ => None,
            };
            op.action.hazards.retain(|(hazard, _)| *hazard != Hazard::Breaking);
            op.action = op.action.hazard(Hazard::Breaking, format!("statements that use {old} fail{}", why.unwrap_or_default()));
        }
        return (op, None);
    }
    op.recipe = "rename-table";
    let sequences: String = identity_sequences(live, old, new)
        .into_iter()
        .map(|(from, to)| format!("; nextval and currval know its sequence {from} as {to} from the first step on"))
        .chain(
            live.contains(&old.as_kind("row-security"))
                .then(|| "; who may read only some of its columns may read none of them by its old name".to_owned()),
        )
        .collect();
    let view = old.as_kind("view");
    let invoker = if cx.facts.server >= 150_000 || cx.facts.server == 0 { " WITH (security_invoker = true)" } else { "" };
    op.action = op
        .action
        .sql(format!("CREATE VIEW {}{invoker} AS SELECT * FROM {}", old.sql(), new.sql()))
        .hazard(Hazard::Breaking, format!("{old}: {LOST_THROUGH_A_VIEW}{sequences}"));
    op.action.title = format!("Rename {old} to {}, its old name goes on as a view", crate::catalog::id::dotted(&new.path));
    // Who owns the table, or may use it, does so by both names.
    let granted: Vec<String> = std::iter::once(rights::of_view(old, new)).chain(defaults_of_view(live, old)).collect();
    op.action.sql.extend(granted.clone());
    op.undo = Some([vec![format!("DROP VIEW {}", old.sql())], op.undo.unwrap_or_default()].concat());
    op = op.puts_temporary(&view);
    let away = Action::new(format!("Drop the view under the old name of {new}")).sql(format!("DROP VIEW {}", old.sql())).lock(
        new,
        LockMode::AccessShare,
        Cost::Instant,
    );
    let mut end = Op::new(new, away, StageName::Contract, "rename-table").removes(&view);
    let again = format!("CREATE VIEW {}{invoker} AS SELECT {} FROM {}", old.sql(), columns_before(cx, live, old).join(", "), new.sql());
    end.undo = Some([vec![again], granted].concat());
    end.teardown = true;
    (op, Some(end))
}

/// What `SET column = DEFAULT` means through the view under the old name of a table: without defaults of its own, NULL
/// (measured). One that draws from a sequence is left out, which may be renamed too.
fn defaults_of_view<'c>(live: &'c Indexed<'_>, table: &'c Id) -> impl Iterator<Item = String> + 'c {
    let draws = |default: &Default| live.all_needs(&Object::from(default.clone())).iter().any(|need| need.kind == Sequence::KEYWORD);
    live.of::<Default>().filter(|default| default.column.up("table") == *table).filter(move |default| !draws(default)).map(|default| {
        format!("ALTER VIEW {} ALTER COLUMN {} SET DEFAULT {}", table.sql(), quote(default.column.name()), default.expression)
    })
}

/// PostgreSQL changes no type of a column that a view shows (manual, ALTER TABLE): the view under the old name of a table,
/// which the operation `end` takes away at last, is made again around that, on the way there and on the way back.
pub fn out_of_the_way(draft: &mut Draft, end: usize) {
    let Op { id: table, action, undo: Some(make), .. } = &draft.ops[end] else { return };
    let (drop, make, retyped) = (action.sql.clone(), make.clone(), format!("ALTER TABLE {} ALTER COLUMN ", table.sql()));
    let changes = |sql: &String| sql.starts_with(&retyped) && sql.contains(" TYPE ");
    for op in draft.ops.iter_mut().filter(|op| op.action.sql.iter().any(changes)) {
        for list in std::iter::once(&mut op.action.sql).chain(op.undo.as_mut()) {
            let places = list.iter().position(changes).zip(list.iter().rposition(changes));
            let Some((first, last)) = places else { continue };
            let behind = last + 1;
            list.splice(behind..behind, make.iter().cloned());
            list.splice(first..first, drop.iter().cloned());
        }
    }
}

/// What a view under the old name of a table shows: the columns that were there before, by their old names. With those that
/// came since, they could not be taken back.
fn columns_before(cx: &Context<'_>, live: &Indexed<'_>, table: &Id) -> Vec<String> {
    let here = |column: &Column| {
        let old = column.id();
        let renamed = cx.hints.renames.iter().find(|(_, from)| from.up("table") == *table && from.name() == old.name());
        let in_place = renamed.filter(|(new, _)| cx.hints.in_place.contains(*new) || not_in_step(live, cx.desired, &old, new).is_some());
        in_place.map_or_else(|| quote(&column.name), |(new, _)| format!("{} AS {}", quote(new.name()), quote(&column.name)))
    };
    columns_of(live, table).map(here).collect()
}

/// Sequences of identity columns whose names PostgreSQL derived from what is renamed: each as it is
/// afterwards called, and its new name.
fn identity_sequences(live: &Indexed<'_>, old: &Id, new: &Id) -> Vec<(String, Ident)> {
    live.of::<Column>()
        .filter(|column| column.identity.as_ref().is_some_and(|identity| identity.name.is_none()))
        .filter_map(|column| {
            let id = column.id();
            let after = crate::plan::rename::moved(&id, old, new);
            if after == id || !matches!(old.kind.as_str(), "table" | "column") {
                return None;
            }
            let name = |id: &Id| default_name(&id.path[1], &id.path[2], "seq");
            let (from, to) = (name(&id), name(&after));
            // It moves to another schema with its table.
            (from != to).then(|| (format!("{}.{}", quote(after.schema()), quote(&from)), to))
        })
        .collect()
}

/// The NOT NULL that PostgreSQL named after what is renamed: the table as it is afterwards called, what it is called, and
/// its new name. Those of partitions follow the one above them.
fn not_null_names(cx: &Context<'_>, live: &Indexed<'_>, old: &Id, new: &Id) -> Vec<(Id, Ident, Ident)> {
    if cx.facts.server < not_null::NAMED || !matches!(old.kind.as_str(), "table" | "column") {
        return Vec::new();
    }
    let named = live.of::<Column>().filter(|column| column.has_not_null() && column.constraint.name.is_none());
    let renamed = |column: &Column| {
        let after = crate::plan::rename::moved(&column.id(), old, new);
        let (from, to) = (column.not_null_name(), not_null::usual(&after.path[1], &after.path[2]));
        (from != to && !not_null::is_stuck(live, column)).then(|| (after.up("table"), from, to))
    };
    named.filter_map(renamed).collect()
}

/// The same of a domain: its rename, and the way back.
pub(super) fn domain_not_null(cx: &Context<'_>, live: &Indexed<'_>, old: &Id, new: &Id) -> Option<[String; 2]> {
    let domain = live.get_as::<Domain>(old).filter(|domain| domain.not_null && domain.constraint.name.is_none())?;
    let (from, to) = (domain.not_null_name(), not_null::usual_of_domain(new.name()));
    let rename = |from: &str, to: &str| format!("ALTER DOMAIN {} RENAME CONSTRAINT {} TO {}", new.sql(), quote(from), quote(to));
    (cx.facts.server >= not_null::NAMED_OF_DOMAINS && from != to).then(|| [rename(&from, &to), rename(&to, &from)])
}

fn visible_to_clients(kind: &str) -> bool {
    !matches!(kind, "index" | "check" | "foreign-key" | "trigger" | "domain-check")
}

/// Why no view can stand in under the old name: it may be taken, partitions are reached through their table, before 15 an owner's view
/// would bypass row security (measured), and subscribers find their table by its name.
fn no_view_for(cx: &Context<'_>, live: &Indexed<'_>, table: &Id) -> Option<String> {
    let secured = live.contains(&table.as_kind("row-security"));
    let publishers = super::published::publishers(cx, table);
    let taken = ["table", "view", "materialized-view"].iter().any(|kind| cx.desired.contains(&table.as_kind(kind)));
    if taken {
        Some("something else takes its name".to_owned())
    } else if live.contains(&table.as_kind("partition")) {
        Some("it is a partition".to_owned())
    } else if secured && cx.facts.server < 150_000 {
        Some("before PostgreSQL 15 it would bypass row security".to_owned())
    } else if !publishers.is_empty() {
        Some(format!("{} is followed by name: rename it for the subscribers at once", publishers.join(", ")))
    } else {
        None
    }
}

/// Whether a column can be kept in step under two names until the old clients are gone.
#[must_use]
pub fn can_sync(live: &Indexed<'_>, desired: &Indexed<'_>, old: &Id, new: &Id) -> bool {
    not_in_step(live, desired, old, new).is_none()
}

/// Why a renamed column cannot be kept in step with its old self by triggers (safe-changes.md, measured).
pub(super) fn not_in_step(live: &Indexed<'_>, desired: &Indexed<'_>, old: &Id, new: &Id) -> Option<&'static str> {
    let (Some(was), Some(now)) = (live.get_as::<Column>(old), desired.get_as::<Column>(new)) else {
        return Some("it is not on both sides");
    };
    let table = live.get_as::<Table>(&was.table);
    let in_partition_key = table
        .and_then(|table| table.partition_by.as_ref())
        .is_some_and(|key| key.elements.iter().any(|element| words(element).contains(was.name.as_str())));
    let strict = types::refuses_null(desired, &now.data_type) || types::refuses_null(live, &was.data_type);
    if was.generated.is_some() || now.generated.is_some() {
        Some("it is generated")
    } else if was.identity.is_some() || now.identity.is_some() {
        Some("it is an identity column")
    } else if in_partition_key {
        Some("it is in the partition key, and rows find their partition before triggers fire")
    } else if live.contains(&was.table.as_kind("partition")) {
        Some("its table is a partition")
    } else if strict {
        Some("its domain refuses NULL, and that is checked before triggers fire")
    } else {
        None
    }
}
