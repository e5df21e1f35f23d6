//! A table that is divided otherwise, in both forms: its relations, the key by which the two are kept in step, and what
//! has to follow.

use std::collections::BTreeSet;

use super::followers;
use super::strict;
use crate::catalog::id::{apart_name, quote};
use crate::catalog::{Catalog, Id, Ident, Indexed};
use crate::kind::column::Column;
use crate::kind::foreign_key::ForeignKey;
use crate::kind::key::{Deferrable, Key};
use crate::kind::owned_by::OwnedBy;
use crate::kind::partition::{Partition, beneath};
use crate::kind::primary_key::PrimaryKey;
use crate::kind::row::BESIDE;
use crate::kind::row_security::RowSecurity;
use crate::kind::table::{PartitionKey, Table};
use crate::kind::unique::Unique;
use crate::kind::{Kind as _, Object};
use crate::plan::change::{Change, Changes};
use crate::plan::draft::Context;

/// What is made with the switch: it would act on the rows that are copied, or stands in a schema by itself.
pub(super) const AT_SWITCH: [&str; 5] = ["trigger", "policy", "row-security", "rule", "statistics"];

/// A table in its two forms.
#[derive(Debug)]
pub(super) struct Tree<'c> {
    pub(super) root: Id,
    /// The relations of the live form, each before its partitions.
    pub(super) old: Vec<Id>,
    /// The relations of the desired form.
    pub(super) new: Vec<Id>,
    /// The columns of both, in the live order.
    pub(super) columns: Vec<&'c Column>,
    /// What tells rows apart by both forms.
    pub(super) keys: Option<Keys>,
    /// Foreign keys of other tables that reference it, live.
    pub(super) incoming: Vec<&'c ForeignKey>,
    /// Sequences that its columns own, live and desired.
    pub(super) owned: [Vec<&'c OwnedBy>; 2],
    /// What is dropped and made again around it, in the order in which it is made: now, and as wanted.
    pub(super) before: Vec<Id>,
    pub(super) after: Vec<Id>,
}

/// The keys of the two forms.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Keys {
    /// A unique key of the old form.
    pub(super) old: Vec<Ident>,
    /// A unique key of the new form, which holds the old one's columns.
    pub(super) new: Vec<Ident>,
    /// No constraint is that key: it is a unique index that stands until contract.
    pub(super) by_index: bool,
}

impl<'c> Tree<'c> {
    /// Looks at everything that hangs on a table; says why not, where something cannot be carried over. `by_key`: rows are
    /// copied beside the traffic.
    pub(super) fn of(cx: &Context<'c>, changes: &Changes, root: &Id, by_key: bool) -> Result<Self, String> {
        let (old, new) = (relations(cx.live, root), relations(cx.desired, root));
        relations_fit(cx, changes, root, &old, &new)?;
        let columns: Vec<&Column> = cx.live.within::<Column>(root).collect();
        columns_fit(cx, root, &columns)?;
        let publishers: Vec<String> = old.iter().flat_map(|table| crate::recipe::published::publishers(cx, table)).collect();
        if let Some(publisher) = publishers.first() {
            return Err(format!("{publisher} sends its rows: the subscribers come first"));
        }
        let forced = [cx.live, cx.desired].iter().any(|state| {
            [&old, &new]
                .iter()
                .flat_map(|list| list.iter())
                .any(|table| state.get_as::<RowSecurity>(&table.as_kind(RowSecurity::KEYWORD)).is_some_and(|security| security.force))
        });
        if forced {
            return Err("its row security holds for its owner too, who copies the rows".to_owned());
        }
        strict::fits(cx, root, &new)?;
        let incoming = incoming(cx, changes, root, &old, &new)?;
        let owned = [cx.live, cx.desired].map(|state| state.of::<OwnedBy>().filter(|owned| owned.column.up("table") == *root).collect());
        for owned in cx.live.of::<OwnedBy>().filter(|owned| owned.column.up("table") == *root) {
            if !cx.desired.contains(&owned.id()) || !cx.desired.contains(&owned.sequence) {
                return Err(format!("{} goes in the same plan: make two plans of it", owned.sequence));
            }
        }
        let keys = if by_key { Some(keys(cx, root, &new)?) } else { None };
        let (before, after) = followers::of(cx, changes, &old, &new)?;
        Ok(Self { root: root.clone(), old, new, columns, keys, incoming, owned, before, after })
    }

    /// The schema in which the new form is made.
    pub(super) fn schema_new(&self) -> Ident {
        apart_name(BESIDE, &self.root, "_new")
    }

    /// The schema in which the old form waits for its end.
    pub(super) fn schema_old(&self) -> Ident {
        apart_name(BESIDE, &self.root, "_old")
    }

    /// Where a relation of the new form is before the switch.
    pub(super) fn made(&self, table: &Id) -> Id {
        Id::new(Table::KEYWORD, [self.schema_new().as_str(), table.name()])
    }

    /// Where a relation of the old form is after it.
    pub(super) fn aside(&self, table: &Id) -> Id {
        Id::new(Table::KEYWORD, [self.schema_old().as_str(), table.name()])
    }

    /// The columns that hold a value of their own, quoted.
    pub(super) fn copied(&self) -> Vec<Ident> {
        self.columns.iter().filter(|column| column.generated.is_none()).map(|column| column.name.clone()).collect()
    }

    /// The tables that the new form references.
    pub(super) fn referenced(&self, cx: &Context<'c>) -> BTreeSet<&'c Id> {
        cx.desired.of::<ForeignKey>().filter(|key| self.new.contains(&key.table)).map(|key| &key.references).collect()
    }

    /// Everything that is in its desired form after the switch, or gone.
    pub(super) fn own(&self, cx: &Context<'_>) -> BTreeSet<Id> {
        let ids = |state: &Catalog, tables: &[Id]| objects(state, tables).map(Object::id).collect::<Vec<_>>();
        let mut own: BTreeSet<Id> = ids(cx.live, &self.old).into_iter().chain(ids(cx.desired, &self.new)).collect();
        own.extend(self.before.iter().chain(&self.after).cloned());
        own.extend(self.incoming.iter().map(|key| key.id()));
        own.extend(self.owned.iter().flatten().map(|owned| owned.id()));
        own
    }
}

/// A table with its partitions to any depth, each before those beneath it.
fn relations(state: &Indexed<'_>, table: &Id) -> Vec<Id> {
    std::iter::once(table).chain(beneath(state.of::<Partition>(), table)).cloned().collect()
}

/// What some relations are made of: themselves and everything that hangs on them.
pub(super) fn objects<'c>(state: &'c Catalog, tables: &[Id]) -> impl Iterator<Item = &'c Object> {
    let tables: BTreeSet<Id> = tables.iter().cloned().collect();
    state.objects.values().filter(move |object| relation_of(state, object).is_some_and(|table| tables.contains(&table)))
}

/// The table that an object is or hangs on.
fn relation_of(state: &Catalog, object: &Object) -> Option<Id> {
    let (mut id, mut parent) = (object.id(), object.parent());
    loop {
        if id.kind == Table::KEYWORD {
            return Some(id);
        }
        let above = parent.filter(|parent| parent.kind != "schema")?;
        parent = state.get(&above)?.parent();
        id = above;
    }
}

fn relations_fit(cx: &Context<'_>, changes: &Changes, root: &Id, old: &[Id], new: &[Id]) -> Result<(), String> {
    let two_plans = |what: String| Err(format!("{what}: make two plans of it"));
    let renamed = |(new, old): &(&Id, &Id)| [new, old].iter().any(|id| id.path.starts_with(&root.path));
    if cx.hints.renames.iter().filter(renamed).any(|(new, old)| !super::attach::becomes_part(cx.desired, old, new)) {
        return two_plans("it, or a column of it, is renamed in the same plan".to_owned());
    }
    if [cx.live, cx.desired].iter().any(|state| state.contains(&Partition::id_of(root))) {
        return Err("it is itself a partition".to_owned());
    }
    if let Some(part) = new.iter().find(|part| cx.live.contains(part) && !old.contains(part)) {
        return two_plans(format!("{part} is a table of its own and becomes a partition of it"));
    }
    if let Some(part) = old.iter().find(|part| cx.desired.contains(part) && !new.contains(part)) {
        return two_plans(format!("{part} becomes a table of its own"));
    }
    for list in [old, new] {
        let names: BTreeSet<&str> = list.iter().map(Id::name).collect();
        if names.len() < list.len() {
            return Err("two of its partitions have one name".to_owned());
        }
    }
    let own: BTreeSet<Id> = objects(cx.live, old).map(Object::id).collect();
    let needs: BTreeSet<Id> = objects(cx.live, old).flat_map(|object| cx.live.all_needs(object)).collect();
    // Its statistics have names of their own in the schema, and an owner or a comment that needs them.
    let replaced = needs.difference(&own).find(|need| {
        matches!(changes.get(*need), Some(Change::Replace | Change::Convert(_)))
            && !need.path.starts_with(&root.path)
            && !old.iter().any(|part| need.path.starts_with(&part.path))
    });
    match replaced {
        Some(need) => two_plans(format!("it uses {need}, which is made again in the same plan")),
        None => Ok(()),
    }
}

fn columns_fit(cx: &Context<'_>, root: &Id, columns: &[&Column]) -> Result<(), String> {
    let wanted: Vec<&Column> = cx.desired.within::<Column>(root).collect();
    let same = |old: &Column, new: &Column| {
        old.data_type == new.data_type
            && old.collation == new.collation
            && old.not_null == new.not_null
            && old.identity == new.identity
            && old.generated == new.generated
    };
    let twin = |column: &Column, others: &[&Column]| others.iter().any(|other| other.name == column.name && same(column, other));
    let differing = columns.iter().find(|column| !twin(column, &wanted)).or_else(|| wanted.iter().find(|column| !twin(column, columns)));
    match differing {
        Some(column) => Err(format!("{} changes in the same plan: make two plans of it", column.id())),
        None => Ok(()),
    }
}

fn incoming<'c>(cx: &Context<'c>, changes: &Changes, root: &Id, old: &[Id], new: &[Id]) -> Result<Vec<&'c ForeignKey>, String> {
    let mut found = Vec::new();
    for key in cx.live.of::<ForeignKey>().chain(cx.desired.of::<ForeignKey>()) {
        if (old.contains(&key.table) || new.contains(&key.table)) && (old.contains(&key.references) || new.contains(&key.references)) {
            return Err(format!("{} references the table itself", key.id()));
        }
    }
    for key in cx.live.of::<ForeignKey>().filter(|key| old.contains(&key.references)) {
        if key.references != *root {
            return Err(format!("{} references a partition of it", key.id()));
        }
        if changes.get(&key.table) == Some(&Change::Replace) {
            return Err(format!("{} is made again in the same plan: make two plans of it", key.table));
        }
        let partitioned = cx.live.get_as::<Table>(&key.table).is_some_and(|table| table.partition_by.is_some());
        if partitioned && cx.facts.server < 180_000 && cx.desired.contains(&key.id()) {
            return Err(format!("{} of a partitioned table cannot be added unvalidated before PostgreSQL 18", key.id()));
        }
        found.push(key);
    }
    Ok(found)
}

/// The columns that are NOT NULL, by themselves or by the primary key.
pub(super) fn is_strict(state: &Catalog, table: &Id, name: &Ident) -> bool {
    state.get_as::<Column>(&Column::id_of(table, name)).is_some_and(|column| column.not_null)
        || state.of::<PrimaryKey>().any(|key| key.key.table == *table && key.key.columns.contains(name))
}

/// Keys that tell every row of a table apart: the primary key first.
pub(super) fn unique_keys<'c>(state: &'c Catalog, table: &Id) -> Vec<&'c Key> {
    let primary = state.of::<PrimaryKey>().map(|key| &key.key);
    let unique = state.of::<Unique>().map(|key| &key.key);
    primary
        .chain(unique)
        .filter(|key| key.table == *table && key.deferrable == Deferrable::No)
        .filter(|key| key.columns.iter().all(|name| is_strict(state, table, name)))
        .collect()
}

fn keys(cx: &Context<'_>, root: &Id, new: &[Id]) -> Result<Keys, String> {
    let (olds, news) = (unique_keys(cx.live, root), unique_keys(cx.desired, root));
    let Some(first) = olds.first() else {
        return Err("it has no primary key and no unique key of NOT NULL columns by which the two could be kept in step".to_owned());
    };
    for old in &olds {
        if let Some(new) = news.iter().find(|new| old.columns.iter().all(|name| new.columns.contains(name))) {
            return Ok(Keys { old: old.columns.clone(), new: new.columns.clone(), by_index: false });
        }
    }
    // No key of the new form holds one of the old: an index does, with all that the new form is divided by.
    let mut columns = first.columns.clone();
    let divided: Vec<&PartitionKey> =
        new.iter().filter_map(|table| cx.desired.get_as::<Table>(table)).filter_map(|table| table.partition_by.as_ref()).collect();
    for element in divided.iter().flat_map(|key| &key.elements) {
        let Some(column) = cx.desired.within::<Column>(root).find(|column| quote(&column.name) == *element) else {
            return Err(format!("it is to be divided by the expression {element}, over which no unique key can tell its rows apart"));
        };
        if !is_strict(cx.desired, root, &column.name) {
            return Err(format!("{} may be NULL, and no key of the new form holds one of the old", column.id()));
        }
        if !columns.contains(&column.name) {
            columns.push(column.name.clone());
        }
    }
    Ok(Keys { old: first.columns.clone(), new: columns, by_index: true })
}
