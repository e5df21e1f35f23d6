//! Domains that tables hold inside other types: PostgreSQL alters none of those any more ("cannot alter type … because column
//! … uses it", measured), so their checks come before the tables.

use std::collections::BTreeSet;

use super::draft::{Context, Draft};
use crate::catalog::Id;
use crate::kind::Kind as _;
use crate::kind::column::Column;
use crate::kind::domain_check::DomainCheck;

/// The edges from new checks to new tables.
pub fn checked_before_tables(cx: &Context<'_>, draft: &Draft) -> Vec<(usize, usize)> {
    let checks = draft.ready.iter().filter(|(id, _)| id.kind == DomainCheck::KEYWORD && !cx.live.contains(id));
    let edge = |(id, checked): (&Id, &usize)| {
        let tables = holding(cx, &id.up("domain"));
        let made = tables.into_iter().filter(|table| !cx.live.contains(table)).filter_map(|table| draft.first.get(&table).copied());
        made.map(|made| (*checked, made)).collect::<Vec<_>>()
    };
    checks.flat_map(edge).collect()
}

/// The tables with columns of a type that is made of this domain.
fn holding(cx: &Context<'_>, domain: &Id) -> BTreeSet<Id> {
    let mut types = BTreeSet::from([domain.clone()]);
    let mut open = vec![domain.clone()];
    let mut tables = BTreeSet::new();
    while let Some(of) = open.pop() {
        for user in cx.desired.dependants(&of) {
            match user.kind.as_str() {
                // PostgreSQL looks through the rows of a column of the domain itself.
                Column::KEYWORD if cx.desired.get_as::<Column>(user).is_some_and(|column| column.data_type != domain.sql()) => {
                    tables.insert(user.up("table"));
                }
                "type" | "domain" | "range-type" if types.insert(user.clone()) => open.push(user.clone()),
                _ => {}
            }
        }
    }
    tables
}
