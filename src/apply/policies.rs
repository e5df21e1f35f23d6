//! Policies that hide rows from the applier: a backfill would pass them over, so the server refuses it
//! (`row_security = off`), in the middle of a plan. Known before the first step.

use std::collections::BTreeSet;

use super::context::Context;
use super::error::ApplyError;
use crate::catalog::id::literal;
use crate::plan::plan::Work;

/// Refuses a plan whose steps still to do read the rows of a table of which this role may not see all.
pub(super) async fn check(context: &Context<'_>, done: &BTreeSet<u32>) -> Result<(), ApplyError> {
    let mut read: BTreeSet<String> = BTreeSet::new();
    for (_, step) in context.plan.steps().filter(|(_, step)| !done.contains(&step.number)) {
        if let Work::Backfill(backfill) = &step.work {
            read.insert(backfill.table.sql());
        }
    }
    if read.is_empty() {
        return Ok(());
    }
    let names = read.iter().map(|table| literal(table)).collect::<Vec<_>>().join(", ");
    // True also where the setting turns a hidden row into an error (manual, row_security_active).
    let sql = format!(
        "SELECT n, pg_catalog.quote_ident(current_user) \
         FROM pg_catalog.unnest(ARRAY[{names}]) n, pg_catalog.pg_class c \
         WHERE c.oid = pg_catalog.to_regclass(n) AND pg_catalog.row_security_active(c.oid) ORDER BY 1 LIMIT 1"
    );
    let fail = |error| context.query_error("looking for policies that hide rows", &error);
    match context.ddl().query_opt(&sql, &[]).await.map_err(fail)? {
        None => Ok(()),
        Some(row) => Err(ApplyError::HiddenRows { table: row.get(0), role: row.get(1) }),
    }
}
