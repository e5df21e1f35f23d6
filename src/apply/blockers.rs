//! Who would stand in the way of a step before it is tried.

use tokio_postgres::Client;

use crate::pg::blockers::{Blocker, of_row};
use crate::plan::op::{Lock, LockMode};

/// Who holds a lock that conflicts with one of those that a step is about to take, and will for long: transactions open for
/// more than five seconds, prepared ones, a vacuum that prevents wraparound (any other gives way).
const HOLDERS: &str = "
WITH wanted AS (
  SELECT pg_catalog.to_regclass(w.relation)::pg_catalog.oid AS relation, w.mode
  FROM unnest($2::pg_catalog.text[], $3::pg_catalog.text[]) w (relation, mode)
), held AS (
  SELECT DISTINCT l.pid, l.virtualtransaction FROM pg_catalog.pg_locks l JOIN wanted w USING (relation, mode)
  WHERE l.locktype = 'relation' AND l.granted
    AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())
)
SELECT a.pid, coalesce(a.usename::text, a.backend_type), a.application_name, pg_catalog.host(a.client_addr), a.state,
       pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() - a.xact_start), pg_catalog.left(a.query, 500)
FROM held JOIN pg_catalog.pg_stat_activity a USING (pid)
WHERE a.pid <> ALL ($1) AND CASE WHEN a.backend_type = 'autovacuum worker' THEN a.query LIKE '%(to prevent wraparound)%'
                                 ELSE a.xact_start < pg_catalog.clock_timestamp() - interval '5 s' END
UNION ALL
SELECT NULL, p.owner::text, NULL, NULL, 'prepared transaction',
       pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() - p.prepared), p.gid
FROM pg_catalog.pg_prepared_xacts p
WHERE p.prepared < pg_catalog.clock_timestamp() - interval '5 s' AND EXISTS (
  SELECT FROM pg_catalog.pg_locks x JOIN held h ON h.pid IS NULL AND h.virtualtransaction = x.virtualtransaction
  WHERE x.locktype = 'transactionid' AND x.transactionid = p.transaction AND x.pid IS NULL)
ORDER BY 6 DESC NULLS LAST, 1";

/// Who would block a step that takes `locks` for long, oldest transaction first; `own` are our sessions.
///
/// # Errors
/// Those of the query.
pub async fn holders(client: &Client, own: &[i32], locks: &[Lock]) -> Result<Vec<Blocker>, tokio_postgres::Error> {
    let pairs: Vec<(&str, &str)> =
        locks.iter().flat_map(|lock| conflicts(lock.mode).iter().map(|mode| (lock.relation.as_str(), *mode))).collect();
    let (relations, modes): (Vec<&str>, Vec<&str>) = pairs.into_iter().unzip();
    client.query(HOLDERS, &[&own, &relations, &modes]).await?.iter().map(of_row).collect()
}

/// The modes that conflict with one, as `pg_locks` spells them (manual, table 13.2).
const fn conflicts(mode: LockMode) -> &'static [&'static str] {
    // From the weakest that conflicts to the strongest; only SHARE and SHARE UPDATE EXCLUSIVE leave one out.
    const ALL: [&str; 8] = [
        "AccessShareLock",
        "RowShareLock",
        "RowExclusiveLock",
        "ShareUpdateExclusiveLock",
        "ShareLock",
        "ShareRowExclusiveLock",
        "ExclusiveLock",
        "AccessExclusiveLock",
    ];
    const SHARE: [&str; 5] =
        ["RowExclusiveLock", "ShareUpdateExclusiveLock", "ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock"];
    match mode {
        LockMode::AccessShare => ALL.split_at(7).1,
        LockMode::RowShare => ALL.split_at(6).1,
        LockMode::RowExclusive => ALL.split_at(4).1,
        LockMode::ShareUpdateExclusive => ALL.split_at(3).1,
        LockMode::Share => &SHARE,
        LockMode::ShareRowExclusive => ALL.split_at(2).1,
        LockMode::Exclusive => ALL.split_at(1).1,
        LockMode::AccessExclusive => &ALL,
    }
}
