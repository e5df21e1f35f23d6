//! Columns that change together: those of one table, those that a foreign key joins, those of one enum.

use std::collections::{BTreeMap, BTreeSet};

use super::followers::Followers;
use super::pair::Pair;
use super::parts::{self, Part};
use super::relabel::Relabel;
use crate::catalog::{Id, Ident};
use crate::kind::Kind as _;
use crate::kind::default::Default;
use crate::kind::foreign_key::ForeignKey;
use crate::kind::table::Table;
use crate::plan::change::{Change, Changes};
use crate::plan::draft::Context;
use crate::recipe::types;

/// What is switched in one transaction.
#[derive(Debug)]
pub(super) struct Cluster<'c> {
    pub(super) pairs: Vec<Pair<'c>>,
    /// The enums that change with all of their columns.
    pub(super) types: Vec<Relabel<'c>>,
    /// The tables of the columns.
    pub(super) tables: Vec<Id>,
    /// Every table that the switch locks: referencing ones first, as an INSERT of a client does.
    pub(super) locked: Vec<Id>,
    pub(super) parts: Vec<Part<'c>>,
    pub(super) followers: Followers,
    /// Whether the switch can be undone until contract.
    pub(super) undoable: bool,
}

/// Columns by the tables that foreign keys between them, or an enum of both, join; only where one of the tables is large.
pub(super) fn connected<'c>(cx: &Context<'c>, wanted: Vec<Pair<'c>>) -> Vec<Vec<Pair<'c>>> {
    if wanted.is_empty() {
        return Vec::new();
    }
    let columns: BTreeSet<Id> = wanted.iter().map(Pair::id).collect();
    let tables: BTreeSet<Id> = wanted.iter().map(|pair| pair.table().clone()).collect();
    let mut root: BTreeMap<Id, Id> = wanted.iter().map(|pair| (pair.table().clone(), pair.table().clone())).collect();
    let mut join = |one: &Id, other: &Id| {
        let (a, b) = (root[one].clone(), root[other].clone());
        let (low, high) = if a < b { (a, b) } else { (b, a) };
        root.values_mut().filter(|root| **root == high).for_each(|root| *root = low.clone());
    };
    for key in cx.live.of::<ForeignKey>().chain(cx.desired.of::<ForeignKey>()) {
        let (own, theirs) = named(key, &tables, &columns);
        if own && theirs {
            join(&key.table, &key.references);
        }
    }
    let mut first: BTreeMap<Id, &Id> = BTreeMap::new();
    for (of, table) in wanted.iter().filter_map(|pair| Some((pair.relabel()?.id(), pair.table()))) {
        join(first.entry(of).or_insert(table), table);
    }
    let mut sets: BTreeMap<Id, Vec<Pair<'c>>> = BTreeMap::new();
    for pair in wanted {
        sets.entry(root[pair.table()].clone()).or_default().push(pair);
    }
    let large = |pairs: &Vec<Pair<'_>>| pairs.iter().any(|pair| !cx.is_small(pair.table()));
    let mut sets: Vec<Vec<Pair<'c>>> = sets.into_values().filter(large).collect();
    for pairs in &mut sets {
        pairs.sort_by_key(Pair::id);
    }
    sets
}

/// Whether a foreign key names such columns on its own side, and on the other.
fn named(key: &ForeignKey, tables: &BTreeSet<Id>, columns: &BTreeSet<Id>) -> (bool, bool) {
    // Few tables have one: of the others no id is made.
    let any =
        |table: &Id, names: &[Ident]| tables.contains(table) && names.iter().any(|name| columns.contains(&table.child("column", name)));
    (any(&key.table, &key.columns), any(&key.references, &key.referenced_columns))
}

impl<'c> Cluster<'c> {
    /// Looks at everything that hangs on the columns; says why not, where something cannot be carried over.
    pub(super) fn of(cx: &Context<'c>, changes: &Changes, pairs: Vec<Pair<'c>>) -> Result<Self, String> {
        let tables: BTreeSet<Id> = pairs.iter().map(|pair| pair.table().clone()).collect();
        for pair in &pairs {
            may_stand_beside(cx, changes, pair)?;
        }
        let by_id: BTreeMap<Id, Relabel<'c>> = pairs.iter().filter_map(Pair::relabel).map(|of| (of.id(), of.clone())).collect();
        let types: Vec<Relabel<'c>> = by_id.into_values().collect();
        let parts = parts::of(cx, &pairs, &types);
        let columns: BTreeSet<Id> = pairs.iter().map(Pair::id).collect();
        for part in &parts {
            if let Some(key) = cx.desired.get_as::<ForeignKey>(&part.id) {
                let partitioned = cx.live.get_as::<Table>(&key.table).is_some_and(|table| table.partition_by.is_some());
                if partitioned && cx.facts.server < 180_000 {
                    return Err(format!("{} of a partitioned table cannot be added unvalidated before PostgreSQL 18", part.id));
                }
            }
        }
        leaving(cx, &tables, &columns, &parts)?;
        let followers = Followers::of(cx, changes, &pairs, &parts, &types)?;
        let keyed = parts.iter().any(|part| matches!(part.id.kind.as_str(), "primary-key" | "foreign-key"));
        let undoable = !keyed && pairs.iter().all(|pair| pair.reverts && pair.old.identity.is_none());
        let defaults = followers.hanging.iter().filter(|id| id.kind == Default::KEYWORD).map(|id| id.up("table"));
        let locked = lock_order(cx, &tables.iter().cloned().chain(defaults).collect(), &parts);
        let cluster = Self { pairs, types, tables: tables.into_iter().collect(), locked, parts, followers, undoable };
        let covered = cluster.own();
        for of in &cluster.types {
            of.may_stand_beside(cx, &covered)?;
        }
        Ok(cluster)
    }

    /// The columns of one table.
    pub(super) fn of_table(&self, table: &Id) -> Vec<&Pair<'c>> {
        self.pairs.iter().filter(|pair| pair.table() == table).collect()
    }

    /// Everything that is in its desired form after the switch.
    pub(super) fn own(&self) -> BTreeSet<Id> {
        let columns = self.pairs.iter().map(Pair::id);
        let mut own: BTreeSet<Id> = columns.chain(self.parts.iter().map(|part| part.id.clone())).collect();
        let Followers { before: _, after, hanging, gone, spoken: _ } = &self.followers;
        own.extend(after.iter().chain(hanging).chain(gone).cloned());
        own.extend(self.types.iter().flat_map(|of| [vec![of.id()], of.hanging.clone(), of.gone.clone()].concat()));
        own
    }
}

/// Whether a column can have another one beside it that takes its place.
fn may_stand_beside(cx: &Context<'_>, changes: &Changes, pair: &Pair<'_>) -> Result<(), String> {
    let (id, table) = (pair.id(), pair.table());
    let is = |reason: &str| Err(format!("{id} {reason}"));
    if changes.get(table) == Some(&Change::Replace) || !cx.persists(table) {
        return Err(format!("{table} is made again in the same plan"));
    }
    if cx.hints.renames.contains_key(table) {
        return Err(format!("{table} is renamed in the same plan: make two plans of it"));
    }
    if cx.live.get_as::<Table>(table).is_some_and(|table| table.partition_by.is_some()) || cx.live.contains(&table.as_kind("partition")) {
        return Err(format!("{table} is partitioned or a partition"));
    }
    if pair.old.generated.is_some() || pair.new.generated.is_some() {
        return is("is computed");
    }
    if pair.new.not_null && !pair.old.not_null {
        return is("becomes NOT NULL in the same plan: make two plans of it");
    }
    if pair.old.identity.is_some() != pair.new.identity.is_some() {
        return is("gets or loses its identity in the same plan: make two plans of it");
    }
    if types::is_constrained(cx, pair.new) {
        return is("becomes of a domain that checks its values, which writes the table again as well");
    }
    if types::refuses_null(cx.live, &pair.old.data_type) {
        return is("is of a domain that refuses NULL, which is looked at before triggers fire");
    }
    // A type that is made again takes the column along.
    let needs = cx.live.get(&id).map(|object| cx.live.all_needs(object)).unwrap_or_default();
    match needs.iter().find(|need| changes.get(*need) == Some(&Change::Replace)) {
        Some(need) => is(&format!("uses {need}, which is made again in the same plan")),
        None => Ok(()),
    }
}

/// What names the columns now and goes in the same plan stays on the old column until then; where the switch has
/// to take away what it leans on, it cannot.
fn leaving(cx: &Context<'_>, tables: &BTreeSet<Id>, columns: &BTreeSet<Id>, parts: &[Part<'_>]) -> Result<(), String> {
    for id in columns.iter().flat_map(|column| cx.live.dependants(column)).filter(|id| !cx.desired.contains(id)) {
        let leans = match id.kind.as_str() {
            "primary-key" => true,
            "foreign-key" => cx.live.get_as::<ForeignKey>(id).is_some_and(|key| named(key, tables, columns).1) && !parts.is_empty(),
            _ => false,
        };
        if leans {
            return Err(format!("{id} goes in the same plan: make two plans of it"));
        }
    }
    Ok(())
}

/// Every table that is locked, each before those that it references, by id where nothing else decides.
fn lock_order(cx: &Context<'_>, tables: &BTreeSet<Id>, parts: &[Part<'_>]) -> Vec<Id> {
    let mut all: BTreeSet<Id> = parts.iter().map(|part| part.id.up("table")).chain(tables.iter().cloned()).collect();
    for key in parts.iter().flat_map(|part| [cx.desired.get_as::<ForeignKey>(&part.id), cx.live.get_as::<ForeignKey>(&part.id)]).flatten() {
        all.extend([key.table.clone(), key.references.clone()]);
    }
    let mut order: Vec<Id> = Vec::new();
    let mut seen = BTreeSet::new();
    for table in &all {
        visit(cx, table, &all, &mut seen, &mut order);
    }
    order
}

/// The foreign keys that point at a table.
fn keys_to<'c>(cx: &Context<'c>, table: &'c Id) -> impl Iterator<Item = &'c ForeignKey> {
    cx.live.dependants(table).filter_map(|id| cx.live.get_as::<ForeignKey>(id)).filter(move |key| key.references == *table)
}

fn visit(cx: &Context<'_>, table: &Id, all: &BTreeSet<Id>, seen: &mut BTreeSet<Id>, order: &mut Vec<Id>) {
    if !seen.insert(table.clone()) {
        return;
    }
    let referencing: BTreeSet<&Id> = keys_to(cx, table).filter(|key| all.contains(&key.table)).map(|key| &key.table).collect();
    for other in referencing {
        visit(cx, other, all, seen, order);
    }
    order.push(table.clone());
}
