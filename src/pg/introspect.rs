//! A live database as a catalog: each kind's query, pipelined over one connection.

use std::collections::{BTreeSet, HashMap};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesOrdered;
use indexmap::IndexMap;

use super::session::{Session, begin_pinned, connect, pin_deparse_settings};
use super::unmodelled;
use super::waits::{Blocked, Waits};
use crate::catalog::{Catalog, Id};
use crate::kind::row::SET_ASIDE;
use crate::kind::{KINDS, Object, Row};

/// What of a database is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Managed {
    /// Owners count.
    pub owners: bool,
    /// Grants count.
    pub grants: bool,
}

/// A database as it was found.
#[derive(Debug, PartialEq)]
pub struct Live {
    /// Its objects. `needs` is empty until [`Live::read_dependencies`].
    pub catalog: Catalog,
    /// `server_version_num`.
    pub server: u32,
    addresses: Addresses,
}

/// Where objects stand in the system catalogs.
#[derive(Debug, Default, PartialEq)]
struct Addresses {
    /// (catalog OID, object OID, column number) to id.
    objects: HashMap<(u32, u32, i32), Id>,
    /// The relations of columns that only carry a comment or grants: what these need, the relation needs.
    relations: HashMap<Id, Id>,
}

impl Addresses {
    /// The object at an address; a part of an object that is none itself belongs to the whole.
    fn get(&self, class: u32, oid: u32, sub: i32) -> Option<&Id> {
        self.objects.get(&(class, oid, sub)).or_else(|| self.objects.get(&(class, oid, 0)))
    }
}

/// Why a database cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum IntrospectError {
    /// A query failed.
    #[error("cannot read {what} from the catalog: {}", super::explain(source))]
    Query {
        /// The kind whose query it was.
        what: &'static str,
        /// What PostgreSQL said.
        #[source]
        source: tokio_postgres::Error,
    },
    /// The settings could not be pinned.
    #[error(transparent)]
    Session(#[from] super::SessionError),
    /// Somebody else holds a lock for too long.
    #[error(transparent)]
    Blocked(#[from] Blocked),
    /// The schema moved while it was read.
    #[error("the schema changed while it was read, {0} times in a row; try again when nobody changes it")]
    Moving(u32),
}

/// Beneath it, a second connection takes longer to make than it saves.
const MANY_RELATIONS: i64 = 4_000;

/// How often a read is repeated when the schema moves beneath it.
const ATTEMPTS: u32 = 5;

/// What changes whenever DDL commits: the newest transaction that wrote to a catalog table, and how
/// many rows there are. The `pg_get_*` functions do not see our snapshot, so a transaction would
/// not help (architecture.md). `age` is all that compares transaction ids without making text of every one of
/// them, which took four times as long; a fixed id makes it absolute again.
const FINGERPRINT: &str = "SELECT pg_current_snapshot()::text, (SELECT string_agg(count || ':' || newest, ',') FROM ( \
     SELECT count(*) AS count, age('3'::xid)::int8 - min(age(xmin)) AS newest FROM pg_class UNION ALL \
     SELECT count(*), age('3'::xid)::int8 - min(age(xmin)) FROM pg_attribute UNION ALL \
     SELECT count(*), age('3'::xid)::int8 - min(age(xmin)) FROM pg_constraint UNION ALL \
     SELECT count(*), age('3'::xid)::int8 - min(age(xmin)) FROM pg_proc UNION ALL \
     SELECT count(*), age('3'::xid)::int8 - min(age(xmin)) FROM pg_type) c)";

/// OIDs of the catalogs themselves.
const CATALOGS: &str =
    "SELECT c.relname::text, c.oid::int8 FROM pg_class c WHERE c.relnamespace = 'pg_catalog'::regnamespace AND c.relkind = 'r'";

/// Where the catalogs stood at some time.
#[derive(Debug, PartialEq, Eq)]
struct Moment {
    snapshot: String,
    fingerprint: String,
}

impl Moment {
    fn of(row: Option<&tokio_postgres::Row>) -> Self {
        let text = |at: usize| row.and_then(|row| row.get::<_, Option<String>>(at)).unwrap_or_default();
        Self { snapshot: text(0), fingerprint: text(1) }
    }

    /// Whether no DDL was committed since. While the snapshot is the same, nothing was committed at all.
    async fn still_holds(&self, session: &Session) -> Result<bool, IntrospectError> {
        let now = query(session, "fingerprint", "SELECT pg_current_snapshot()::text").await?;
        if now.first().is_some_and(|row| row.get::<_, &str>(0) == self.snapshot) {
            return Ok(true);
        }
        let now = Self::of(query(session, "fingerprint", FINGERPRINT).await?.first());
        Ok(now.fingerprint == self.fingerprint)
    }
}

/// Reads a database. Holds no transaction open; repeats when the schema moved meanwhile.
pub async fn introspect(session: &Session, managed: Managed) -> Result<Live, IntrospectError> {
    pin_deparse_settings(session).await?;
    steadily(session, None, managed).await
}

/// Reads a database that others use: where it holds many relations, over a second connection besides, because one
/// server process is what takes most of the time. `session` must not be in a transaction; it keeps its settings. Whose lock
/// it waits for is told to `waits`.
pub async fn introspect_live(session: &Session, managed: Managed, waits: &Waits) -> Result<Live, IntrospectError> {
    begin_pinned(session).await?;
    let live = in_transaction(session, managed, waits).await;
    // It only read; on a connection that is lost the server ends it by itself.
    let ended = session.client().batch_execute("ROLLBACK").await;
    let live = live?;
    ended.map_err(|source| IntrospectError::Query { what: "the end of the transaction", source })?;
    Ok(live)
}

async fn in_transaction(session: &Session, managed: Managed, waits: &Waits) -> Result<Live, IntrospectError> {
    let relations = query(session, "relations", "SELECT count(*) FROM pg_class").await?;
    let many = relations.first().is_some_and(|row| row.get::<_, i64>(0) > MANY_RELATIONS);
    // Without one to spare, it is one.
    let second = if many { connect(session.target()).await.ok() } else { None };
    if let Some(second) = &second {
        begin_pinned(second).await?;
    }
    let sessions: Vec<&Session> = std::iter::once(session).chain(second.as_ref()).collect();
    let live = waits.over(&sessions, steadily(session, second.as_ref(), managed)).await;
    if let Some(second) = second {
        second.close().await;
    }
    live?
}

async fn steadily(session: &Session, second: Option<&Session>, managed: Managed) -> Result<Live, IntrospectError> {
    let mut earlier: Option<Live> = None;
    for _ in 0..ATTEMPTS {
        let (before, live) = read(session, second, managed).await?;
        // Clients that truncate, or make temporary tables, write to the catalogs too: what was read twice alike is what is there.
        if before.still_holds(session).await? || earlier.is_some_and(|earlier| earlier == live) {
            return Ok(live);
        }
        earlier = Some(live);
    }
    Err(IntrospectError::Moving(ATTEMPTS))
}

/// Asks without naming a statement: one round trip, and nothing to give back to the server afterwards.
async fn query(session: &Session, what: &'static str, sql: &str) -> Result<Vec<tokio_postgres::Row>, IntrospectError> {
    session.client().query_typed(sql, &[]).await.map_err(|source| IntrospectError::Query { what, source })
}

fn wanted(keyword: &str, managed: Managed) -> bool {
    match keyword {
        "owner" => managed.owners,
        "grant" => managed.grants,
        _ => true,
    }
}

/// Sends every query at once, and takes each answer apart while the server works on the next one: its rows are
/// gone before the following ones are all there.
async fn read(session: &Session, second: Option<&Session>, managed: Managed) -> Result<(Moment, Live), IntrospectError> {
    let server = session.server_version;
    let kinds: Vec<_> =
        KINDS.iter().filter(|kind| wanted(kind.keyword, managed)).filter_map(|kind| Some((kind, (kind.query)(server)?))).collect();
    // Nothing may be read before it; on one connection that is so by itself.
    let early = if second.is_some() { Some(Moment::of(query(session, "fingerprint", FINGERPRINT).await?.first())) } else { None };
    let leftover = unmodelled::sql(session.is_superuser, server);
    let first = [("fingerprint", FINGERPRINT), ("catalogs", CATALOGS), ("objects without a kind", leftover.as_str())];
    let queries = first.into_iter().map(|(what, sql)| (what, sql, 1));
    let queries = queries.chain(kinds.iter().map(|(kind, sql)| (kind.keyword, sql.as_str(), kind.effort)));
    // Each goes to the connection that has less to do so far.
    let mut load = [0, if second.is_some() { 0 } else { u32::MAX }];
    let mut answers: FuturesOrdered<_> = queries
        .map(|(what, sql, effort)| {
            let to = usize::from(load[1] < load[0]);
            load[to] += effort;
            query(second.filter(|_| to == 1).unwrap_or(session), what, sql)
        })
        .collect();
    let mut next = async || answers.next().await.unwrap_or(Ok(Vec::new()));
    let here = Moment::of(next().await?.first());
    let before = early.unwrap_or(here);
    let classes: HashMap<String, u32> = next().await?.iter().map(|row| (row.get(0), oid(row.get(1)))).collect();
    let unmodelled = unmodelled::names(&next().await?);

    let mut objects: IndexMap<Id, Object> = IndexMap::new();
    let mut addresses = Addresses::default();
    for (kind, _) in &kinds {
        for row in next().await? {
            let mut row = Row::new(&row);
            if kind.catalog == "*" {
                let (class, object, sub) = (oid(row.int()), oid(row.int()), number(row.int()));
                // Only an exact address: the comment of a column is not the table's.
                let Some(subject) = addresses.objects.get(&(class, object, sub)) else { continue };
                let object = (kind.from_row)(&mut row.about(subject.clone()));
                objects.insert(object.id(), object);
                continue;
            }
            let (object_oid, sub) = (oid(row.int()), number(row.int()));
            let object = (kind.from_row)(&mut row);
            let id = object.id();
            if id.path.iter().any(|name| name.starts_with(SET_ASIDE)) {
                continue;
            }
            if let Some(class) = classes.get(kind.catalog).filter(|_| object_oid != 0) {
                addresses.objects.insert((*class, object_oid, sub), id.clone());
            }
            if let Object::ViewColumn(column) = &object {
                addresses.relations.insert(id.clone(), column.relation.clone());
            }
            objects.insert(id, object);
        }
    }
    without_set_aside(&mut objects);
    let catalog = Catalog { objects, needs: IndexMap::new(), unmodelled };
    Ok((before, Live { catalog, server, addresses }))
}

/// A sequence that a column owns which was set aside is kept with it, and comes back with it.
fn without_set_aside(objects: &mut IndexMap<Id, Object>) {
    let is_aside = |column: &Id| column.name().starts_with(SET_ASIDE);
    let owned =
        |object: &Object| if let Object::OwnedBy(owned) = object { is_aside(&owned.column).then(|| owned.sequence.clone()) } else { None };
    let sequences: BTreeSet<Id> = objects.values().filter_map(owned).collect();
    if !sequences.is_empty() {
        objects.retain(|id, object| !sequences.contains(id) && !object.parent().is_some_and(|parent| sequences.contains(&parent)));
    }
}

fn oid(value: i64) -> u32 {
    // OIDs are unsigned 32-bit numbers, cast to int8 by the queries.
    u32::try_from(value).unwrap_or_default()
}

fn number(value: i64) -> i32 {
    i32::try_from(value).unwrap_or_default()
}

impl Live {
    /// Fills `needs` from `pg_depend`. Asked for only when something differs: nothing else needs it.
    ///
    /// Rows of `pg_depend` name parts that are no objects of ours (a view's rule, a key's index, a
    /// table's row type); an internal dependency leads from each to what it is part of.
    pub async fn read_dependencies(&mut self, session: &Session) -> Result<(), IntrospectError> {
        let rows = session
            .client()
            .query(
                // A table's place in a publication, whose filter names columns, is a part of that.
                "SELECT classid::int8, objid::int8, objsubid::int8, refclassid::int8, refobjid::int8, refobjsubid::int8, \
                 CASE WHEN classid = 'pg_publication_rel'::regclass AND refclassid = 'pg_publication'::regclass THEN 'i' ELSE deptype::text END FROM pg_depend \
                 WHERE refobjid >= 16384 OR (refclassid = 'pg_namespace'::regclass AND refobjid = 2200)",
                &[],
            )
            .await
            .map_err(|source| IntrospectError::Query { what: "dependencies", source })?;
        let edges: Vec<_> = rows
            .iter()
            .map(|row| {
                let address = |at: usize| (oid(row.get(at)), oid(row.get(at + 1)), number(row.get(at + 2)));
                (address(0), address(3), row.get::<_, &str>(6).chars().next().unwrap_or('n'))
            })
            .collect();
        let mut owners: HashMap<(u32, u32), (u32, u32, i32)> = HashMap::new();
        for (from, to, kind) in &edges {
            if *kind == 'i' && (from.0, from.1) != (to.0, to.1) {
                owners.insert((from.0, from.1), *to);
            }
        }
        let resolve = |mut at: (u32, u32, i32)| {
            for _ in 0..8 {
                if let Some(id) = self.addresses.get(at.0, at.1, at.2) {
                    return Some(self.addresses.relations.get(id).unwrap_or(id));
                }
                at = *owners.get(&(at.0, at.1))?;
            }
            None
        };
        let mut needs: IndexMap<Id, BTreeSet<Id>> = IndexMap::new();
        for (from, to, kind) in &edges {
            let (Some(from), Some(to)) = (resolve(*from), resolve(*to)) else { continue };
            // What is automatic from a sequence to its column is an object of its own.
            // Between the indexes of a partitioned table and of its partitions the planner knows the order.
            if from == to || matches!(*kind, 'P' | 'S') || (*kind == 'a' && from.kind == "sequence") || is_inside(to, from) {
                continue;
            }
            needs.entry(from.clone()).or_default().insert(to.clone());
        }
        self.catalog.needs = needs;
        Ok(())
    }
}

/// A table does not need its own column.
fn is_inside(inner: &Id, outer: &Id) -> bool {
    inner.path.len() > outer.path.len() && inner.path.starts_with(&outer.path) && outer.kind == "table"
}
