//! What only a server knows about partitions: the condition that a bound means, and what a detached
//! partition keeps of it.

use super::{EngineError, Workbench};
use crate::catalog::Catalog;
use crate::catalog::expr::unwrap_parens;
use crate::catalog::id::literal;
use crate::kind::Kind as _;
use crate::kind::partition::Partition;
use crate::pg::Session;
use crate::plan::Facts;

/// Reads both from the states that stand on the bench.
pub(super) async fn read(bench: &Workbench, live: &Catalog, desired: &Catalog, facts: &mut Facts) -> Result<(), EngineError> {
    let stays = |place: &&Partition| live.contains(&place.parent) && desired.contains(&place.parent);
    let attached: Vec<&Partition> =
        desired.of::<Partition>().filter(|place| live.get_as(&place.id()) != Some(*place)).filter(stays).collect();
    let detached: Vec<&Partition> = live.of::<Partition>().filter(|place| !desired.contains(&place.id())).filter(stays).collect();
    let Some(scratch) = bench.scratch() else { return Ok(()) };
    if let (false, Some(name)) = (attached.is_empty(), bench.latest("desired")) {
        let session = scratch.connect(name).await?;
        for place in attached {
            // The text for a hash partition holds the OID of its parent.
            let sql = format!(
                "SELECT pg_get_partition_constraintdef(i.inhrelid) FROM pg_inherits i JOIN pg_partitioned_table p ON p.partrelid = i.inhparent \
                 WHERE i.inhrelid = to_regclass({}) AND p.partstrat <> 'h'",
                literal(&place.table.sql())
            );
            let rows = texts(&session, &sql).await?;
            facts.partition_bounds.extend(rows.into_iter().next().map(|text| (place.id(), unwrap_parens(&text).to_owned())));
        }
    }
    if let (false, Some(name)) = (detached.is_empty(), bench.latest("live")) {
        let session = scratch.connect(name).await?;
        for place in detached {
            let checks = format!(
                "SELECT conname::text FROM pg_constraint WHERE contype = 'c' AND conrelid = to_regclass({})",
                literal(&place.table.sql())
            );
            let before = texts(&session, &checks).await?;
            let statement = format!("ALTER TABLE {} DETACH PARTITION {} CONCURRENTLY", place.parent.sql(), place.table.sql());
            // Refused beside a DEFAULT partition.
            if session.client().batch_execute(&statement).await.is_ok() {
                let left = texts(&session, &checks).await?.into_iter().find(|name| !before.contains(name));
                facts.detach_checks.insert(place.id(), left.map(Into::into));
            }
        }
    }
    Ok(())
}

async fn texts(session: &Session, sql: &str) -> Result<Vec<String>, EngineError> {
    let rows = session.client().query(sql, &[]).await.map_err(|error| EngineError::Facts(crate::pg::explain(&error)))?;
    Ok(rows.iter().filter_map(|row| row.get::<_, Option<String>>(0)).collect())
}
