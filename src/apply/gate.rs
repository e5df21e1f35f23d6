//! Whether clients of the old release are gone, as far as the server can tell: who is connected now, who was seen since
//! the switch, what `pg_stat_statements` counted. Each look is recorded in the ledger; the first one starts the clock.

use std::time::Duration;

use tokio_postgres::Client;

use super::{ledger, lock};
use crate::catalog::id::{literal, quote};
use crate::config::duration;
use crate::config::ignore::glob;
use crate::plan::Plan;
use crate::plan::plan::{Gate, StageName};

/// What the looks have given so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence {
    /// What the gate waits for, one sentence each; empty: it is met.
    pub unmet: Vec<String>,
    /// Who was seen since the first look, the last one first.
    pub seen: Vec<Sighting>,
    /// How often it was looked, this time included.
    pub looks: i64,
    /// How long ago the first look was; `None` before the switch is done, or where nothing can be recorded.
    pub watched: Option<Duration>,
}

/// A client, or a statement, that a gate asks about.
#[derive(Clone, Debug, PartialEq)]
pub struct Sighting {
    /// Its `application_name`, or the statement.
    pub application: String,
    /// Its role.
    pub user: String,
    /// Address of the client; empty on a Unix socket.
    pub client: String,
    /// Its process; `None` for a statement.
    pub pid: Option<i32>,
    /// How long ago it was seen last.
    pub ago: Duration,
}

impl Sighting {
    /// `app/1.4 (user app, from 10.0.0.7, session 4711)`.
    #[must_use]
    pub fn name(&self) -> String {
        let Self { application, user, client, pid, ago: _ } = self;
        let application = if application.is_empty() { "a client without application_name" } else { application };
        let client = if client.is_empty() { String::new() } else { format!(", from {client}") };
        let pid = pid.map(|pid| format!(", session {pid}")).unwrap_or_default();
        format!("{application} (user {user}{client}{pid})")
    }
}

/// Sessions of other clients of this database (manual, 28.2.3). What the role may not see is NULL, `backend_type` too.
/// Ours are known by their locks, not by a name: a connection string that is the application's may carry the
/// application's name.
fn sessions() -> String {
    format!(
        "SELECT a.pid, coalesce(a.usename::text, ''), a.application_name, coalesce(pg_catalog.host(a.client_addr), '') \
         FROM pg_catalog.pg_stat_activity a \
         WHERE a.datname = pg_catalog.current_database() AND (a.backend_type = 'client backend' OR a.backend_type IS NULL AND a.usesysid IS NOT NULL) \
         AND a.pid <> pg_catalog.pg_backend_pid() AND a.application_name IS DISTINCT FROM 'schema' AND a.pid <> ALL ({}) \
         ORDER BY a.backend_start, a.pid",
        lock::ours_sql()
    )
}

const SEEN: &str = "
SELECT application, username, client, pid, greatest(0, pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() - seen))
FROM schema_ledger.sightings WHERE plan = $1 ORDER BY seen DESC, application, username";

/// Looks, records what is seen (where the role may), and judges. `session` is not to be counted as a client: neither are
/// sessions of `schema` itself.
///
/// # Errors
/// Those of reading sessions and ledger.
pub async fn look(client: &Client, plan: &Plan, gates: &[Gate]) -> Result<Evidence, tokio_postgres::Error> {
    let mut evidence = Evidence::default();
    if gates.is_empty() {
        return Ok(evidence);
    }
    if !switched(client, &plan.name).await? {
        evidence.unmet.push("the stages before contract are not done".to_owned());
        return Ok(evidence);
    }
    let idle = gates.iter().map(|gate| gate.idle).max().unwrap_or_default();
    // A role that only reads (for `status`) sees what others recorded.
    let _ = record(client, &plan.name).await;
    let connected = connected(client, gates, &mut evidence.unmet).await?;
    for one in &connected {
        let _ = client.execute(SIGHT, &[&plan.name, &one.application, &one.user, &one.client, &one.pid.unwrap_or_default()]).await;
        evidence.unmet.push(format!("{} is connected", one.name()));
    }
    if gates.iter().any(|gate| gate.statements)
        && let Err(error) = statements(client, plan).await?
    {
        evidence.unmet.push(error);
    }
    let seconds = |seconds: f64| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
    for row in client.query(SEEN, &[&plan.name]).await? {
        evidence.seen.push(Sighting {
            application: row.try_get(0)?,
            user: row.try_get(1)?,
            client: row.try_get(2)?,
            pid: row.try_get::<_, Option<i32>>(3)?.filter(|pid| *pid > 0),
            ago: seconds(row.try_get(4)?),
        });
    }
    let asked = duration::format(idle);
    for one in evidence
        .seen
        .iter()
        .filter(|one| one.ago < idle && !connected.iter().any(|now| now.application == one.application && now.user == one.user))
    {
        evidence.unmet.push(format!("{} was seen {} ago; {asked} without it are asked for", one.name(), duration::span(one.ago)));
    }
    // A clock that was set back has measured nothing.
    let sql = "SELECT looks, greatest(0, pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() - first_look)), restarts FROM schema_ledger.gates WHERE plan = $1";
    match client.query_opt(sql, &[&plan.name]).await? {
        None => evidence.unmet.push("no look could be recorded: the role may not write into schema_ledger".to_owned()),
        Some(row) => {
            evidence.looks = row.try_get(0)?;
            let watched = seconds(row.try_get(1)?);
            evidence.watched = Some(watched);
            if watched < idle {
                let restarts: i32 = row.try_get(2)?;
                let again = if restarts == 1 { "once".to_owned() } else { format!("{restarts} times") };
                let why = if restarts == 0 {
                    String::new()
                } else {
                    format!(
                        " (the clock began again {again}: pg_stat_statements was emptied, or threw statements away; raise pg_stat_statements.max where that goes on)"
                    )
                };
                evidence.unmet.push(format!("it is looked since {} only; {asked} are asked for{why}", duration::span(watched)));
            }
        }
    }
    Ok(evidence)
}

/// Whether everything before contract is done.
async fn switched(client: &Client, plan: &str) -> Result<bool, tokio_postgres::Error> {
    if ledger::format(client).await? < 2 {
        return Ok(false);
    }
    let sql = "SELECT EXISTS (SELECT FROM schema_ledger.plans WHERE name = $1 AND state <> 'rolled-back') AND NOT EXISTS \
               (SELECT FROM schema_ledger.steps WHERE plan = $1 AND stage <> $2 AND state <> 'done')";
    client.query_one(sql, &[&plan, &StageName::Contract.name()]).await?.try_get(0)
}

const SIGHT: &str = "
INSERT INTO schema_ledger.sightings (plan, application, username, client, pid) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (plan, application, username, client) DO UPDATE SET pid = excluded.pid, seen = excluded.seen";

async fn record(client: &Client, plan: &str) -> Result<(), tokio_postgres::Error> {
    let sql = "INSERT INTO schema_ledger.gates AS g (plan) VALUES ($1) \
               ON CONFLICT (plan) DO UPDATE SET last_look = pg_catalog.clock_timestamp(), looks = g.looks + 1";
    client.execute(sql, &[&plan]).await.map(drop)
}

/// Clients that are connected now and that a gate asks about. One that cannot be seen counts as one.
async fn connected(client: &Client, gates: &[Gate], unmet: &mut Vec<String>) -> Result<Vec<Sighting>, tokio_postgres::Error> {
    let mut found = Vec::new();
    let mut hidden = 0_usize;
    for row in client.query(&sessions(), &[]).await? {
        let (user, application): (String, Option<String>) = (row.try_get(1)?, row.try_get(2)?);
        let asked = |gate: &&Gate| gate.clients.is_some() || gate.user.is_some();
        let by_user = |gate: &&Gate| gate.user.as_ref().is_none_or(|pattern| glob(pattern, &user));
        let by_name =
            |gate: &&Gate| gate.clients.as_ref().is_none_or(|pattern| application.as_ref().is_some_and(|name| glob(pattern, name)));
        if gates.iter().filter(asked).filter(by_user).any(|gate| by_name(&gate)) {
            let (pid, client) = (Some(row.try_get(0)?), row.try_get(3)?);
            found.push(Sighting { application: application.unwrap_or_default(), user, client, pid, ago: Duration::ZERO });
        } else if application.is_none() && gates.iter().filter(asked).any(|gate| by_user(&gate)) {
            hidden += 1;
        }
    }
    if hidden > 0 {
        unmet.push(format!("this role cannot see who {hidden} sessions are: GRANT pg_read_all_stats to it"));
    }
    Ok(found)
}

/// Statements that mention what contract takes away and were called since the last look are sightings. `Ok(Err(..))`:
/// the counters cannot be read, and why.
async fn statements(client: &Client, plan: &Plan) -> Result<Result<(), String>, tokio_postgres::Error> {
    let sql = "SELECT n.nspname::text FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace \
               WHERE e.extname = 'pg_stat_statements'";
    let Some(row) = client.query_opt(sql, &[]).await? else {
        return Ok(Err("pg_stat_statements is not in this database, so that no statement can be counted".to_owned()));
    };
    let mentions = mentions(plan);
    if mentions.is_empty() {
        return Ok(Ok(()));
    }
    let schema = quote(row.try_get::<_, &str>(0)?);
    let seen = count(client, &plan.name, &schema, &mentions).await;
    Ok(seen.map_err(|error| format!("pg_stat_statements cannot be read: {}", crate::pg::explain(&error))).and_then(|result| result))
}

async fn count(client: &Client, plan: &str, schema: &str, mentions: &str) -> Result<Result<(), String>, tokio_postgres::Error> {
    // What was thrown away or emptied since the first look may have counted something: the clock starts again.
    let sql = format!(
        "UPDATE schema_ledger.gates g SET deallocated = i.dealloc, emptied = i.stats_reset, \
         first_look = CASE WHEN g.emptied IS NULL THEN g.first_look ELSE pg_catalog.clock_timestamp() END, \
         restarts = g.restarts + CASE WHEN g.emptied IS NULL THEN 0 ELSE 1 END \
         FROM {schema}.pg_stat_statements_info i WHERE g.plan = $1 AND (g.deallocated, g.emptied) IS DISTINCT FROM (i.dealloc, i.stats_reset) \
         RETURNING g.looks"
    );
    let afresh = client.query_opt(&sql, &[&plan]).await?.is_some();
    let found = format!(
        "SELECT s.userid, s.queryid, s.calls, pg_catalog.left(s.query, 200) AS query, coalesce(r.rolname::text, '') AS role \
         FROM {schema}.pg_stat_statements s LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.userid \
         WHERE s.dbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()) \
         AND s.query NOT LIKE '%schema_ledger%'"
    );
    let hidden: i64 =
        client.query_one(&format!("SELECT count(*) FROM ({found}) f WHERE f.query = '<insufficient privilege>'"), &[]).await?.try_get(0)?;
    if hidden > 0 {
        return Ok(Err(format!("this role cannot read {hidden} statements of others: GRANT pg_read_all_stats to it")));
    }
    let called = format!(
        "WITH found AS (SELECT f.userid, f.queryid, sum(f.calls)::int8 AS calls, min(f.query) AS query, min(f.role) AS role FROM ({found} AND ({mentions})) f GROUP BY 1, 2), \
         kept AS (INSERT INTO schema_ledger.statements AS k (plan, userid, queryid, calls) SELECT $1, userid, queryid, calls FROM found \
         ON CONFLICT (plan, userid, queryid) DO UPDATE SET calls = excluded.calls) \
         SELECT f.query, f.role FROM found f LEFT JOIN schema_ledger.statements k ON (k.plan, k.userid, k.queryid) = ($1, f.userid, f.queryid) \
         WHERE f.calls IS DISTINCT FROM k.calls"
    );
    let rows = client.query(&called, &[&plan]).await?;
    // At the first look there is nothing to compare with: what was called before the switch is no sign.
    for row in rows.iter().filter(|_| !afresh) {
        let (query, role): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let query = format!("statement {}", query.split_whitespace().collect::<Vec<_>>().join(" "));
        client.execute(SIGHT, &[&plan, &query, &role, &"", &0_i32]).await?;
    }
    Ok(Ok(()))
}

/// A condition on `s.query`: it mentions a column that contract takes away together with its table, or such a relation.
fn mentions(plan: &Plan) -> String {
    let word = |name: &str| {
        if name.chars().all(|c| c.is_alphanumeric() || c == '_') {
            format!("s.query ~* {}", literal(&format!("\\m{name}\\M")))
        } else {
            format!("strpos(lower(s.query), {}) > 0", literal(&name.to_lowercase()))
        }
    };
    let taken = plan.stage(StageName::Contract).into_iter().flat_map(|stage| &stage.steps).flat_map(|step| &step.takes);
    let conditions = taken.filter_map(|id| match id.kind.as_str() {
        "column" => Some(format!("({} AND {})", word(&id.path[1]), word(id.name()))),
        "table" | "view" | "materialized-view" | "function" | "procedure" | "sequence" => Some(word(id.path.get(1).unwrap_or(&id.path[0]))),
        _ => None,
    });
    conditions.collect::<Vec<_>>().join(" OR ")
}
