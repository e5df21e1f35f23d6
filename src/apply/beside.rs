//! The schemas in which a repartition builds a table's new form, and keeps its old one until contract: what stays of them
//! when no plan needs them any more.

use tokio_postgres::Client;

use crate::kind::row::BESIDE;
use crate::plan::Plan;

/// A schema that is left over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beside {
    /// Its name.
    pub schema: String,
    /// Tables in it, partitions not counted.
    pub tables: i64,
    /// Their rows, as the server estimates them.
    pub rows: i64,
    /// Statements that drop it and what is in it, and nothing else: what stands outside and needs it makes them fail.
    pub sql: Vec<String>,
}

/// Foreign keys between its tables do not hinder one statement that drops all of them. What is owned by a column, or is a
/// partition, goes with its table.
const FOUND: &str = "
SELECT n.nspname::text,
       (SELECT count(*) FROM pg_catalog.pg_class c WHERE c.relnamespace = n.oid AND c.relkind IN ('r', 'p') AND NOT c.relispartition),
       (SELECT coalesce(sum(greatest(c.reltuples, 0)), 0)::pg_catalog.int8 FROM pg_catalog.pg_class c WHERE c.relnamespace = n.oid AND c.relkind = 'r'),
       ARRAY(SELECT 'DROP ' || k.word || ' ' || string_agg(pg_catalog.format('%I.%I', n.nspname, c.relname), ', ' ORDER BY c.relname)
             FROM pg_catalog.pg_class c
             JOIN (VALUES (1, 'm', 'MATERIALIZED VIEW'), (2, 'v', 'VIEW'), (3, 'r', 'TABLE'), (3, 'p', 'TABLE'), (4, 'S', 'SEQUENCE'))
               AS k (place, kind, word) ON k.kind = c.relkind::text
             WHERE c.relnamespace = n.oid AND NOT c.relispartition AND NOT EXISTS (
               SELECT FROM pg_catalog.pg_depend d WHERE c.relkind = 'S' AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
               AND d.objid = c.oid AND d.deptype IN ('a', 'i'))
             GROUP BY k.place, k.word ORDER BY k.place)
       || ARRAY(SELECT pg_catalog.format('DROP ROUTINE %I.%I(%s)', n.nspname, p.proname, pg_catalog.pg_get_function_identity_arguments(p.oid))
                FROM pg_catalog.pg_proc p WHERE p.pronamespace = n.oid ORDER BY 1)
       || pg_catalog.format('DROP SCHEMA %I', n.nspname)
FROM pg_catalog.pg_namespace n WHERE pg_catalog.starts_with(n.nspname::text, $1) ORDER BY 1";

/// Those of this database that none of the `unfinished` plans mentions.
///
/// # Errors
/// Those of the query.
pub async fn beside(client: &Client, unfinished: &[Plan]) -> Result<Vec<Beside>, tokio_postgres::Error> {
    let texts: Vec<String> = unfinished.iter().map(crate::plan::file::write).collect();
    let rows = client.query(FOUND, &[&format!("{BESIDE}_")]).await?;
    let found = rows.iter().map(|row| {
        let (schema, tables, rows, sql) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
        Ok(Beside { schema, tables, rows, sql })
    });
    let found: Vec<Beside> = found.collect::<Result<_, tokio_postgres::Error>>()?;
    Ok(found.into_iter().filter(|one| texts.iter().all(|text| !text.contains(&one.schema))).collect())
}
