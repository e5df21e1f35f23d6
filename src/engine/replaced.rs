//! Columns that take the place of others: whether what an author says of both sides can be meant.

use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexMap;

use crate::catalog::{Catalog, Id, Ident};
use crate::kdl::{Finding, Findings, Span, suggest};
use crate::kind::column::columns_of;
use crate::kind::lowering::{GivenBack, Hints, Origin};

/// Looks at every column that is new: what an older one says of one that is gone is history.
pub fn check(
    live: &Catalog,
    desired: &Catalog,
    hints: &Hints,
    reads: &BTreeMap<Id, BTreeSet<Ident>>,
    origins: &IndexMap<Id, Origin>,
) -> Findings {
    let mut findings = Findings::new();
    let new = |id: &Id| desired.contains(id) && !live.contains(id) && live.contains(&id.up("table"));
    let mut complain = |by: &Id, value: &str, text: String, help: String| {
        findings.push(match place(origins, by, value) {
            Some(span) => Finding::at(span, text).label("here").help(help),
            None => Finding::general(text).help(help),
        });
    };
    for (old, GivenBack { by, .. }) in hints.given_back.iter().filter(|(_, back)| new(&back.by)) {
        let table = by.up("table");
        let (name, own) = (old.name(), by.name());
        if desired.contains(old) {
            let help = format!("drop {name} in the same change, or take the `revert` out");
            complain(by, name, format!("column {own} gives {name} back, and {old} stays"), help);
        } else if !live.contains(old) {
            let there: Vec<&str> = columns_of(live, &table).map(|column| column.name.as_str()).collect();
            let help = match suggest(name, &there) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("it gives back one of these: {}", there.join(", ")),
            };
            complain(by, name, format!("column {own} gives {name} back, and {table} has no such column"), help);
        } else if let Some(from) = hints.renames.get(by) {
            let help = format!(
                "where one column takes the place of several, none of them is renamed: take `was` out, and say `revert \"…\" of={}` too",
                from.name()
            );
            complain(by, name, format!("column {own} was {}, and gives {name} back", from.name()), help);
        }
    }
    let gone = |id: &Id, name: &Ident| Some(id.renamed(name)).filter(|old| live.contains(old) && !desired.contains(old));
    for (id, names) in reads.iter().filter(|(id, _)| new(id)) {
        let from = hints.renames.get(id);
        let replaced: Vec<Id> = names.iter().filter_map(|name| gone(id, name)).filter(|old| Some(old) != from).collect();
        let Some(first) = replaced.first() else { continue };
        if let Some(from) = from {
            let text = format!("column {} was {}, and its `backfill` reads {}, which goes too", id.name(), from.name(), first.name());
            let help = "where one column takes the place of several, none of them is renamed: take `was` out";
            let backfill = hints.backfills.get(id).map_or("", String::as_str);
            complain(id, backfill, text, help.to_owned());
        } else if let Some(revert) = hints.reverts.get(id) {
            let text = format!("column {} is new: the `revert` does not say which column it gives back", id.name());
            complain(id, revert, text, format!("write `revert \"…\" of={}`", first.name()));
        }
    }
    findings
}

/// The place of the last text with this value that a column says, else of its name.
fn place(origins: &IndexMap<Id, Origin>, column: &Id, value: &str) -> Option<Span> {
    let origin = origins.get(column)?;
    origin.texts.iter().rev().find(|text| text.value == value).map(|text| text.span).or(Some(origin.name))
}
