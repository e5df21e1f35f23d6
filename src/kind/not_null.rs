//! The constraint behind NOT NULL. From PostgreSQL 18 on (of domains from 17 on) it is an object with a name, which
//! `pg_dump` writes; of tables it can be unproven, or hold for the table alone (release notes of 17 and 18).

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize, Serializer};

use super::column::Column;
use super::domain::Domain;
use super::lowering::Hints;
use super::partition::{Partition, beneath};
use super::{Kind as _, Lowering, Object, observed};
use crate::catalog::id::{default_name, quote};
use crate::catalog::{Catalog, Id, Ident};
use crate::kdl::{Node, NodeOut, ValueOut};
use crate::plan::op::{Action, Cost, Hazard, LockMode};

/// From here on NOT NULL of a column has a name (release notes of 18).
pub const NAMED: u32 = 180_000;

/// From here on NOT NULL of a domain has a name (release notes of 17).
pub const NAMED_OF_DOMAINS: u32 = 170_000;

/// What NOT NULL is besides being there. Older servers know nothing of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "(Option<Ident>, bool, bool)")]
pub struct NotNull {
    /// Its name, where it is not the one that PostgreSQL derives from those of the table and the column; of a partition
    /// always, for there it is that of the table above as a rule. In a file `None` is what nobody wrote: [`settle`]
    /// makes a name of it.
    pub name: Option<Ident>,
    /// Not inherited by children.
    pub no_inherit: bool,
    /// Not checked for rows that were there before: the column may hold NULL, and counts as one that may.
    pub not_valid: bool,
}

impl From<(Option<Ident>, bool, bool)> for NotNull {
    fn from((name, no_inherit, not_valid): (Option<Ident>, bool, bool)) -> Self {
        Self { name, no_inherit, not_valid }
    }
}

impl Serialize for NotNull {
    /// Fingerprints pass over the name: a plan that was made on a server of another version, which has none, holds here too.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { name, no_inherit, not_valid } = self;
        match (observed::is_passed_over(), no_inherit | not_valid) {
            (true, false) => serializer.serialize_unit(),
            (true, true) => (no_inherit, not_valid).serialize(serializer),
            (false, _) => (name, no_inherit, not_valid).serialize(serializer),
        }
    }
}

impl NotNull {
    /// The constraint of a server that has named ones: `name` of a column of a table, or of a domain.
    #[must_use]
    pub fn found(name: Option<Ident>, usual: &Ident) -> Self {
        Self { name: name.filter(|name| name != usual), ..Self::default() }
    }

    /// Reads `constraint=name`, or `constraint name not-valid no-inherit` in a block.
    pub fn read(node: &mut Node<'_>, out: &mut Lowering) -> Self {
        let Some(mut part) = node.child("constraint", &mut out.findings) else { return Self::default() };
        let (no_inherit, not_valid) = (part.flag("no-inherit", &mut out.findings), part.flag("not-valid", &mut out.findings));
        let name = part.opt_arg().map(|text| Ident::new(&text.value));
        part.finish(&mut out.findings);
        Self { name, no_inherit, not_valid }
    }

    /// Writes what [`Self::read`] reads.
    pub fn write(&self, node: &mut NodeOut) {
        let Self { name, no_inherit, not_valid } = self;
        if !no_inherit && !not_valid {
            if let Some(name) = name {
                node.set("constraint", name.as_str());
            }
            return;
        }
        let part = name.iter().fold(NodeOut::new("constraint"), |part, name| part.arg(name.as_str()));
        let flags = [("no-inherit", no_inherit), ("not-valid", not_valid)].into_iter().filter(|(_, set)| **set);
        node.add(flags.fold(part, |mut part, (flag, _)| {
            part.set(flag, ValueOut::Bool(true));
            part
        }));
    }

    /// `CONSTRAINT name `, where it has one of its own.
    #[must_use]
    pub fn prefix(&self) -> String {
        self.name.as_ref().map_or_else(String::new, |name| format!("CONSTRAINT {} ", quote(name)))
    }
}

/// What PostgreSQL calls it by itself.
#[must_use]
pub fn usual(table: &str, column: &str) -> Ident {
    default_name(table, column, "not_null")
}

/// What PostgreSQL calls that of a domain by itself.
#[must_use]
pub fn usual_of_domain(domain: &str) -> Ident {
    default_name(domain, "", "not_null")
}

impl Column {
    /// The name of its NOT NULL, on a server that has one.
    #[must_use]
    pub fn not_null_name(&self) -> Ident {
        self.constraint.name.clone().unwrap_or_else(|| usual(self.table.name(), &self.name))
    }

    /// Gives its NOT NULL a name.
    pub fn name_not_null(&mut self, name: Ident, in_partition: bool) {
        self.constraint.name = (in_partition || name != usual(self.table.name(), &self.name)).then_some(name);
    }

    /// ADD CONSTRAINT … NOT NULL, with its name; NOT VALID where it is so.
    #[must_use]
    pub fn add_not_null_sql(&self) -> String {
        let NotNull { name: _, no_inherit, not_valid } = &self.constraint;
        let no_inherit = if *no_inherit { " NO INHERIT" } else { "" };
        let not_valid = if *not_valid { " NOT VALID" } else { "" };
        let name = quote(&self.not_null_name());
        format!("ALTER TABLE {} ADD CONSTRAINT {name} NOT NULL {}{no_inherit}{not_valid}", self.table.sql(), quote(&self.name))
    }

    /// The statements that make it NOT NULL with a scan, where `old` is as it is before.
    #[must_use]
    pub fn set_not_null_sql(&self, old: Option<&Self>) -> Vec<String> {
        let old = old.filter(|old| old.constraint.not_valid);
        if let Some(old) = old {
            let name = self.not_null_name();
            let renamed = (old.not_null_name() != name).then(|| rename(&self.table, &old.not_null_name(), &name));
            return renamed.into_iter().chain([validate(&self.table, &name)]).collect();
        }
        if self.constraint == NotNull::default() {
            vec![format!("ALTER TABLE {} ALTER COLUMN {} SET NOT NULL", self.table.sql(), quote(&self.name))]
        } else {
            vec![self.add_not_null_sql()]
        }
    }

    /// How the NOT NULL of `old` becomes this one.
    #[must_use]
    pub fn alter_not_null(&self, old: &Self) -> Vec<Action> {
        let id = self.id();
        let exclusive = |title: String, sql: Vec<String>, cost| {
            let action = Action::new(title).lock(&self.table, LockMode::AccessExclusive, cost);
            Action { sql, ..action }
        };
        let drop = || vec![format!("ALTER TABLE {} ALTER COLUMN {} DROP NOT NULL", self.table.sql(), quote(&self.name))];
        let nullable = |action: Action| action.hazard(Hazard::RowShape, format!("{id} may be NULL for its readers"));
        let NotNull { name: _, no_inherit, not_valid } = self.constraint;
        if !self.has_not_null() {
            let action = exclusive(format!("Let {id} be NULL"), drop(), Cost::Instant);
            return vec![if old.not_null { nullable(action) } else { action }];
        }
        if !old.has_not_null() {
            let (title, cost) = if not_valid {
                (format!("Add NOT NULL to {id}, not yet validated"), Cost::Instant)
            } else {
                (format!("Set {id} NOT NULL"), Cost::Scan)
            };
            let sql = if not_valid { vec![self.add_not_null_sql()] } else { self.set_not_null_sql(None) };
            return vec![exclusive(title, sql, cost)];
        }
        if not_valid && old.not_null {
            let sql = [drop(), vec![self.add_not_null_sql()]].concat();
            return vec![nullable(exclusive(format!("Take back that {id} is proven NOT NULL"), sql, Cost::Instant))];
        }
        let mut actions = Vec::new();
        let (was, name) = (old.not_null_name(), self.not_null_name());
        if was != name {
            let title = format!("Rename NOT NULL of {id} from {was} to {name}");
            actions.push(exclusive(title, vec![rename(&self.table, &was, &name)], Cost::Instant));
        }
        if no_inherit != old.constraint.no_inherit {
            let word = if no_inherit { "NO INHERIT" } else { "INHERIT" };
            let sql = format!("ALTER TABLE {} ALTER CONSTRAINT {} {word}", self.table.sql(), quote(&name));
            actions.push(exclusive(format!("Change whether children inherit NOT NULL of {id}"), vec![sql], Cost::Instant));
        }
        if old.constraint.not_valid && !not_valid {
            actions.push(self.validate_not_null());
        }
        actions
    }

    /// Looks at the rows that are there; reads and writes go on (SHARE UPDATE EXCLUSIVE).
    #[must_use]
    pub fn validate_not_null(&self) -> Action {
        Action::new(format!("Validate that {} is NOT NULL", self.id())).sql(validate(&self.table, &self.not_null_name())).lock(
            &self.table,
            LockMode::ShareUpdateExclusive,
            Cost::Scan,
        )
    }

    /// Whether it has the constraint, proven or not.
    #[must_use]
    pub const fn has_not_null(&self) -> bool {
        self.not_null || self.constraint.not_valid
    }
}

/// RENAME CONSTRAINT for each column of `new`, a table that is called `now`, whose NOT NULL has another name in `old`.
/// Nothing on a server without such names.
#[must_use]
pub fn renames(server: u32, now: &Id, old: &[&Column], new: &[&Column]) -> Vec<String> {
    if server < NAMED {
        return Vec::new();
    }
    let pairs = new.iter().filter_map(|new| Some((old.iter().find(|old| old.name == new.name)?, new)));
    pairs
        .filter(|(old, new)| old.has_not_null() && new.has_not_null() && old.not_null_name() != new.not_null_name())
        .map(|(old, new)| rename(now, &old.not_null_name(), &new.not_null_name()))
        .collect()
}

fn validate(table: &Id, name: &str) -> String {
    format!("ALTER TABLE {} VALIDATE CONSTRAINT {}", table.sql(), quote(name))
}

/// ALTER TABLE … RENAME CONSTRAINT. Of a partitioned table it renames those of the partitions too.
#[must_use]
pub fn rename(table: &Id, from: &str, to: &str) -> String {
    format!("ALTER TABLE {} RENAME CONSTRAINT {} TO {}", table.sql(), quote(from), quote(to))
}

/// Whether it cannot be renamed: PostgreSQL renames those of the partitions with it, and refuses where one has another
/// name (measured), as those have that were partitions before 18.
#[must_use]
pub fn is_stuck(live: &Catalog, column: &Column) -> bool {
    let name = column.not_null_name();
    let of = |part: &Id| live.get_as::<Column>(&part.child(Column::KEYWORD, &column.name));
    beneath(live.of::<Partition>(), &column.table)
        .into_iter()
        .filter_map(of)
        .any(|part| part.constraint.name.as_ref().is_some_and(|theirs| *theirs != name))
}

/// Gives every NOT NULL of a desired state the name that it is to have on a server of version `server`. What nobody named
/// keeps the name that it has in `live`; in a partition it has that of the table above, as PARTITION OF makes it.
pub fn settle(live: &Catalog, raw: &mut Catalog, hints: &Hints, server: u32) {
    let was = |id: &Id| hints.renames.get(id).cloned();
    for object in raw.objects.values_mut() {
        match object {
            Object::Column(column) if server < NAMED => column.constraint.name = None,
            Object::Domain(domain) => {
                let name = domain.constraint.name.take().filter(|_| server >= NAMED_OF_DOMAINS);
                let id = domain.id();
                let there = || live.get_as::<Domain>(&was(&id).unwrap_or(id)).and_then(|old| old.constraint.name.clone());
                domain.constraint = NotNull::found(name.or_else(there), &usual_of_domain(&domain.name));
            }
            _ => {}
        }
    }
    if server < NAMED {
        return;
    }
    let above: HashMap<Id, Id> = raw.of::<Partition>().map(|place| (place.table.clone(), place.parent.clone())).collect();
    let before = |column: &Column| {
        let table = was(&column.table).unwrap_or_else(|| column.table.clone());
        // The columns of partitions are renamed with the one above them.
        let mut tables = std::iter::successors(Some(&column.table), |table| above.get(*table)).take(64);
        let renamed = tables.find_map(|table| was(&table.child(Column::KEYWORD, &column.name)));
        let name = renamed.map_or_else(|| column.name.clone(), |old| Ident::new(old.name()));
        live.get_as::<Column>(&table.child(Column::KEYWORD, &name)).filter(|old| old.has_not_null())
    };
    let depth = |table: &Id| std::iter::successors(above.get(table), |parent| above.get(*parent)).take(64).count();
    // Nearly all have the usual name on both sides, and need no second look.
    let named: HashSet<&Id> = live
        .objects
        .iter()
        .filter(|(_, object)| matches!(object, Object::Column(column) if column.constraint.name.is_some()))
        .map(|(id, _)| id)
        .collect();
    let mut ids: Vec<(usize, Id)> = raw
        .objects
        .iter()
        .filter_map(|(id, object)| {
            let Object::Column(column) = object else { return None };
            let counts = column.constraint.name.is_some()
                || above.contains_key(&column.table)
                || !named.is_empty() && named.contains(id)
                || !hints.renames.is_empty();
            (column.has_not_null() && counts).then(|| (depth(&column.table), id.clone()))
        })
        .collect();
    ids.sort_by_key(|(depth, _)| *depth);
    for (_, id) in ids {
        let Some(column) = raw.get_as::<Column>(&id) else { continue };
        let old = before(column);
        let parent = above.get(&column.table).and_then(|parent| raw.get_as::<Column>(&parent.child(Column::KEYWORD, &column.name)));
        let name = match (&column.constraint.name, parent) {
            (Some(name), _) => name.clone(),
            (None, None) => old.map_or_else(
                || column.not_null_name(),
                |old| {
                    let stays = old.constraint.name.is_some() || old.not_null_name() != column.not_null_name() && is_stuck(live, old);
                    if stays { old.not_null_name() } else { column.not_null_name() }
                },
            ),
            (None, Some(parent)) => {
                let stays = |old: &&Column| {
                    let place = live.get_as::<Partition>(&Partition::id_of(&old.table));
                    let its = place.and_then(|place| live.get_as::<Column>(&place.parent.child(Column::KEYWORD, &old.name)));
                    its.is_some_and(|its| its.not_null_name() != old.not_null_name())
                };
                old.filter(stays).map_or_else(|| parent.not_null_name(), Column::not_null_name)
            }
        };
        if let Some(Object::Column(column)) = raw.objects.get_mut(&id) {
            let in_partition = above.contains_key(&column.table);
            column.name_not_null(name, in_partition);
        }
    }
}

/// Like [`settle`], for files that are to say what a server says: where its partitions have no names, it knows none.
pub fn settle_as(said: &Catalog, raw: &mut Catalog, hints: &Hints) {
    let parts: HashSet<&Id> = said.of::<Partition>().map(|place| &place.table).collect();
    let mut strict = said.of::<Column>().filter(|column| column.has_not_null() && parts.contains(&column.table));
    let nameless = strict.any(|column| column.constraint.name.is_none());
    settle(said, raw, hints, if nameless { 0 } else { NAMED });
}

/// The column as files say it: the name of a partition's is written where it is not that of the table above.
#[must_use]
pub fn as_written(catalog: &Catalog, column: &Column) -> Column {
    let place = catalog.get_as::<Partition>(&Partition::id_of(&column.table));
    let above = place.and_then(|place| catalog.get_as::<Column>(&place.parent.child(Column::KEYWORD, &column.name)));
    let mut column = column.clone();
    if let Some(above) = above {
        let theirs = above.not_null_name();
        column.constraint.name = column.constraint.name.filter(|name| !above.has_not_null() || *name != theirs);
    }
    column
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Fingerprint;
    use crate::kind::round_trip;
    use crate::source::read_text;

    fn state(text: &str) -> Catalog {
        read_text("x.kdl", &format!("schema public {{ {text} }}"))
            .unwrap_or_else(|error| panic!("{}", crate::cli::out::plain(&error)))
            .catalog
    }

    fn name(catalog: &Catalog, table: &str, column: &str) -> Option<String> {
        let id = Id::new("table", ["public", table]).child(Column::KEYWORD, column);
        catalog.get_as::<Column>(&id).and_then(|column| column.constraint.name.as_ref().map(ToString::to_string))
    }

    fn column(constraint: NotNull, not_null: bool) -> Column {
        let catalog = state("table t { column a int; }");
        let plain = catalog.of::<Column>().next().expect("there is one").clone();
        Column { not_null, constraint, ..plain }
    }

    #[test]
    fn reads_back() {
        let named = NotNull { name: Some("given".into()), ..NotNull::default() };
        let text = round_trip::check(&column(named.clone(), true));
        assert!(text.contains("column a int not-null constraint=given"), "{text}");
        let text = round_trip::check(&column(NotNull { not_valid: true, ..named.clone() }, false));
        assert!(text.contains("constraint given not-valid=#true"), "{text}");
        round_trip::check(&column(NotNull { no_inherit: true, name: None, not_valid: false }, true));
    }

    #[test]
    fn a_name_makes_no_other_fingerprint() {
        let named = NotNull { name: Some("given".into()), ..NotNull::default() };
        let of = |constraint: &NotNull| Fingerprint::of(&column(constraint.clone(), true));
        assert_eq!(of(&named), of(&NotNull::default()));
        assert_ne!(of(&named), of(&NotNull { not_valid: true, ..named.clone() }));
    }

    #[test]
    fn what_nobody_named() {
        let text = "table t { column a int not-null constraint=given; column b int not-null; partition-by range a; \
                    partition p from=1 to=2; partition q from=2 to=3 { column b int not-null constraint=q_b_not_null; }; }; \
                    table u { column c int not-null; }";
        let mut fresh = state(text);
        settle(&Catalog::default(), &mut fresh, &Hints::default(), NAMED);
        let of = |table: &str, column: &str| name(&fresh, table, column);
        assert_eq!([of("t", "a"), of("t", "b"), of("u", "c")], [Some("given".to_owned()), None, None]);
        // A partition has the name of the table above, unless it says another one: its own default is one too.
        assert_eq!([of("p", "a"), of("p", "b")], [Some("given".to_owned()), Some("t_b_not_null".to_owned())]);
        assert_eq!([of("q", "a"), of("q", "b")], [Some("given".to_owned()), Some("q_b_not_null".to_owned())]);
        // What is there keeps its name.
        let live = fresh.clone();
        let mut unsaid = state(&text.replace(" constraint=given", "").replace(" constraint=q_b_not_null", ""));
        settle(&live, &mut unsaid, &Hints::default(), NAMED);
        assert!(unsaid.same_objects(&live));
        // Older servers know none.
        settle(&live, &mut unsaid, &Hints::default(), 150_000);
        assert!(unsaid.of::<Column>().all(|column| column.constraint == NotNull::default()));
    }
}
