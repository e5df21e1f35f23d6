//! Renames that are no column's: tables keep their old name as a view until the old clients are gone
//! (safe-changes.md, Tables and the rest); other things are renamed in place.

use crate::catalog::id::{default_name, quote};
use crate::catalog::{Catalog, Id, Ident};
use crate::kind::Kind as _;
use crate::kind::column::Column;
use crate::kind::table::Table;
use crate::kind::{Object, registration};
use crate::plan::draft::{Context, Op};
use crate::plan::op::{Action, Cost, Hazard, LockMode};
use crate::plan::plan::StageName;

/// What statements of old clients lose behind the view (safe-changes.md, measured).
const LOST_THROUGH_A_VIEW: &str = "ON CONFLICT ON CONSTRAINT, TRUNCATE, COPY, MERGE before 17, WHERE CURRENT OF, ctid, GROUP BY the primary key, TABLESAMPLE and pg_get_serial_sequence do not work through the view under its old name";

/// The operations of one rename, and of what ends it.
#[must_use]
pub fn rename(cx: &Context<'_>, live: &Catalog, old: &Id, new: &Id) -> (Op, Option<Op>) {
    let action = registration(&old.kind).and_then(|kind| (kind.rename)(old, new)).unwrap_or_default();
    let back = registration(&old.kind).and_then(|kind| (kind.rename)(new, old)).unwrap_or_default();
    let object = live.get(old).map(|object| crate::plan::rename::renamed_object(object, old, old, new));
    let (mut action, mut back) = (action, back);
    for (from, to) in identity_sequences(live, old, new) {
        action.sql.push(format!("ALTER SEQUENCE {from} RENAME TO {}", quote(&to)));
        back.sql.insert(
            0,
            format!("ALTER SEQUENCE {}.{} RENAME TO {}", quote(new.schema()), quote(&to), from.rsplit('.').next().unwrap_or_default()),
        );
    }
    let mut op = Op::new(new, action, StageName::Expand, "rename").undo(back.sql).removes(old);
    op.effects.extend(object.map(crate::plan::draft::Effect::Put));
    let staged =
        old.kind == Table::KEYWORD && !cx.policy.direct && !cx.hints.in_place.contains(new) && can_stand_behind_a_view(cx, live, old);
    if !staged {
        if !cx.policy.direct && visible_to_clients(&old.kind) {
            op.action = op.action.hazard(Hazard::Breaking, format!("statements that use {old} fail"));
        }
        return (op, None);
    }
    op.recipe = "rename-table";
    let view = old.as_kind("view");
    let invoker = if cx.facts.server >= 150_000 || cx.facts.server == 0 { " WITH (security_invoker = true)" } else { "" };
    op.action = op
        .action
        .sql(format!("CREATE VIEW {}{invoker} AS SELECT * FROM {}", old.sql(), new.sql()))
        .hazard(Hazard::Breaking, format!("{old}: {LOST_THROUGH_A_VIEW}"));
    op.action.title = format!("Rename {old} to {}, its old name goes on as a view", crate::catalog::id::dotted(&new.path));
    // Both names carry the grants.
    let mut granted = Vec::new();
    for object in live.objects.values() {
        if let Object::Grant(grant) = object
            && grant.on == *old
        {
            granted.extend(crate::kind::grant::Grant { on: view.clone(), ..grant.clone() }.create().sql);
        }
    }
    op.action.sql.extend(granted.clone());
    op.undo = Some([vec![format!("DROP VIEW {}", old.sql())], op.undo.unwrap_or_default()].concat());
    op = op.puts_temporary(&view);
    let away = Action::new(format!("Drop the view under the old name of {new}")).sql(format!("DROP VIEW {}", old.sql())).lock(
        new,
        LockMode::AccessShare,
        Cost::Instant,
    );
    let mut end = Op::new(new, away, StageName::Contract, "rename-table").removes(&view);
    end.undo = Some([vec![format!("CREATE VIEW {}{invoker} AS SELECT * FROM {}", old.sql(), new.sql())], granted].concat());
    end.teardown = true;
    (op, Some(end))
}

/// Sequences of identity columns whose names PostgreSQL derived from what is renamed: each as it is
/// afterwards called, and its new name.
fn identity_sequences(live: &Catalog, old: &Id, new: &Id) -> Vec<(String, Ident)> {
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

fn visible_to_clients(kind: &str) -> bool {
    !matches!(kind, "index" | "check" | "foreign-key" | "trigger" | "domain-check")
}

/// Partitions are reached through their table, and before 15 an owner's view would bypass row
/// security.
fn can_stand_behind_a_view(cx: &Context<'_>, live: &Catalog, table: &Id) -> bool {
    let partition = live.contains(&table.as_kind("partition"));
    let secured = live.contains(&table.as_kind("row-security"));
    !partition && (!secured || cx.facts.server >= 150_000)
}

/// Whether a column can be kept in step under two names until the old clients are gone.
#[must_use]
pub fn can_sync(live: &Catalog, desired: &Catalog, old: &Id, new: &Id) -> bool {
    let (Some(was), Some(now)) = (live.get_as::<Column>(old), desired.get_as::<Column>(new)) else { return false };
    let table = live.get_as::<Table>(&was.table);
    let in_partition_key = table
        .and_then(|table| table.partition_by.as_ref())
        .is_some_and(|key| key.elements.iter().any(|element| element.contains(&quote(&was.name))));
    let is_partition = live.contains(&was.table.as_kind("partition"));
    was.generated.is_none()
        && now.generated.is_none()
        && was.identity.is_none()
        && now.identity.is_none()
        && !in_partition_key
        && !is_partition
}
