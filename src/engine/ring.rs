//! What steps that wait for each other are known to come from: said at its place instead.

use indexmap::IndexMap;

use crate::catalog::{Catalog, Id};
use crate::kdl::{Finding, Findings};
use crate::kind::Kind as _;
use crate::kind::column::Column;
use crate::kind::enum_type::EnumType;
use crate::kind::lowering::{Hints, Origin};
use crate::kind::sql_type::base;
use crate::recipe::retype::relabel::{is_relabelled, renamed};

/// Columns that are renamed while their enum is made again: the old one is of the old type until contract, and the new one
/// of the new type from the first step on, and both have one name.
pub fn explain(live: &Catalog, desired: &Catalog, hints: &Hints, origins: &IndexMap<Id, Origin>) -> Findings {
    let mut findings = Findings::new();
    let again: Vec<Id> = renamed(live, hints)
        .into_iter()
        .filter(|(_, old)| desired.get_as::<EnumType>(&old.id()).is_some_and(|new| is_relabelled(old, new)))
        .map(|(old, _)| old.id())
        .collect();
    for (new, old) in &hints.renames {
        let Some(column) = live.get_as::<Column>(old).filter(|_| !live.contains(new)) else { continue };
        let Some(of) = again.iter().find(|id| id.sql() == base(&column.data_type)) else { continue };
        let text = format!("{new} was {}, and its type, {of}, is made again in the same plan: it loses or moves values", old.name());
        let help = "make two plans of it: rename the column first, and change the type when that is done; or the other way round";
        findings.push(match origins.get(new) {
            Some(origin) => Finding::at(origin.was(old.name()), text).label("here").help(help),
            None => Finding::general(text).help(help),
        });
    }
    findings
}
