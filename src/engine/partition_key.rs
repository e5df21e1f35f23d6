//! What PostgreSQL refuses whatever the way: another type for a column by which a table is divided.

use std::collections::BTreeSet;

use indexmap::IndexMap;

use super::EngineError;
use crate::catalog::closure::words;
use crate::catalog::{Catalog, Id};
use crate::kdl::{Finding, Findings, Sources};
use crate::kind::Kind as _;
use crate::kind::column::Column;
use crate::kind::enum_type::EnumType;
use crate::kind::lowering::{Hints, Origin};
use crate::kind::sql_type::base;
use crate::kind::table::Table;
use crate::recipe::retype::relabel::{columns_of_type, is_relabelled, renamed};

/// Looks for changes of the type of such a column, and for enums of one that would have to be made again.
///
/// # Errors
/// [`EngineError::Findings`] at the column, or at the enum.
pub fn check(
    live: &Catalog,
    desired: &Catalog,
    hints: &Hints,
    origins: &IndexMap<Id, Origin>,
    sources: &Sources,
) -> Result<(), EngineError> {
    let divides = |column: &Column| {
        let by = |state: &Catalog| state.get_as::<Table>(&column.table).and_then(|table| table.partition_by.clone());
        let key = by(live).filter(|key| by(desired).as_ref() == Some(key));
        key.is_some_and(|key| key.elements.iter().any(|element| words(element).contains(column.name.as_str())))
    };
    let mut findings = Findings::new();
    let mut refuse = |id: &Id, message: String, help: &str| {
        let finding = match origins.get(id) {
            Some(origin) => Finding::at(origin.name, message).label("here"),
            None => Finding::general(message),
        };
        findings.push(finding.help(help));
    };
    let help = "make a table of the new form beside it under another name, copy the rows, and rename both";
    let divided: BTreeSet<Id> = desired.of::<Table>().filter(|table| table.partition_by.is_some()).map(Table::id).collect();
    for new in desired.of::<Column>().filter(|column| divided.contains(&column.table) && divides(column)) {
        let id = new.id();
        // The type may only have another name.
        let same = |old: &Column| old.data_type == new.data_type || hints.renames.keys().any(|id| id.sql() == base(&new.data_type));
        if live.get_as::<Column>(&id).is_some_and(|old| !same(old)) {
            refuse(&id, format!("{} is divided by {}, whose type PostgreSQL cannot change", new.table, new.name), help);
        }
    }
    let enums = renamed(live, hints);
    for (now, old) in enums.iter().filter(|(_, old)| desired.get_as::<EnumType>(&old.id()).is_some_and(|new| is_relabelled(old, new))) {
        let id = old.id();
        if let Some(column) = columns_of_type(live, &now.id()).find(|column| divides(column)) {
            let message = format!(
                "{} is divided by {}, whose type PostgreSQL cannot change: {id} can get values and new names for them, but not lose or move one",
                column.table, column.name
            );
            refuse(
                &id,
                message,
                "keep its values in their order, or make a table of another type beside it, copy the rows, and rename both",
            );
        }
    }
    findings.or_report(sources, ()).map_err(EngineError::from)
}
