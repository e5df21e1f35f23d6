//! Owners and privileges of what a plan may make again, or put another one in the place of: they are no part of a state
//! that the project does not manage, and must not be lost.

use std::collections::BTreeMap;

use super::EngineError;
use crate::catalog::id::{literal, quote};
use crate::catalog::{Catalog, Id};
use crate::kind::Kind as _;
use crate::kind::column::Column;
use crate::kind::default_privileges::DefaultPrivileges;
use crate::kind::lowering::Hints;
use crate::kind::{Row, routine};
use crate::pg::Session;

/// Who holds a privilege that `aclexplode` gives as `x`, as GRANT says it.
const TO: &str = "CASE x.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(x.grantee)) END \
                  || CASE WHEN x.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END";

/// What somebody may do with a column.
struct Held {
    privilege: String,
    to: String,
}

impl Held {
    fn grant(&self, column: &Column) -> String {
        format!("GRANT {} ({}) ON TABLE {} TO {}", self.privilege, quote(&column.name), column.table.sql(), self.to)
    }
}

/// The privileges of these columns themselves, in one query.
async fn held<'c>(session: &Session, columns: impl Iterator<Item = &'c Id>) -> Result<BTreeMap<&'c Id, Vec<Held>>, EngineError> {
    let columns: Vec<&Id> = columns.collect();
    let mut all: BTreeMap<&Id, Vec<Held>> = BTreeMap::new();
    if columns.is_empty() {
        return Ok(all);
    }
    let (tables, names): (Vec<String>, Vec<&str>) = columns.iter().map(|id| (id.up("table").sql(), id.name())).unzip();
    let sql = format!(
        "SELECT n.at, x.privilege_type::text, {TO} FROM unnest($1::text[], $2::text[]) WITH ORDINALITY n(relation, name, at) \
         JOIN pg_attribute a ON a.attrelid = to_regclass(n.relation) AND a.attname = n.name, aclexplode(a.attacl) x ORDER BY 1, 3, 2"
    );
    for row in session.client().query(&sql, &[&tables, &names]).await.map_err(|error| failed(&error))? {
        let Some(id) = place(row.get(0)).and_then(|at| columns.get(at)) else { continue };
        all.entry(id).or_default().push(Held { privilege: row.get(1), to: row.get(2) });
    }
    Ok(all)
}

fn failed(error: &tokio_postgres::Error) -> EngineError {
    EngineError::Facts(crate::pg::explain(error))
}

/// Where in a list a row of WITH ORDINALITY belongs: the first is 1.
fn place(ordinality: i64) -> Option<usize> {
    usize::try_from(ordinality).ok()?.checked_sub(1)
}

/// Those that columns have now, for the columns that take their place: a column has its privileges for itself, whether
/// the project manages grants or not.
pub async fn of_columns<'c>(
    session: &Session,
    columns: impl Iterator<Item = (Id, &'c Column)>,
) -> Result<BTreeMap<Id, Vec<String>>, EngineError> {
    let columns: Vec<(Id, &Column)> = columns.collect();
    let held = held(session, columns.iter().map(|(now, _)| now)).await?;
    let statements = |(now, new): &(Id, &Column)| Some((new.id(), held.get(now)?.iter().map(|held| held.grant(new)).collect()));
    Ok(columns.iter().filter_map(statements).collect())
}

/// Those of columns that stand under two names for a while, for the new one.
pub async fn of_renamed(
    session: &Session,
    live: &Catalog,
    desired: &Catalog,
    hints: &Hints,
) -> Result<BTreeMap<Id, Vec<String>>, EngineError> {
    let renamed = hints.renames.iter().filter(|(new, old)| live.contains(old) && !live.contains(new));
    let columns = renamed.filter_map(|(new, old)| Some((old.clone(), desired.get_as::<Column>(new)?)));
    of_columns(session, columns).await
}

/// Those of columns that go, for each column of their table that comes and may take their place.
pub async fn of_replaced(
    session: &Session,
    live: &Catalog,
    desired: &Catalog,
    hints: &Hints,
) -> Result<BTreeMap<Id, BTreeMap<Id, Vec<String>>>, EngineError> {
    let comes = |id: &Id| !live.contains(id) && (hints.backfills.contains_key(id) || hints.renames.contains_key(id));
    let mut coming: BTreeMap<&Id, Vec<&Column>> = BTreeMap::new();
    for column in desired.of::<Column>().filter(|column| comes(&column.id())) {
        coming.entry(&column.table).or_default().push(column);
    }
    let goes = |column: &&Column| coming.contains_key(&column.table) && !desired.contains(&column.id());
    let going: Vec<Id> = live.of::<Column>().filter(goes).map(Column::id).collect();
    let mut found: BTreeMap<Id, BTreeMap<Id, Vec<String>>> = BTreeMap::new();
    for (old, held) in held(session, going.iter()).await? {
        for new in coming.get(&old.up("table")).into_iter().flatten() {
            found.entry(new.id()).or_default().insert(old.clone(), held.iter().map(|held| held.grant(new)).collect());
        }
    }
    Ok(found)
}

/// Owners and privileges of types, for the types that take their place, in one query.
pub async fn of_types(session: &Session, types: &[(Id, Id)]) -> Result<BTreeMap<Id, Vec<String>>, EngineError> {
    let mut found = BTreeMap::new();
    if types.is_empty() {
        return Ok(found);
    }
    let sql = format!(
        "SELECT n.at, CASE WHEN pg_get_userbyid(t.typowner) <> current_user THEN pg_get_userbyid(t.typowner)::text END, t.typacl IS NOT NULL, \
         ARRAY(SELECT {TO} FROM aclexplode(t.typacl) x WHERE x.grantee <> t.typowner ORDER BY 1) \
         FROM unnest($1::text[]) WITH ORDINALITY n(name, at) JOIN pg_type t ON t.oid = to_regtype(n.name)"
    );
    let names: Vec<String> = types.iter().map(|(now, _)| now.sql()).collect();
    for row in session.client().query(&sql, &[&names]).await.map_err(|error| failed(&error))? {
        let Some((_, id)) = place(row.get(0)).and_then(|at| types.get(at)) else { continue };
        let revoke = row.get::<_, bool>(2).then(|| format!("REVOKE ALL ON TYPE {} FROM PUBLIC", id.sql()));
        let grants = row.get::<_, Vec<String>>(3).into_iter().map(|to| format!("GRANT USAGE ON TYPE {} TO {to}", id.sql()));
        let owner = row.get::<_, Option<String>>(1).map(|owner| format!("ALTER TYPE {} OWNER TO {}", id.sql(), quote(&owner)));
        let statements: Vec<String> = revoke.into_iter().chain(grants).chain(owner).collect();
        if !statements.is_empty() {
            found.insert(id.clone(), statements);
        }
    }
    Ok(found)
}

/// What the new objects of a role are given.
pub async fn by_default(session: &Session, role: &str) -> Result<Vec<DefaultPrivileges>, EngineError> {
    let Some(sql) = DefaultPrivileges::query(session.server_version) else { return Ok(Vec::new()) };
    let rows = session.client().query(&sql, &[]).await.map_err(|error| failed(&error))?;
    let read = rows.iter().map(|row| {
        let mut row = Row::new(row);
        // Where it stands in the catalogs.
        let (_, _) = (row.int(), row.int());
        DefaultPrivileges::from_row(&mut row)
    });
    Ok(read.filter(|one| one.role == role).collect())
}

/// Those of views and routines, in one query.
pub async fn of_views_and_routines(session: &Session, live: &Catalog) -> Result<BTreeMap<Id, Vec<String>>, EngineError> {
    let word = |kind: &str| match kind {
        "view" => Some("VIEW"),
        "materialized-view" => Some("MATERIALIZED VIEW"),
        "function" => Some("FUNCTION"),
        "procedure" => Some("PROCEDURE"),
        "aggregate" => Some("AGGREGATE"),
        _ => None,
    };
    let found: Vec<(&Id, &str)> = live.objects.keys().filter_map(|id| Some((id, word(&id.kind)?))).collect();
    if found.is_empty() {
        return Ok(BTreeMap::new());
    }
    let rows: Vec<String> = found
        .iter()
        .enumerate()
        .map(|(at, (id, word))| {
            let called = if word.ends_with("VIEW") { id.sql() } else { routine::call(id) };
            format!("({at}, {}, {})", literal(word), literal(&called))
        })
        .collect();
    let sql = format!(
        "SELECT n.at::int8, CASE WHEN pg_get_userbyid(o.owner) <> current_user THEN format('ALTER %s %s OWNER TO %I', n.word, n.called, pg_get_userbyid(o.owner)) END, \
         CASE WHEN o.routine AND o.acl IS NOT NULL THEN format('REVOKE ALL ON ROUTINE %s FROM PUBLIC', n.called) END, \
         ARRAY(SELECT format('GRANT %s ON %s %s TO %s', x.privilege_type, CASE WHEN o.routine THEN 'ROUTINE' ELSE 'TABLE' END, n.called, {TO}) \
         FROM aclexplode(o.acl) x WHERE x.grantee <> o.owner ORDER BY 1), \
         ARRAY(SELECT format('GRANT %s (%I) ON TABLE %s TO %s', x.privilege_type, a.attname, n.called, {TO}) \
         FROM pg_attribute a, aclexplode(a.attacl) x WHERE NOT o.routine AND a.attrelid = o.id ORDER BY 1) \
         FROM (VALUES {}) n(at, word, called), LATERAL ( \
         SELECT oid AS id, relowner AS owner, relacl AS acl, false AS routine FROM pg_class WHERE n.word LIKE '%VIEW' AND oid = to_regclass(n.called) \
         UNION ALL SELECT oid, proowner, proacl, true FROM pg_proc WHERE n.word NOT LIKE '%VIEW' AND oid = to_regprocedure(n.called)) o",
        rows.join(", ")
    );
    let answer = session.client().query(&sql, &[]).await.map_err(|error| failed(&error))?;
    let mut rights = BTreeMap::new();
    for row in answer {
        let at = usize::try_from(row.get::<_, i64>(0)).unwrap_or_default();
        let (owner, revoke) = (row.get::<_, Option<String>>(1), row.get::<_, Option<String>>(2));
        let granted = row.get::<_, Vec<String>>(3).into_iter().chain(row.get::<_, Vec<String>>(4));
        let statements: Vec<String> = owner.into_iter().chain(revoke).chain(granted).collect();
        if !statements.is_empty() {
            rights.insert(found[at].0.clone(), statements);
        }
    }
    Ok(rights)
}
