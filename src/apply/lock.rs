//! One applier per database.
//!
//! Two advisory locks, both taken by try-lock and polling (a blocking wait deadlocks with the holder's CONCURRENTLY):
//! - the *applier's lock*, on the session that runs the DDL: the backend of a killed applier, which may go on alone
//!   with its statement, still holds it;
//! - the *sign of life*, on the applier's second connection, which is idle between short queries: it is gone as soon
//!   as the applier is. Whoever finds the first without the second knows that it waits for an orphan, not for a colleague.

use std::fmt;
use std::time::{Duration, Instant};

use tokio_postgres::{Client, SimpleQueryMessage};

use super::context::Context;
use super::error::ApplyError;
use super::event::Event;
use super::halt::Halt;

/// Upper half of both keys: `sc`. The lower half of the applier's lock: `hema`.
const CLASS: i64 = 0x7363;
const APPLIER: i64 = 0x6865_6d61;
const LIFE: i64 = APPLIER + 1;
/// Held, shared, by any other session of ours, so that nobody takes it for a client.
const GUEST: i64 = APPLIER + 2;
/// How long a finished applier's session may take to vanish.
const COURTESY: Duration = Duration::from_secs(1);
/// For what we read and write ourselves outside a step's transaction.
pub(super) const OWN_LOCK_TIMEOUT: Duration = Duration::from_mins(1);
const POLL: Duration = Duration::from_millis(100);
/// How long the end of both sessions may take.
const FAREWELL: Duration = Duration::from_secs(5);
/// A server answers a question that needs no lock sooner.
const ANSWER: Duration = Duration::from_secs(20);

/// Who holds the applier's lock.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Holder {
    /// Its process.
    pub pid: i32,
    /// Its role.
    pub user: String,
    /// Its `application_name`.
    pub application: String,
    /// Address of its client; empty on a Unix socket.
    pub client: String,
    /// When its session began.
    pub since: String,
    /// Its state, as in `pg_stat_activity`.
    pub state: String,
    /// Its current or last statement (the first 500 characters).
    pub query: String,
    /// Whether its applier is gone: only the server's process goes on.
    pub orphan: bool,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pid, user, application, client, since, state, query, orphan } = self;
        let client = if client.is_empty() { "a local socket" } else { client };
        write!(f, "  pid {pid}, user {user}, application {application}")?;
        if since.is_empty() {
            writeln!(f, " (this role may not see more: GRANT pg_read_all_stats to it)")?;
        } else {
            writeln!(f, ", from {client}, connected since {since}")?;
            writeln!(f, "  {state}: {}", query.split_whitespace().collect::<Vec<_>>().join(" "))?;
        }
        if *orphan {
            writeln!(f, "  its applier is gone, but the server still works on its last statement")?;
        }
        write!(f, "  it can be ended with: SELECT pg_terminate_backend({pid})")
    }
}

/// Takes both locks, waiting a bounded time for an orphan, and sets `client_connection_check_interval`.
pub(super) async fn acquire(context: &mut Context<'_>) -> Result<(), Halt> {
    check_session(context).await?;
    prepare(context).await?;
    end_former(context).await?;
    let begun = Instant::now();
    let mut told = false;
    while !try_lock(context.ddl(), APPLIER, context).await? {
        let alive = is_held(context.watcher(), LIFE, context).await?;
        let holder = holder(context.watcher(), context).await?;
        let patience = if context.former.is_some() { context.options.retry_for } else { context.options.orphan_wait };
        let bound = if alive { COURTESY } else { patience.max(COURTESY) };
        if begun.elapsed() >= bound {
            let holder = Holder { orphan: !alive, ..holder.unwrap_or_default() };
            return Err(ApplyError::Held(Box::new(holder)).into());
        }
        if let Some(holder) = holder.filter(|_| !alive && !told && begun.elapsed() >= COURTESY) {
            told = true;
            let holder = Holder { orphan: true, ..holder };
            context.emit(Event::Notice(format!(
                "the session of an applier that is gone still holds the lock; waiting up to {} s for it:\n{holder}",
                bound.as_secs()
            )));
        }
        context.sleep(POLL).await?;
    }
    if !is_mine(context.ddl(), context).await? {
        return Err(ApplyError::Pooler { reason: format!("the lock that we took is not held by process {}", context.pid) }.into());
    }
    // Held by nobody else while the applier's lock is ours, but for a watcher that is just going.
    let begun = Instant::now();
    while !try_lock(context.watcher(), LIFE, context).await? {
        if begun.elapsed() > COURTESY * 5 {
            return Err(
                ApplyError::Pooler { reason: "the lock of a second connection is held by a session that is not ours".to_owned() }.into()
            );
        }
        context.sleep(POLL).await?;
    }
    Ok(())
}

/// Ends what is left on the server of the sessions that we lost, unless it still works on a statement: where the
/// network failed, it would hold our own locks for as long as the server believes in its client.
async fn end_former(context: &Context<'_>) -> Result<(), ApplyError> {
    let Some([applier, watcher]) = context.former else { return Ok(()) };
    // The keys say that it is no other session which got the number since.
    let sql = format!(
        "SELECT pg_catalog.pg_terminate_backend(l.pid) FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid \
         WHERE ({} AND l.pid = {applier} AND a.state <> 'active') OR ({} AND l.pid = {watcher})",
        of_key(APPLIER),
        of_key(LIFE)
    );
    let ended = context.watcher().simple_query(&sql).await;
    ended.map(drop).map_err(|error| context.query_error("ending the sessions that were lost", &error))
}

/// What a role or database has as its defaults must not decide how a plan runs.
///
/// - Bodies were checked when the plan was made, and may mention what a later step makes.
/// - What is told to be done must be so after a crash of the server.
/// - With `row_security` off, a query that a policy would filter is an error: a backfill must not pass rows over in silence.
/// - The plan's literals are written for `standard_conforming_strings`; read otherwise, backslashes go missing.
/// - With fewer digits the key of a float is not its value.
/// - As a replica, nothing would check foreign keys, and the table's own triggers would not fire.
///
/// The `search_path`, `DateStyle` and `TimeZone` stay the role's own: the plan's texts are qualified and in ISO form; functions
/// and casts that they run are to do what they do for the clients.
pub(super) fn settings(server_version: u32) -> String {
    // Before 17 there is no such limit.
    let whole = if server_version >= 170_000 { "SET transaction_timeout = 0; " } else { "" };
    format!(
        "SET statement_timeout = 0; SET lock_timeout = {}; SET idle_in_transaction_session_timeout = 0; SET idle_session_timeout = 0; {whole}\
         SET default_transaction_isolation = 'read committed'; SET default_transaction_read_only = off; \
         SET default_transaction_deferrable = off; SET row_security = off; SET check_function_bodies = off; \
         SET standard_conforming_strings = on; SET extra_float_digits = 1; \
         SELECT pg_catalog.set_config('synchronous_commit', 'on', false) WHERE pg_catalog.current_setting('synchronous_commit') = 'off'; \
         SELECT pg_catalog.set_config('session_replication_role', 'origin', false) \
         WHERE pg_catalog.current_setting('session_replication_role') = 'replica'",
        OWN_LOCK_TIMEOUT.as_millis()
    )
}

/// Marks a further session as ours, for as long as it lives.
pub(super) fn guest_sql() -> String {
    format!("SELECT pg_catalog.pg_advisory_lock_shared({})", (CLASS << 32) | GUEST)
}

/// The processes of an applier's sessions, as an array.
pub(super) fn ours_sql() -> String {
    format!(
        "ARRAY(SELECT l.pid FROM pg_catalog.pg_locks l WHERE l.locktype = 'advisory' AND l.classid = {CLASS} \
         AND l.objid IN ({APPLIER}, {LIFE}, {GUEST}) AND l.objsubid = 1 AND l.granted AND l.pid IS NOT NULL)"
    )
}

async fn prepare(context: &mut Context<'_>) -> Result<(), ApplyError> {
    let sql = "SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('default_transaction_read_only')";
    let asked = context.ddl().query_one(sql, &[]).await.and_then(|row| Ok((row.try_get(0)?, row.try_get::<_, String>(1)?)));
    let (standby, read_only) = asked.map_err(|error| context.query_error("looking whether this server can be written to", &error))?;
    if standby {
        return Err(ApplyError::Standby { target: context.session.target().describe() });
    }
    if read_only == "on" && context.former.is_none() {
        let text = "default_transaction_read_only is on for this role or database; it is off in the sessions of this run";
        context.emit(Event::Notice(text.to_owned()));
    }
    let sql = settings(context.session.server_version);
    for client in [context.ddl(), context.watcher()] {
        client.batch_execute(&sql).await.map_err(|error| context.query_error("setting up the session", &error))?;
    }
    // Not every platform has it; without it an orphan lives until its statement ends.
    let _ = context.ddl().batch_execute("SET client_connection_check_interval = '2s'").await;
    Ok(())
}

/// A transaction-mode pooler lends a backend for one transaction: while one of our connections is in a transaction,
/// the other is served by another process than before. Asked in both orders, whatever the order in which a pooler
/// lends them. Nothing is set and no lock is taken before: both would stay in a session that serves other clients.
async fn check_session(context: &Context<'_>) -> Result<(), ApplyError> {
    let pids = async {
        let first = two_pids([context.ddl(), context.watcher()]).await?;
        let second = two_pids([context.watcher(), context.ddl()]).await?;
        Ok([first[0], first[1], second[1], second[0]])
    };
    let Ok(pids) = tokio::time::timeout(ANSWER, pids).await else {
        let reason = "while one connection of ours is in a transaction, the other gets no answer".to_owned();
        return Err(ApplyError::Pooler { reason });
    };
    let pids = pids.map_err(|error| context.query_error("asking for the server's process", &error))?;
    let [own, other] = [context.pid, context.watching.backend_pid];
    if own == other {
        return Err(ApplyError::Pooler { reason: format!("two connections of ours were served by the same process {own}") });
    }
    for (pid, known) in pids.into_iter().zip([own, other, own, other]) {
        if pid != known {
            return Err(ApplyError::Pooler { reason: format!("our connection was served by process {known} and then by {pid}") });
        }
    }
    Ok(())
}

/// The processes that serve two connections while the first of them is in a transaction.
async fn two_pids(clients: [&Client; 2]) -> Result<[i32; 2], tokio_postgres::Error> {
    let mut pids = [0; 2];
    clients[0].batch_execute("BEGIN").await?;
    for (pid, client) in pids.iter_mut().zip(clients) {
        let rows = client.simple_query("SELECT pg_catalog.pg_backend_pid()").await?;
        *pid = first_value(&rows).and_then(|pid| pid.parse().ok()).unwrap_or_default();
    }
    clients[0].batch_execute("COMMIT").await?;
    Ok(pids)
}

/// A query that tells, within a step's transaction, whether the applier's lock is still that session's own.
pub(super) fn held_sql() -> String {
    format!(
        "EXISTS (SELECT FROM pg_catalog.pg_locks l WHERE l.locktype = 'advisory' AND l.pid = pg_catalog.pg_backend_pid() \
         AND l.classid = {CLASS} AND l.objid = {APPLIER} AND l.objsubid = 1 AND l.granted)"
    )
}

async fn is_mine(client: &Client, context: &Context<'_>) -> Result<bool, ApplyError> {
    let rows = client.simple_query(&format!("SELECT {}", held_sql())).await;
    let rows = rows.map_err(|error| context.query_error("looking for the applier's lock", &error))?;
    Ok(first_value(&rows) == Some("t"))
}

async fn try_lock(client: &Client, key: i64, context: &Context<'_>) -> Result<bool, ApplyError> {
    let sql = format!("SELECT pg_catalog.pg_try_advisory_lock({})", (CLASS << 32) | key);
    let rows = client.simple_query(&sql).await.map_err(|error| context.query_error("taking the applier's lock", &error))?;
    Ok(first_value(&rows) == Some("t"))
}

/// The lock's rows of this database in `pg_locks`.
fn of_key(key: i64) -> String {
    format!(
        "l.locktype = 'advisory' AND l.classid = {CLASS} AND l.objid = {key} AND l.objsubid = 1 AND l.granted AND l.database = \
         (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())"
    )
}

async fn is_held(client: &Client, key: i64, context: &Context<'_>) -> Result<bool, ApplyError> {
    let sql = format!("SELECT EXISTS (SELECT FROM pg_catalog.pg_locks l WHERE {})", of_key(key));
    let rows = client.simple_query(&sql).await.map_err(|error| context.query_error("looking for another applier", &error))?;
    Ok(first_value(&rows) == Some("t"))
}

async fn holder(client: &Client, context: &Context<'_>) -> Result<Option<Holder>, ApplyError> {
    find_holder(client).await.map_err(|error| context.query_error("looking for another applier", &error))
}

/// Who holds the applier's lock of this database, if anyone. `orphan` is decided by the sign of life.
///
/// # Errors
/// Those of the query.
pub async fn find_holder(client: &Client) -> Result<Option<Holder>, tokio_postgres::Error> {
    let sql = format!(
        "SELECT l.pid, a.usename::text, a.application_name, pg_catalog.host(a.client_addr), a.backend_start::text, a.state, \
         pg_catalog.left(a.query, 500), NOT EXISTS (SELECT FROM pg_catalog.pg_locks l WHERE {}) \
         FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid WHERE {}",
        of_key(LIFE),
        of_key(APPLIER)
    );
    let Some(row) = client.query_opt(&sql, &[]).await? else { return Ok(None) };
    let text = |column: usize| row.try_get::<_, Option<String>>(column).map(Option::unwrap_or_default);
    Ok(Some(Holder {
        pid: row.try_get::<_, Option<i32>>(0)?.unwrap_or_default(),
        user: text(1)?,
        application: text(2)?,
        client: text(3)?,
        since: text(4)?,
        state: text(5)?,
        query: text(6)?,
        orphan: row.try_get(7)?,
    }))
}

/// Gives both locks back and ends both sessions: whoever comes next must not meet our locks. A server that does not
/// answer is not waited for.
pub(super) async fn farewell(context: Context<'_>) {
    let farewell = async {
        // The sessions end right after; a failure here changes nothing.
        let _ = context.ddl().simple_query(&format!("SELECT pg_catalog.pg_advisory_unlock({})", (CLASS << 32) | APPLIER)).await;
        let _ = context.watcher().simple_query(&format!("SELECT pg_catalog.pg_advisory_unlock({})", (CLASS << 32) | LIFE)).await;
        let Context { session, watching, .. } = context;
        session.close().await;
        watching.close().await;
    };
    let _ = tokio::time::timeout(FAREWELL, farewell).await;
}

/// The first column of the first row.
pub(super) fn first_value(messages: &[SimpleQueryMessage]) -> Option<&str> {
    messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row.get(0)),
        _ => None,
    })?
}
