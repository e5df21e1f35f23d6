//! Sizes of the tables that a change touches, and what their defaults would cost.

use std::collections::{BTreeMap, BTreeSet};

use super::{EngineError, Workbench};
use crate::catalog::id::literal;
use crate::catalog::{Catalog, Id};
use crate::kind::Object;
use crate::kind::lowering::Hints;
use crate::kind::partition::Partition;
use crate::pg::Session;
use crate::plan::{Facts, TableFacts};

/// Reads what the planner rests on. Without a session (two files) every size is unknown.
pub async fn read(
    session: Option<&Session>,
    bench: &mut Workbench,
    live: &Catalog,
    desired: &Catalog,
    hints: &Hints,
    server: u32,
    small: u64,
) -> Result<Facts, EngineError> {
    let mut facts = Facts { server, ..Facts::default() };
    if let Some(session) = session {
        facts.server = session.server_version;
        let role = session
            .client()
            .query_one("SELECT current_user::text", &[])
            .await
            .map_err(|error| EngineError::Facts(crate::pg::explain(&error)))?;
        let role = role.get::<_, String>(0);
        facts.default_privileges = super::rights::by_default(session, &role).await?;
        facts.role = Some(role);
        facts.holding_nulls = holding_nulls(session, live, desired, small).await?;
        facts.tables = sizes(session, &touched(live, desired), small).await?;
    }
    facts.volatile_defaults = volatile_defaults(bench, live, desired).await?;
    super::partition_facts::read(bench, live, desired, &mut facts).await?;
    super::retypes::read(session, bench, live, desired, hints, &mut facts).await?;
    if let Some(session) = session {
        facts.privileges.extend(super::rights::of_renamed(session, live, desired, hints).await?);
        facts.on_extensions = super::kept::on_extensions(session, live, desired, hints).await?;
        facts.handed_on = super::rights::of_replaced(session, live, desired, hints).await?;
        facts.privileges.extend(super::rights::of_views_and_routines(session, live).await?);
    }
    Ok(facts)
}

/// Live tables in which something differs, and those that their foreign keys point at.
fn touched(live: &Catalog, desired: &Catalog) -> BTreeSet<Id> {
    let mut tables = BTreeSet::new();
    let ids = live.objects.keys().chain(desired.objects.keys().filter(|id| !live.contains(id)));
    for id in ids.filter(|id| live.get(id) != desired.get(id)) {
        let path = if matches!(id.kind.as_str(), "comment" | "owner" | "grant") { &id.path[1..] } else { &id.path[..] };
        if path.len() >= 2 {
            let table = Id::new("table", path[..2].to_vec());
            if live.contains(&table) {
                tables.insert(table);
            }
        }
        if let Some(Object::ForeignKey(key)) = desired.get(id)
            && live.contains(&key.references)
        {
            tables.insert(key.references.clone());
        }
        // Who is attached is compared with the DEFAULT partition beside it.
        for place in [live, desired].into_iter().filter_map(|state| state.get_as::<Partition>(id)) {
            let beside = live.of::<Partition>().filter(|other| other.parent == place.parent && other.bound == "DEFAULT");
            tables.extend(beside.map(|other| other.table.clone()));
            tables.extend(live.contains(&place.parent).then(|| place.parent.clone()));
        }
        // A type that changes is felt by every table that uses it.
        for (other, needs) in &live.needs {
            if needs.contains(id) && other.path.len() == 3 && live.contains(&other.up("table")) {
                tables.insert(other.up("table"));
            }
        }
    }
    tables
}

/// Rows and bytes, in one query: counted up to the bound below which the direct statement is used,
/// estimated above it.
async fn sizes(session: &Session, tables: &BTreeSet<Id>, small: u64) -> Result<BTreeMap<Id, TableFacts>, EngineError> {
    if tables.is_empty() {
        return Ok(BTreeMap::new());
    }
    let parts: Vec<String> = tables
        .iter()
        .enumerate()
        .map(|(at, table)| {
            let sql = table.sql();
            format!(
                "SELECT {at}::int8, (SELECT count(*) FROM (SELECT 1 FROM {sql} LIMIT {}) few)::int8, \
                 (SELECT COALESCE(sum(greatest(c.reltuples, 0)), 0) FROM pg_partition_tree({}) t JOIN pg_class c ON c.oid = t.relid WHERE t.isleaf)::int8 \
                 + (SELECT CASE WHEN relkind = 'p' THEN 0 ELSE greatest(reltuples, 0) END FROM pg_class WHERE oid = {}::regclass)::int8, \
                 pg_total_relation_size({}::regclass)::int8 \
                 + (SELECT COALESCE(sum(pg_total_relation_size(t.relid)), 0) FROM pg_partition_tree({}) t WHERE t.isleaf AND t.level > 0)::int8",
                small + 1,
                literal(&sql),
                literal(&sql),
                literal(&sql),
                literal(&sql)
            )
        })
        .collect();
    let rows =
        session.client().query(&parts.join(" UNION ALL "), &[]).await.map_err(|error| EngineError::Facts(crate::pg::explain(&error)))?;
    let tables: Vec<&Id> = tables.iter().collect();
    Ok(rows
        .iter()
        .map(|row| {
            let number = |at: usize| u64::try_from(row.get::<_, i64>(at)).unwrap_or_default();
            let table = tables[usize::try_from(row.get::<_, i64>(0)).unwrap_or_default()].clone();
            let counted = number(1);
            let rows = if counted <= small { counted } else { number(2).max(counted) };
            (table, TableFacts { rows, bytes: number(3) })
        })
        .collect())
}

/// Columns to be added whose default PostgreSQL evaluates row by row: tried on a table with one row,
/// which is written again exactly then.
async fn volatile_defaults(bench: &mut Workbench, live: &Catalog, desired: &Catalog) -> Result<BTreeSet<Id>, EngineError> {
    let added: Vec<(&Id, &str, &str)> = desired
        .objects
        .iter()
        .filter_map(|(id, object)| match object {
            Object::Default(default) if !live.contains(&default.column) && live.contains(&default.column.up("table")) => {
                let Some(Object::Column(column)) = desired.get(&default.column) else { return None };
                Some((&default.column, column.data_type.as_str(), default.expression.as_str())).filter(|_| id.kind == "default")
            }
            _ => None,
        })
        .collect();
    let mut volatile = BTreeSet::new();
    if added.is_empty() {
        return Ok(volatile);
    }
    // The desired state stands on the bench, with every type and function.
    let (Some(scratch), Some(name)) = (bench.scratch(), bench.latest("desired")) else { return Ok(volatile) };
    let session = scratch.connect(name).await?;
    for (id, data_type, expression) in added {
        let sql =
            format!("CREATE TEMP TABLE probe AS SELECT 1 AS one; ALTER TABLE probe ADD COLUMN added {data_type} DEFAULT {expression}");
        if session.client().batch_execute(&sql).await.is_err() {
            volatile.insert(id.clone());
            continue;
        }
        let fast = "SELECT atthasmissing FROM pg_attribute WHERE attrelid = 'pg_temp.probe'::regclass AND attname = 'added'";
        let row = session.client().query_one(fast, &[]).await.map_err(|error| EngineError::Facts(crate::pg::explain(&error)))?;
        let null = expression.starts_with("NULL");
        if !row.get::<_, bool>(0) && !null {
            volatile.insert(id.clone());
        }
        let _ = session.client().batch_execute("DROP TABLE IF EXISTS pg_temp.probe").await;
    }
    Ok(volatile)
}

/// Columns that become NOT NULL without a default and hold a NULL: looked for among the first rows, and
/// in the statistics beyond them.
async fn holding_nulls(session: &Session, live: &Catalog, desired: &Catalog, small: u64) -> Result<BTreeSet<Id>, EngineError> {
    let wanted: Vec<&crate::kind::column::Column> = desired
        .of::<crate::kind::column::Column>()
        .filter(|column| {
            let id = crate::kind::Kind::id(*column);
            column.not_null
                && column.identity.is_none()
                && !desired.contains(&id.as_kind("default"))
                && live.get_as::<crate::kind::column::Column>(&id).is_some_and(|old| !old.not_null)
        })
        .collect();
    if wanted.is_empty() {
        return Ok(BTreeSet::new());
    }
    let parts: Vec<String> = wanted
        .iter()
        .enumerate()
        .map(|(at, column)| {
            let name = crate::catalog::id::quote(&column.name);
            format!(
                "SELECT {at}::int8, EXISTS (SELECT FROM (SELECT {name} AS value FROM {} LIMIT {}) few WHERE value IS NULL) \
                 OR COALESCE((SELECT max(null_frac) > 0 FROM pg_stats WHERE schemaname = {} AND tablename = {} AND attname = {}), false)",
                column.table.sql(),
                small + 1,
                literal(column.table.schema()),
                literal(column.table.name()),
                literal(&column.name)
            )
        })
        .collect();
    let rows =
        session.client().query(&parts.join(" UNION ALL "), &[]).await.map_err(|error| EngineError::Facts(crate::pg::explain(&error)))?;
    let holding = rows.iter().filter(|row| row.get::<_, bool>(1)).map(|row| usize::try_from(row.get::<_, i64>(0)).unwrap_or_default());
    Ok(holding.map(|at| crate::kind::Kind::id(wanted[at])).collect())
}
