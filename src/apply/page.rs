//! Cutting a table into pages, by key or by ctid, in SQL text. Cursors are text, so that they can stand in the ledger.

use std::time::Duration;

use tokio_postgres::Client;

use crate::catalog::id::{literal, quote};
use crate::plan::plan::Backfill;

/// One column of the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyColumn {
    /// The name, quoted.
    name: String,
    /// The type, as `format_type` writes it.
    type_name: String,
    /// Dates and times: their text depends on `DateStyle` and `TimeZone`, their JSON does not.
    by_json: bool,
}

impl KeyColumn {
    fn text(&self, alias: &str) -> String {
        let Self { name, by_json, .. } = self;
        if *by_json { format!("pg_catalog.to_jsonb({alias}.{name}) #>> '{{}}'") } else { format!("{alias}.{name}::pg_catalog.text") }
    }

    fn value(&self, text: &str) -> String {
        format!("CAST({} AS {})", literal(text), self.type_name)
    }
}

/// A relation that holds rows itself, with its size.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Leaf {
    /// Schema and name, quoted.
    relation: String,
    /// Its size when the backfill (or its resumption) began.
    blocks: i64,
    /// Rows in a block, about.
    density: f64,
}

/// How a table is cut into pages.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Paging {
    /// By a unique, NOT NULL key.
    Key(Vec<KeyColumn>),
    /// By block, through every relation that holds rows of the table.
    Ctid(Vec<Leaf>),
}

/// A part of a table that a batch works on.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Page {
    /// Where the next page begins.
    pub(super) cursor: Vec<String>,
    /// Its rows, those included that want nothing; about, by ctid.
    pub(super) rows: i64,
    /// What the server needed to find it.
    pub(super) took: Duration,
    /// The relation whose rows they are.
    relation: String,
    /// Which rows: a condition.
    range: String,
}

impl Page {
    /// The statement that does the work on this page.
    pub(super) fn update(&self, backfill: &Backfill) -> String {
        let filter = backfill.filter();
        let condition =
            if backfill.copy.is_some() && filter == "true" { self.range.clone() } else { format!("{} AND ({filter})", self.range) };
        backfill.statement(&self.relation, &condition)
    }
}

/// The server's own time for a message, in seconds, without that of the network (manual, 9.9.5).
pub(super) const TIME_TAKEN: &str = "pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() - pg_catalog.statement_timestamp())";

/// Reads [`TIME_TAKEN`].
pub(super) fn seconds(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(text.parse().ok()?).ok()
}

const COLUMNS: &str = "
SELECT pg_catalog.format_type(a.atttypid, a.atttypmod), t.typcategory = 'D'
FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
WHERE a.attrelid = pg_catalog.to_regclass($1) AND a.attname = $2::pg_catalog.text AND NOT a.attisdropped";

/// Ordered by name, so that a cursor that names a relation keeps its meaning when partitions come and go.
const LEAVES: &str = "
WITH RECURSIVE tree AS (
  SELECT pg_catalog.to_regclass($1)::pg_catalog.oid AS oid
  UNION
  SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN tree ON i.inhparent = tree.oid
)
SELECT pg_catalog.format('%I.%I', n.nspname, c.relname),
       pg_catalog.pg_relation_size(c.oid) / pg_catalog.current_setting('block_size')::pg_catalog.int8,
       CASE WHEN c.relpages > 0 AND c.reltuples > 0 THEN c.reltuples::pg_catalog.float8 / c.relpages ELSE 50 END
FROM tree JOIN pg_catalog.pg_class c USING (oid) JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' ORDER BY 1";

impl Paging {
    /// Looks the key's types up, or the table's relations where there is no key. `Ok(Err(..))` names a column that
    /// is not there.
    pub(super) async fn of(client: &Client, backfill: &Backfill) -> Result<Result<Self, String>, tokio_postgres::Error> {
        let relation = backfill.table.relation();
        if backfill.key.is_empty() {
            let rows = client.query(LEAVES, &[&relation]).await?;
            let leaf =
                |row: &tokio_postgres::Row| Ok(Leaf { relation: row.try_get(0)?, blocks: row.try_get(1)?, density: row.try_get(2)? });
            return Ok(Ok(Self::Ctid(rows.iter().map(leaf).collect::<Result<_, tokio_postgres::Error>>()?)));
        }
        let mut columns = Vec::with_capacity(backfill.key.len());
        for name in &backfill.key {
            let Some(row) = client.query_opt(COLUMNS, &[&relation, &name.as_str()]).await? else { return Ok(Err(name.to_string())) };
            columns.push(KeyColumn { name: quote(name), type_name: row.try_get(0)?, by_json: row.try_get(1)? });
        }
        Ok(Ok(Self::Key(columns)))
    }

    /// The next page of about `rows` rows behind `cursor`; `None` at the end of the table.
    pub(super) async fn next(
        &self,
        client: &Client,
        backfill: &Backfill,
        cursor: Option<&[String]>,
        rows: i32,
    ) -> Result<Option<Page>, (String, tokio_postgres::Error)> {
        let columns = match self {
            Self::Ctid(leaves) => return Ok(next_blocks(leaves, cursor, rows)),
            Self::Key(columns) => columns,
        };
        let relation = backfill.table.relation();
        let sql = key_page_sql(columns, &relation, cursor, rows);
        let answer = match client.simple_query(&sql).await {
            Ok(answer) => answer,
            Err(error) => return Err((sql, error)),
        };
        Ok(answer.iter().find_map(|message| {
            let tokio_postgres::SimpleQueryMessage::Row(row) = message else { return None };
            let upper: Vec<String> = (0..columns.len()).map(|column| row.get(column + 1).unwrap_or_default().to_owned()).collect();
            let range = [cursor.map(|cursor| bound(columns, ">", cursor)), Some(bound(columns, "<=", &upper))];
            let range = range.into_iter().flatten().collect::<Vec<_>>().join(" AND ");
            let rows = row.get(0).and_then(|count| count.parse().ok()).unwrap_or_default();
            let took = row.get(columns.len() + 1).and_then(seconds).unwrap_or_default();
            Some(Page { cursor: upper, rows, took, relation: relation.clone(), range })
        }))
    }
}

/// Finds the key of the last of the next `rows` rows. All rows count, not only those that still want the work: a
/// batch stays short however few of them there are.
fn key_page_sql(columns: &[KeyColumn], relation: &str, cursor: Option<&[String]>, rows: i32) -> String {
    let list = |form: &dyn Fn(&str) -> String| columns.iter().map(|column| form(&column.name)).collect::<Vec<_>>().join(", ");
    let names = list(&str::to_owned);
    let after = cursor.map(|cursor| format!(" WHERE {}", bound(columns, ">", cursor))).unwrap_or_default();
    let texts = columns.iter().map(|column| column.text("page")).collect::<Vec<_>>().join(", ");
    // The name alone would be that of the column of texts: 99 behind 500.
    let backwards = list(&|name| format!("page.{name} DESC"));
    format!(
        "WITH page AS MATERIALIZED (SELECT {names} FROM {relation}{after} ORDER BY {names} LIMIT {rows}) \
         SELECT (SELECT pg_catalog.count(*) FROM page), {texts}, {TIME_TAKEN} FROM page ORDER BY {backwards} LIMIT 1"
    )
}

/// `(k1, k2) > (v1, v2)`, with the condition on the first column that it implies: the planner estimates a comparison
/// of rows badly and may scan the table for it.
fn bound(columns: &[KeyColumn], operator: &str, cursor: &[String]) -> String {
    let names = columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ");
    let values: Vec<String> = columns.iter().zip(cursor).map(|(column, text)| column.value(text)).collect();
    if columns.len() == 1 {
        return format!("{names} {operator} {}", values.join(", "));
    }
    let first = if operator.starts_with('>') { ">=" } else { "<=" };
    format!("({names}) {operator} ({}) AND {} {first} {}", values.join(", "), columns[0].name, values[0])
}

/// The next blocks. A cursor is the relation, the next block, and the relation's size when its turn came: what is
/// written behind that, by the backfill itself for one, wants nothing any more.
fn next_blocks(leaves: &[Leaf], cursor: Option<&[String]>, rows: i32) -> Option<Page> {
    let (at, block, end) = match cursor {
        Some([relation, block, end]) => (relation.as_str(), block.parse().unwrap_or(0), end.parse().unwrap_or(0)),
        _ => ("", 0_i64, 0_i64),
    };
    let (leaf, from, end) = leaves.iter().filter(|leaf| leaf.relation.as_str() >= at).find_map(|leaf| {
        let (from, end) = if leaf.relation == at { (block, end) } else { (0, leaf.blocks) };
        (from < end).then_some((leaf, from, end))
    })?;
    #[allow(clippy::cast_possible_truncation, reason = "a few thousand blocks")]
    let step = ((f64::from(rows) / leaf.density.max(1.0)).ceil() as i64).max(1);
    let to = (from + step).min(end);
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "an estimate")]
    let rows = ((to - from) as f64 * leaf.density).ceil() as i64;
    Some(Page {
        cursor: vec![leaf.relation.clone(), to.to_string(), end.to_string()],
        rows,
        took: Duration::ZERO,
        relation: format!("ONLY {}", leaf.relation),
        range: format!("ctid >= '({from},0)' AND ctid < '({to},0)'"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, type_name: &str) -> KeyColumn {
        KeyColumn { name: name.to_owned(), type_name: type_name.to_owned(), by_json: type_name.starts_with("timestamp") }
    }

    #[test]
    fn pages_by_key() {
        let columns = [column("id", "bigint"), column("at", "timestamp with time zone")];
        let cursor = ["7".to_owned(), "2024-01-01T00:00:00+00:00".to_owned()];
        assert_eq!(
            key_page_sql(&columns, "public.t", Some(&cursor), 500),
            "WITH page AS MATERIALIZED (SELECT id, at FROM public.t WHERE (id, at) > (CAST('7' AS bigint), \
             CAST('2024-01-01T00:00:00+00:00' AS timestamp with time zone)) AND id >= CAST('7' AS bigint) ORDER BY id, at LIMIT 500) \
             SELECT (SELECT pg_catalog.count(*) FROM page), page.id::pg_catalog.text, pg_catalog.to_jsonb(page.at) #>> '{}', \
             pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() - pg_catalog.statement_timestamp()) FROM page \
             ORDER BY page.id DESC, page.at DESC LIMIT 1"
        );
    }

    #[test]
    fn pages_by_block_through_all_leaves() {
        let leaf = |name: &str, blocks| Leaf { relation: name.to_owned(), blocks, density: 10.0 };
        let leaves = [leaf("p.a", 3), leaf("p.b", 0), leaf("p.c", 1)];
        let (mut cursor, mut ranges) = (None::<Vec<String>>, Vec::new());
        while let Some(page) = next_blocks(&leaves, cursor.as_deref(), 20) {
            ranges.push(format!("{} {}", page.relation, page.range));
            cursor = Some(page.cursor);
        }
        assert_eq!(
            ranges,
            [
                "ONLY p.a ctid >= '(0,0)' AND ctid < '(2,0)'",
                "ONLY p.a ctid >= '(2,0)' AND ctid < '(3,0)'",
                "ONLY p.c ctid >= '(0,0)' AND ctid < '(1,0)'"
            ]
        );
    }
}
