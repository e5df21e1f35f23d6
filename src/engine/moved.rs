//! Columns that move into a new table: whether that can be meant, said before anything is planned.

use indexmap::IndexMap;

use crate::catalog::{Catalog, Id};
use crate::kdl::{Finding, Findings, suggest};
use crate::kind::Kind as _;
use crate::kind::column::{Column, columns_of};
use crate::kind::default::Default;
use crate::kind::lowering::{Hints, Origin};
use crate::recipe::split_table;

/// Looks at every column that is to move; where it has moved, or nothing of it is there, `was` is history.
pub fn check(live: &Catalog, desired: &Catalog, hints: &Hints, origins: &IndexMap<Id, Origin>) -> Findings {
    let mut findings = Findings::new();
    for (new, old) in &hints.moved {
        let (table, from) = (new.up("table"), old.up("table"));
        if live.contains(new) || !desired.contains(new) || !live.contains(&from) {
            continue;
        }
        let Some((text, help)) = problem(live, desired, hints, (new, &table), (old, &from)) else { continue };
        let place = origins.get(new).map(|origin| origin.was(old.name()));
        findings.push(match place {
            Some(span) => Finding::at(span, text).label("here").help(help),
            None => Finding::general(text).help(help),
        });
    }
    findings
}

fn problem(
    live: &Catalog,
    desired: &Catalog,
    hints: &Hints,
    (new, table): (&Id, &Id),
    (old, from): (&Id, &Id),
) -> Option<(String, String)> {
    let says = |text: String, help: &str| Some((text, help.to_owned()));
    let Some(was) = live.get_as::<Column>(old) else {
        let there: Vec<&str> = columns_of(live, from).map(|column| column.name.as_str()).collect();
        let near =
            suggest(old.name(), &there).map_or_else(|| format!("it has {}", there.join(", ")), |near| format!("did you mean `{near}`?"));
        return Some((format!("{new} was {}, and {from} has no such column", old.name()), near));
    };
    let now = desired.get_as::<Column>(new)?;
    if live.contains(table) {
        return says(
            format!("{new} was a column of {from}, and {table} is there already"),
            "only a table that is made takes columns of another one",
        );
    }
    if !desired.contains(from) {
        return says(format!("{new} was a column of {from}, which goes"), "rename the table instead, or let it stay");
    }
    if desired.contains(old) {
        return says(format!("{new} was {old}, and that stays"), "leave the column out of the old table, or take `was` out");
    }
    if now.data_type != was.data_type {
        return says(
            format!("{new} is of another type than {old}: {} there", was.data_type),
            "move it with its type, and change that in a release of its own",
        );
    }
    if was.generated.is_some() || was.identity.is_some() || now.generated.is_some() || now.identity.is_some() {
        return says(
            format!("{new} or {old} is generated or an identity, and cannot move"),
            "add the one and drop the other: take `was` out",
        );
    }
    if now.not_null && !was.not_null {
        return says(
            format!("{new} is NOT NULL, and {old} may be NULL"),
            "leave `not-null` out, or make the old column NOT NULL in a release before",
        );
    }
    if live.contains(&Default::id_of(old)) {
        return says(
            format!("{old} has a default: a new client that inserts into {from} would make a row of {table} that it did not ask for"),
            "drop the default in a release before",
        );
    }
    let Some(link) = split_table::link(desired, table, from) else {
        return says(
            format!("{new} was a column of {from}, and nothing says which row of {table} belongs to which of {from}"),
            &format!("the primary key of {table} must be a foreign key that references the primary key of {from}"),
        );
    };
    let elsewhere =
        hints.moved.iter().find(|(other, old)| other.up("table") == *table && old.up("table") != *from && desired.contains(other));
    if let Some((other, theirs)) = elsewhere {
        return says(
            format!("{new} was a column of {from}, and {} one of {}", other.name(), theirs.up("table")),
            "a new table takes the columns of one table: let those of the other move into a table of their own, or in a release of its own",
        );
    }
    let alone = |column: &&Column| {
        let id = column.id();
        let key = link.key.iter().any(|(name, _)| *name == column.name);
        column.not_null && !key && column.identity.is_none() && column.generated.is_none() && !desired.contains(&Default::id_of(&id))
    };
    let unfilled = |column: &&Column| alone(column) && !hints.moved.contains_key(&column.id());
    columns_of(desired, table).find(unfilled).map(|column| {
        let text = format!("{} is NOT NULL and has no default: rows that come from {from} would have no value for it", column.id());
        (text, "give it a default".to_owned())
    })
}
