//! Owners and privileges of what a plan may make again, or put another one in the place of: they are no part of a state
//! that the project does not manage, and must not be lost.

use std::collections::BTreeMap;

use super::EngineError;
use crate::catalog::id::literal;
use crate::catalog::{Catalog, Id};
use crate::kind::Kind as _;
use crate::kind::column::Column;
use crate::kind::lowering::Hints;
use crate::kind::routine;
use crate::pg::Session;

/// Those of columns that stand under two names for a while, for the new one.
pub async fn of_renamed(
    session: &Session,
    live: &Catalog,
    desired: &Catalog,
    hints: &Hints,
) -> Result<BTreeMap<Id, Vec<String>>, EngineError> {
    let renamed = hints.renames.iter().filter(|(new, old)| live.contains(old) && !live.contains(new));
    let columns = renamed.filter_map(|(new, old)| Some((old.clone(), desired.get_as::<Column>(new)?)));
    super::retypes::column_grants(session, columns).await
}

/// Those of columns that go, for each column of their table that comes and may take their place.
pub async fn of_replaced(
    session: &Session,
    live: &Catalog,
    desired: &Catalog,
    hints: &Hints,
) -> Result<BTreeMap<Id, BTreeMap<Id, Vec<String>>>, EngineError> {
    let mut found: BTreeMap<Id, BTreeMap<Id, Vec<String>>> = BTreeMap::new();
    let going: Vec<Id> = live.of::<Column>().map(Column::id).filter(|id| !desired.contains(id)).collect();
    let comes = |id: &Id| !live.contains(id) && (hints.backfills.contains_key(id) || hints.renames.contains_key(id));
    let coming: Vec<&Column> = desired.of::<Column>().filter(|column| comes(&column.id())).collect();
    for old in going {
        for new in coming.iter().filter(|new| new.table == old.up("table")) {
            let given = super::retypes::column_grants(session, std::iter::once((old.clone(), *new))).await?;
            // Who has no privileges of its own is asked once.
            if given.is_empty() {
                break;
            }
            found.entry(new.id()).or_default().insert(old.clone(), given.into_values().flatten().collect());
        }
    }
    Ok(found)
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
    let to = "CASE x.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(x.grantee)) END || CASE WHEN x.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END";
    let sql = format!(
        "SELECT n.at::int8, CASE WHEN pg_get_userbyid(o.owner) <> current_user THEN format('ALTER %s %s OWNER TO %I', n.word, n.called, pg_get_userbyid(o.owner)) END, \
         CASE WHEN o.routine AND o.acl IS NOT NULL THEN format('REVOKE ALL ON ROUTINE %s FROM PUBLIC', n.called) END, \
         ARRAY(SELECT format('GRANT %s ON %s %s TO %s', x.privilege_type, CASE WHEN o.routine THEN 'ROUTINE' ELSE 'TABLE' END, n.called, {to}) \
         FROM aclexplode(o.acl) x WHERE x.grantee <> o.owner ORDER BY 1), \
         ARRAY(SELECT format('GRANT %s (%I) ON TABLE %s TO %s', x.privilege_type, a.attname, n.called, {to}) \
         FROM pg_attribute a, aclexplode(a.attacl) x WHERE NOT o.routine AND a.attrelid = o.id ORDER BY 1) \
         FROM (VALUES {}) n(at, word, called), LATERAL ( \
         SELECT oid AS id, relowner AS owner, relacl AS acl, false AS routine FROM pg_class WHERE n.word LIKE '%VIEW' AND oid = to_regclass(n.called) \
         UNION ALL SELECT oid, proowner, proacl, true FROM pg_proc WHERE n.word NOT LIKE '%VIEW' AND oid = to_regprocedure(n.called)) o",
        rows.join(", ")
    );
    let answer = session.client().query(&sql, &[]).await.map_err(|error| EngineError::Facts(crate::pg::explain(&error)))?;
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
