//! Who stands in the way of a session that waits.

use std::fmt;
use std::time::Duration;

use tokio_postgres::Client;

use crate::plan::op::{Lock, LockMode};

/// A session, or a prepared transaction, that holds what another session waits for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Blocker {
    /// Its process; `None` for a prepared transaction.
    pub pid: Option<i32>,
    /// Its role.
    pub user: String,
    /// Its `application_name`.
    pub application: String,
    /// Address of its client; empty on a Unix socket.
    pub client: String,
    /// As in `pg_stat_activity`: `active`, `idle in transaction`; `prepared transaction`.
    pub state: String,
    /// How long its transaction has been open.
    pub age: Option<Duration>,
    /// Its current or last statement (the first 500 characters), or the prepared transaction's name.
    pub query: String,
}

impl Blocker {
    /// The statement that ends it.
    #[must_use]
    pub fn ended_by(&self) -> String {
        match self.pid {
            Some(pid) => format!("SELECT pg_terminate_backend({pid})"),
            None => format!("ROLLBACK PREPARED {}", crate::catalog::id::literal(&self.query)),
        }
    }
}

impl fmt::Display for Blocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            Some(pid) => write!(f, "pid {pid}")?,
            None => write!(f, "prepared transaction {}", self.query)?,
        }
        write!(f, ", user {}", self.user)?;
        if !self.application.is_empty() {
            write!(f, ", application {}", self.application)?;
        }
        if !self.client.is_empty() {
            write!(f, ", from {}", self.client)?;
        }
        if self.pid.is_some() {
            write!(f, ", {}", self.state)?;
        }
        if let Some(age) = self.age {
            write!(f, ", transaction open for {:.1} s", age.as_secs_f64())?;
        }
        if self.pid.is_some() && !self.query.is_empty() {
            write!(f, ": {}", self.query.split_whitespace().collect::<Vec<_>>().join(" "))?;
        }
        Ok(())
    }
}

/// `pg_blocking_pids` gives 0 for a prepared transaction: those are found by the lock that they hold. Its locks carry no
/// pid, but they share their virtual transaction with the lock on its transaction id.
const QUERY: &str = "
WITH waiting AS (
  SELECT l.locktype, l.database, l.relation, l.page, l.tuple, l.transactionid, l.virtualxid, l.classid, l.objid, l.objsubid
  FROM pg_catalog.pg_locks l WHERE l.pid = $1 AND NOT l.granted
)
SELECT a.pid, a.usename::text, a.application_name, pg_catalog.host(a.client_addr), a.state,
       pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() - a.xact_start), pg_catalog.left(a.query, 500)
FROM (SELECT DISTINCT pg_catalog.unnest(pg_catalog.pg_blocking_pids($1)) AS pid) b
JOIN pg_catalog.pg_stat_activity a USING (pid)
UNION ALL
SELECT NULL, p.owner::text, NULL, NULL, 'prepared transaction',
       pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() - p.prepared), p.gid
FROM pg_catalog.pg_prepared_xacts p
WHERE EXISTS (
  SELECT FROM pg_catalog.pg_locks x
  JOIN pg_catalog.pg_locks h ON h.granted AND h.pid IS NULL AND h.virtualtransaction = x.virtualtransaction
  JOIN waiting w ON h.locktype = w.locktype
   AND (h.database, h.relation, h.page, h.tuple, h.transactionid::text, h.virtualxid, h.classid, h.objid, h.objsubid)
       IS NOT DISTINCT FROM
       (w.database, w.relation, w.page, w.tuple, w.transactionid::text, w.virtualxid, w.classid, w.objid, w.objsubid)
  WHERE x.locktype = 'transactionid' AND x.transactionid = p.transaction AND x.pid IS NULL)
ORDER BY 6 DESC NULLS LAST, 1";

const WAITING: &str = "
SELECT a.pid, a.usename::text, a.application_name, pg_catalog.host(a.client_addr), a.state,
       pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() - a.xact_start), pg_catalog.left(a.query, 500)
FROM pg_catalog.pg_stat_activity a
WHERE a.wait_event_type = 'Lock' AND a.pid <> $1 AND $1 = ANY (pg_catalog.pg_blocking_pids(a.pid)) ORDER BY 6 DESC NULLS LAST, 1";

/// Who waits for the session with process `pid`, the longest transaction first; asked on another connection.
///
/// # Errors
/// Those of the query.
pub async fn waiting_behind(client: &Client, pid: i32) -> Result<Vec<Blocker>, tokio_postgres::Error> {
    client.query(WAITING, &[&pid]).await?.iter().map(of_row).collect()
}

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

/// Who blocks the session with process `pid`, oldest transaction first; asked on another connection.
///
/// # Errors
/// Those of the query.
pub async fn blockers(client: &Client, pid: i32) -> Result<Vec<Blocker>, tokio_postgres::Error> {
    let rows = client.query(QUERY, &[&pid]).await?;
    rows.iter().map(of_row).collect()
}

fn of_row(row: &tokio_postgres::Row) -> Result<Blocker, tokio_postgres::Error> {
    let text = |column: usize| row.try_get::<_, Option<String>>(column).map(Option::unwrap_or_default);
    Ok(Blocker {
        pid: row.try_get(0)?,
        user: text(1)?,
        application: text(2)?,
        client: text(3)?,
        state: text(4)?,
        age: row.try_get::<_, Option<f64>>(5)?.map(|seconds| Duration::from_secs_f64(seconds.max(0.0))),
        query: text(6)?,
    })
}
