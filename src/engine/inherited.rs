//! Columns of partitions, which PostgreSQL renames and alters with those of the table above and never by themselves.

use indexmap::IndexMap;

use crate::catalog::{Catalog, Id};
use crate::kdl::{Finding, Findings};
use crate::kind::Kind as _;
use crate::kind::column::{Column, columns_of};
use crate::kind::lowering::{Hints, Origin};
use crate::kind::partition::Partition;

/// Takes the renames out that are said of a table above as well: they say the same. What a table is that becomes a
/// partition is said of the one above alone.
pub fn settle(live: &Catalog, desired: &Catalog, hints: &mut Hints) {
    for place in desired.of::<Partition>().filter(|place| !live.contains(&Partition::id_of(&place.table))) {
        let said: Vec<(Id, Id)> = hints
            .renames
            .iter()
            .filter(|(new, _)| new.kind == Column::KEYWORD && new.up("table") == place.parent)
            .map(|(new, old)| (place.table.child(&new.kind, new.name()), place.table.child(&old.kind, old.name())))
            .filter(|(new, old)| live.contains(old) && !live.contains(new) && !desired.contains(old))
            .collect();
        for (new, old) in said {
            hints.renames.entry(new).or_insert(old);
        }
    }
    let said_above = |new: &Id, old: &Id| {
        let mut table = before(hints, &new.up("table"));
        while let Some(place) = live.get_as::<Partition>(&Partition::id_of(&table)) {
            let above = after(hints, &place.parent).child(&new.kind, new.name());
            if hints.renames.get(&above).is_some_and(|was| was.name() == old.name()) {
                return true;
            }
            table = place.parent.clone();
        }
        false
    };
    let of_column = |(new, old): &(&Id, &Id)| new.kind == Column::KEYWORD && said_above(new, old);
    let said_twice: Vec<Id> = hints.renames.iter().filter(of_column).map(|(new, _)| new.clone()).collect();
    for id in said_twice {
        hints.renames.shift_remove(&id);
        hints.in_place.remove(&id);
    }
}

/// What a table was called, and what it is to be called.
fn before(hints: &Hints, table: &Id) -> Id {
    hints.renames.get(table).unwrap_or(table).clone()
}

fn after(hints: &Hints, table: &Id) -> Id {
    hints.renames.iter().find(|(_, old)| *old == table).map_or(table, |(new, _)| new).clone()
}

/// Looks at every partition that leaves its table: until then its columns change with that, after it they are its own.
pub fn check(live: &Catalog, desired: &Catalog, hints: &Hints, origins: &IndexMap<Id, Origin>) -> Findings {
    let mut findings = Findings::new();
    for place in live.of::<Partition>() {
        let (table, parent) = (&place.table, &place.parent);
        if desired.contains(&place.id()) || !desired.contains(table) || !desired.contains(parent) {
            continue;
        }
        for column in columns_of(live, parent) {
            let [theirs, own] = [parent, table].map(|table| becomes(desired, hints, &column.id(), table));
            let change = [&theirs, &own].map(|to| to.as_ref().is_some_and(|to| is_changed(column, to)));
            let alike = match (&theirs, &own) {
                (Some(theirs), Some(own)) => (&theirs.name, form(theirs)) == (&own.name, form(own)),
                (None, None) => true,
                _ => false,
            };
            if alike || change == [false, false] {
                continue;
            }
            let (whose, other) = if change[0] { (parent, table) } else { (table, parent) };
            let text = format!(
                "{table} leaves {parent}, and column {} of {whose} is renamed or changes its type in the same plan, unlike that of {other}",
                column.name
            );
            let help = "make two plans of it: let it leave first, and change the column afterwards";
            let told = own.map(|own| own.id()).into_iter().chain([table.clone()]).find_map(|id| origins.get(&id));
            findings.push(match told {
                Some(origin) => Finding::at(origin.name, text).label("here").help(help),
                None => Finding::general(text).help(help),
            });
        }
    }
    findings
}

/// What a column of the table above is to be there, or in a partition of it.
fn becomes(desired: &Catalog, hints: &Hints, column: &Id, table: &Id) -> Option<Column> {
    let of = |name: &str| table.child(Column::KEYWORD, name);
    let renamed = [column.clone(), of(column.name())].into_iter().find_map(|old| hints.renames.iter().find(|(_, was)| **was == old));
    let renamed = renamed.and_then(|(new, _)| desired.get_as::<Column>(&of(new.name())));
    renamed.or_else(|| desired.get_as::<Column>(&of(column.name()))).cloned()
}

fn is_changed(old: &Column, new: &Column) -> bool {
    (&old.name, form(old)) != (&new.name, form(new))
}

fn form(column: &Column) -> (&str, Option<&String>, Option<&str>) {
    let Column { data_type, collation, generated, .. } = column;
    (data_type, collation.as_ref(), generated.as_ref().map(|generated| generated.expression.as_str()))
}
