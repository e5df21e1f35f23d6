//! Who stands in the way of a session that waits.

use std::fmt;
use std::time::Duration;

use tokio_postgres::Client;

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

/// Who blocks the session with process `pid`, oldest transaction first; asked on another connection.
///
/// # Errors
/// Those of the query.
pub async fn blockers(client: &Client, pid: i32) -> Result<Vec<Blocker>, tokio_postgres::Error> {
    let rows = client.query(QUERY, &[&pid]).await?;
    rows.iter().map(of_row).collect()
}

pub(crate) fn of_row(row: &tokio_postgres::Row) -> Result<Blocker, tokio_postgres::Error> {
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
