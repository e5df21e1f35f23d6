//! Checks of domains that large tables use: added for new values, then proven (safe-changes.md). The
//! proof locks those tables against writes, so it is named.

use crate::catalog::Id;
use crate::kind::Kind as _;
use crate::kind::column::Column;
use crate::kind::domain_check::DomainCheck;
use crate::plan::change::{Change, Changes};
use crate::plan::draft::{Context, Draft, Op, name_blocking};
use crate::plan::op::{Cost, LockMode};
use crate::plan::plan::StageName;

const RECIPE: &str = "domain-check";

/// Takes every check that is added to a domain which stays and which a large table uses.
pub fn apply(cx: &Context<'_>, changes: &mut Changes, draft: &mut Draft) {
    let ids: Vec<Id> = changes
        .iter()
        .filter(|(id, change)| id.kind == DomainCheck::KEYWORD && **change == Change::Create)
        .map(|(id, _)| id.clone())
        .collect();
    for id in ids {
        let Some(check) = cx.desired.get_as::<DomainCheck>(&id) else { continue };
        let tables = users(cx, &check.domain);
        let made = !cx.live.contains(&check.domain) || changes.get(&check.domain) == Some(&Change::Replace);
        if made || tables.iter().all(|table| cx.is_small(table)) {
            continue;
        }
        changes.shift_remove(&id);
        let undo = crate::kind::Object::from(check.clone()).drop().sql;
        let mut ops = vec![
            Op::new(&id, check.add_not_valid(), StageName::Expand, RECIPE)
                .undo(undo)
                .puts(DomainCheck { not_valid: true, ..check.clone() }),
        ];
        if !check.not_valid {
            let mut action = check.validate();
            for table in &tables {
                action = action.lock(table, LockMode::Share, Cost::Scan);
            }
            for table in tables.iter().filter(|table| !cx.is_small(table)) {
                action = name_blocking(action, table, cx.facts.rows(table));
            }
            ops.push(Op::new(&id, action, StageName::Backfill, RECIPE).puts(check.clone()));
        }
        draft.chain(&id, ops);
    }
}

/// The tables with a column of the domain, or of arrays of it.
fn users(cx: &Context<'_>, domain: &Id) -> Vec<Id> {
    let name = domain.sql();
    let mut tables: Vec<Id> = cx
        .live
        .of::<Column>()
        .filter(|column| column.data_type.trim_end_matches("[]") == name)
        .map(|column| column.table.clone())
        .collect();
    tables.sort();
    tables.dedup();
    tables
}
