//! Columns that move into a new table beside theirs, one row for one row: the new table's primary key is a foreign key to
//! the old one's. Both sides stand, kept in step by triggers, until the old clients are gone.
//!
//! A row of the old table has one in the new table when any of the columns holds something: a new client that inserts
//! into the old table alone makes none, and can insert its own.

use std::collections::BTreeSet;

use super::{backfill, drop_column, rename_column, sync};
use crate::catalog::id::{derived_name, quote, quoted_list};
use crate::catalog::{Catalog, Id, Ident};
use crate::kind::Kind as _;
use crate::kind::column::Column;
use crate::kind::foreign_key::ForeignKey;
use crate::kind::key::Key;
use crate::kind::primary_key::PrimaryKey;
use crate::kind::table::Table;
use crate::plan::change::{Change, Changes};
use crate::plan::draft::{Context, Draft, Op};
use crate::plan::op::{Action, Cost, Hazard, LockMode};
use crate::plan::plan::{Backfill, Copying, StageName};

const RECIPE: &str = "split-table";

/// Takes the columns that move into a table which is made.
pub fn apply(cx: &Context<'_>, changes: &mut Changes, draft: &mut Draft) {
    let made: Vec<Id> =
        changes.iter().filter(|(id, change)| **change == Change::Create && id.kind == Table::KEYWORD).map(|(id, _)| id.clone()).collect();
    for table in made {
        let moved: Vec<(&Column, &Column)> = cx
            .hints
            .moved
            .iter()
            .filter(|(new, old)| new.up("table") == table && changes.get(*old) == Some(&Change::Drop) && cx.persists(&old.up("table")))
            .filter_map(|(new, old)| Some((cx.desired.get_as::<Column>(new)?, cx.live.get_as::<Column>(old)?)))
            .collect();
        let Some((_, first)) = moved.first() else { continue };
        let Some(link) = link(cx.desired, &table, &first.table) else { continue };
        if moved.iter().any(|(_, old)| old.table != first.table) {
            continue;
        }
        for (_, old) in &moved {
            changes.shift_remove(&old.id());
        }
        let split = Split { old: &first.table, new: &table, moved: &moved, key: &link.key, foreign_key: link.foreign_key };
        put(cx, &split, draft);
    }
}

/// How the rows of two tables belong together.
pub struct Link<'c> {
    /// The columns of the new table, each with that of the old one.
    pub key: Vec<(Ident, Ident)>,
    /// What says so.
    pub foreign_key: &'c ForeignKey,
}

/// The foreign key by which the primary key of `new` is that of `old`, in the state where both stand.
#[must_use]
pub fn link<'c>(desired: &'c Catalog, new: &Id, old: &Id) -> Option<Link<'c>> {
    let primary = |table: &Id| -> Option<&Key> { desired.of::<PrimaryKey>().map(|key| &key.key).find(|key| key.table == *table) };
    let (own, theirs) = (primary(new)?, primary(old)?);
    let same = |a: &[Ident], b: &[Ident]| a.len() == b.len() && a.iter().all(|name| b.contains(name));
    desired.of::<ForeignKey>().filter(|key| key.table == *new && key.references == *old).find_map(|foreign_key| {
        let referenced = if foreign_key.referenced_columns.is_empty() { &theirs.columns } else { &foreign_key.referenced_columns };
        let fits = same(&foreign_key.columns, &own.columns) && same(referenced, &theirs.columns);
        fits.then(|| Link { key: foreign_key.columns.iter().cloned().zip(referenced.iter().cloned()).collect(), foreign_key })
    })
}

struct Split<'c> {
    old: &'c Id,
    new: &'c Id,
    /// The columns: new, old.
    moved: &'c [(&'c Column, &'c Column)],
    /// The key: new, old.
    key: &'c [(Ident, Ident)],
    foreign_key: &'c ForeignKey,
}

impl Split<'_> {
    fn new_names(&self) -> Vec<Ident> {
        self.moved.iter().map(|(new, _)| new.name.clone()).collect()
    }

    fn old_names(&self) -> Vec<Ident> {
        self.moved.iter().map(|(_, old)| old.name.clone()).collect()
    }

    /// Key and columns, as the new table calls them, and as the old one does.
    fn all(&self) -> (Vec<Ident>, Vec<Ident>) {
        let new = self.key.iter().map(|(new, _)| new.clone()).chain(self.new_names()).collect();
        let old = self.key.iter().map(|(_, old)| old.clone()).chain(self.old_names()).collect();
        (new, old)
    }

    /// `new.user_id = old.id AND …`.
    fn same_row(&self, new: &str, old: &str) -> String {
        self.key.iter().map(|(n, o)| format!("{new}.{} = {old}.{}", quote(n), quote(o))).collect::<Vec<_>>().join(" AND ")
    }
}

/// `alias.a, alias.b`.
fn of(alias: &str, names: &[Ident]) -> String {
    names.iter().map(|name| sync::field(alias, &quote(name))).collect::<Vec<_>>().join(", ")
}

/// `a = x.b, …`
fn assignments(targets: &[Ident], alias: &str, values: &[Ident]) -> String {
    targets
        .iter()
        .zip(values)
        .map(|(target, value)| format!("{} = {}", quote(target), sync::field(alias, &quote(value))))
        .collect::<Vec<_>>()
        .join(", ")
}

fn put(cx: &Context<'_>, split: &Split<'_>, draft: &mut Draft) {
    let mut triggers = Triggers { make: Vec::new(), take: Vec::new(), helpers: Vec::new() };
    let mut ops: Vec<Op> = split.moved.iter().filter_map(|(_, old)| drop_column::loosen(cx, old)).collect();
    let begun = ops.len();
    if !cx.policy.direct {
        triggers.add(split, split.old, "_from_old", "INSERT OR UPDATE", &from_old(split));
        triggers.add(split, split.new, "_from_new", "INSERT OR UPDATE OR DELETE", &from_new(split));
        ops.push(expand(cx, split, &triggers));
    }
    ops.extend([copy(cx, split), contract(cx, &draft.leaving, split, &triggers)]);
    let indexes: Vec<usize> = ops.into_iter().map(|op| draft.push(op)).collect();
    for pair in indexes.windows(2) {
        draft.order(pair[0], pair[1]);
    }
    // Until the triggers write into it nobody sees the new table: all of it is made before, and costs nothing.
    let own = cx.desired.objects.keys().filter(|id| id.path.starts_with(&split.new.path));
    draft.follow_ups.extend(own.map(|id| (id.clone(), indexes[begun])));
    let last = indexes[indexes.len() - 1];
    draft.gone.extend(split.moved.iter().map(|(_, old)| (old.id(), last)));
}

/// The triggers on both tables.
struct Triggers {
    make: Vec<String>,
    take: Vec<String>,
    helpers: Vec<Id>,
}

impl Triggers {
    /// They act as who applies the plan: clients of the old release have no rights on the new table.
    fn add(&mut self, split: &Split<'_>, on: &Id, suffix: &str, events: &str, body: &str) {
        let name = derived_name(split.new.name(), suffix);
        let (function, trigger) = (format!("{}.{}", quote(split.new.schema()), quote(&name)), format!("!{name}"));
        let quoted = quote(&trigger);
        self.make.extend([
            format!(
                "CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = {}, pg_temp AS $sync$\n{body}\n$sync$",
                backfill::search_path(split.new)
            ),
            format!("CREATE TRIGGER {quoted} AFTER {events} ON {} FOR EACH ROW EXECUTE FUNCTION {function}()", on.sql()),
            format!("ALTER TABLE {} ENABLE ALWAYS TRIGGER {quoted}", on.sql()),
        ]);
        self.take.extend([format!("DROP TRIGGER {quoted} ON {}", on.sql()), format!("DROP FUNCTION {function}()")]);
        self.helpers.extend([on.child("trigger", &trigger), Id::new("function", [split.new.schema(), name.as_str(), ""])]);
    }
}

/// What an old client writes comes into the new table; where nothing is left, its row there stays, with nothing in it.
fn from_old(split: &Split<'_>) -> String {
    let (all_new, all_old) = split.all();
    let (new, old) = (split.new_names(), split.old_names());
    let key: Vec<Ident> = split.key.iter().map(|(new, _)| new.clone()).collect();
    format!(
        "#variable_conflict use_column\nBEGIN\n    IF TG_OP = 'UPDATE' AND NOT ({changed}) THEN\n        RETURN NULL;\n    END IF;\n    IF num_nonnulls({given}) = 0 THEN\n        IF TG_OP = 'UPDATE' THEN\n            UPDATE {table} AS own SET {set} WHERE {same};\n        END IF;\n        RETURN NULL;\n    END IF;\n    INSERT INTO {table} AS own ({columns}) VALUES ({values})\n        ON CONFLICT ({key}) DO UPDATE SET {set} WHERE {differ};\n    RETURN NULL;\nEND",
        changed = sync::differ(&of("NEW", &old), &of("OLD", &old)),
        given = of("NEW", &old),
        table = split.new.sql(),
        set = assignments(&new, "NEW", &old),
        same = split.same_row("own", "NEW"),
        columns = quoted_list(&all_new),
        values = of("NEW", &all_old),
        key = quoted_list(&key),
        differ = sync::differ(&of("own", &new), &of("NEW", &old)),
    )
}

/// What a new client writes comes into the old table's row, which is there: the foreign key says so.
fn from_new(split: &Split<'_>) -> String {
    let (new, old) = (split.new_names(), split.old_names());
    let key: Vec<Ident> = split.key.iter().map(|(new, _)| new.clone()).collect();
    let nothing = old.iter().map(|name| format!("{} = NULL", quote(name))).collect::<Vec<_>>().join(", ");
    format!(
        "#variable_conflict use_column\nBEGIN\n    IF current_setting('{marker}', true) = 'on' THEN\n        RETURN NULL;\n    END IF;\n    IF TG_OP = 'DELETE' OR TG_OP = 'UPDATE' AND {moved} THEN\n        UPDATE {table} AS own SET {nothing} WHERE {gone};\n    END IF;\n    IF TG_OP <> 'DELETE' THEN\n        UPDATE {table} AS own SET {set} WHERE {same} AND {differ};\n    END IF;\n    RETURN NULL;\nEND",
        marker = rename_column::MARKER,
        moved = sync::differ(&of("NEW", &key), &of("OLD", &key)),
        table = split.old.sql(),
        gone = split.same_row("OLD", "own"),
        set = assignments(&old, "NEW", &new),
        same = split.same_row("NEW", "own"),
        differ = sync::differ(&of("own", &old), &of("NEW", &new)),
    )
}

fn expand(cx: &Context<'_>, split: &Split<'_>, triggers: &Triggers) -> Op {
    let (old, new) = (split.old, split.new);
    let names = split.old_names().iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let mut action = Action::new(format!("Keep {new} in step with {names} of {old}"))
        .lock(old, LockMode::ShareRowExclusive, Cost::Instant)
        .hazard(Hazard::Breaking, format!("an old and a new client that write the same row of {old} and {new} at once may be refused by a deadlock until contract; TRUNCATE of one does not reach the other"));
    let ForeignKey { on_delete, on_update, .. } = split.foreign_key;
    let renumbered = split.key.iter().any(|(_, key)| {
        cx.live
            .get_as::<Column>(&old.child(Column::KEYWORD, key))
            .is_some_and(|column| !column.identity.as_ref().is_some_and(|one| one.always))
    });
    if on_delete != "CASCADE" {
        action = action.hazard(
            Hazard::Breaking,
            format!("old clients that delete a row of {old} are refused while {new} has one for it: `on-delete=cascade` lets them"),
        );
    }
    if on_update != "CASCADE" && renumbered {
        action = action.hazard(
            Hazard::Breaking,
            format!(
                "old clients that change the key of a row of {old} are refused while {new} has one for it: `on-update=cascade` lets them"
            ),
        );
    }
    let refusing: Vec<String> = cx
        .desired
        .objects
        .keys()
        .filter(|id| matches!(id.kind.as_str(), "check" | "unique" | "exclude" | "foreign-key") && id.path.starts_with(&new.path))
        .filter(|id| **id != split.foreign_key.id())
        .map(ToString::to_string)
        .collect();
    if !refusing.is_empty() {
        action = action.hazard(
            Hazard::Breaking,
            format!("what {} refuses is refused to old clients from the first step on, and stops the copy", refusing.join(", ")),
        );
    }
    action.sql.clone_from(&triggers.make);
    let mut op = Op::new(new, action, StageName::Expand, RECIPE).undo(sync::take_if_there(&triggers.take));
    for helper in &triggers.helpers {
        op = op.puts_temporary(helper);
    }
    op
}

/// The rows that are there, each locked while it is copied.
fn copy(cx: &Context<'_>, split: &Split<'_>) -> Op {
    let (table, new) = (split.old, split.new);
    let (all_new, all_old) = split.all();
    let given = |alias: &str| {
        format!("num_nonnulls({}) > 0", if alias.is_empty() { quoted_list(split.old_names()) } else { of(alias, &split.old_names()) })
    };
    let backfill = Backfill {
        table: table.clone(),
        key: backfill::walk_key(cx, table),
        set: String::new(),
        filter: given(""),
        settings: vec![(rename_column::MARKER.to_owned(), "on".to_owned())],
        rows: cx.facts.rows(table),
        copy: Some(Box::new(Copying {
            into: new.clone(),
            columns: all_new,
            from: all_old,
            unique: split.key.iter().map(|(new, _)| new.clone()).collect(),
        })),
    };
    let mut action = Action::new(format!("Copy what {table} holds into {new}")).lock(table, LockMode::RowShare, Cost::Scan);
    let small = cx.is_small(table);
    if small {
        action = action.sql(format!("SELECT set_config('{}', 'on', true)", rename_column::MARKER)).sql(backfill.whole());
    }
    let missing = format!(
        "SELECT count(*) FROM {} AS old WHERE {} AND NOT EXISTS (SELECT FROM {} AS new WHERE {} AND NOT ({}))",
        table.sql(),
        given("old"),
        new.sql(),
        split.same_row("new", "old"),
        sync::differ(&of("new", &split.new_names()), &of("old", &split.old_names()))
    );
    let mut op = Op::new(new, action, StageName::Backfill, RECIPE).undo(Vec::new());
    // In one transaction with the end there is nothing left to compare with.
    if !cx.policy.direct {
        op = op.verify(missing, "0");
    }
    op.backfill = (!small).then_some(backfill);
    op
}

fn contract(cx: &Context<'_>, leaving: &BTreeSet<Id>, split: &Split<'_>, triggers: &Triggers) -> Op {
    let olds: Vec<&Column> = split.moved.iter().map(|(_, old)| *old).collect();
    let names = split.old_names().iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let title = format!("Drop {names} of {}, which {} holds", split.old, split.new);
    let mut op = drop_column::end(cx, leaving, &olds, title, triggers.take.clone(), &format!("which {} holds", split.new), RECIPE);
    op.action = op.action.lock(split.new, LockMode::AccessExclusive, Cost::Instant);
    for helper in &triggers.helpers {
        op = op.removes(helper);
    }
    op
}
