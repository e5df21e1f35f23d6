//! Rows from the live database, a part of each table, with the rows that their foreign keys refer to.

use std::collections::BTreeSet;

use futures_util::{SinkExt as _, StreamExt as _, pin_mut};
use tokio_postgres::Client;

use crate::catalog::id::{literal, quote, quoted_list};
use crate::catalog::{Catalog, Id};
use crate::kind::column::Column;
use crate::kind::foreign_key::ForeignKey;
use crate::kind::partition::Partition;
use crate::pg::{Session, SessionError};

/// Rounds in which missing referenced rows are fetched: a chain of keys may be so long.
const ROUNDS: usize = 8;

/// Copies at most `rows` rows of each table, and those that they refer to; gives the tables that keep rows whose
/// referenced row was not found.
pub(super) async fn fill(
    live: &Session,
    clone: &Client,
    start: &Catalog,
    tables: &BTreeSet<Id>,
    rows: u64,
) -> Result<Vec<(Id, String)>, SessionError> {
    clone.batch_execute("RESET ALL; SET session_replication_role = replica").await?;
    let whole: Vec<&Id> = tables.iter().filter(|table| !start.contains(&Partition::id_of(table))).collect();
    for table in &whole {
        copy(live.client(), clone, start, table, &format!("SELECT {{}} FROM {} LIMIT {rows}", table.sql()), false).await?;
    }
    for _ in 0..ROUNDS {
        let mut fetched = 0;
        for key in start.of::<ForeignKey>().filter(|key| whole.contains(&&key.table) && whole.contains(&&key.references)) {
            let missing: Option<String> = clone.query_one(&missing(key), &[]).await?.get(0);
            let Some(json) = missing else { continue };
            let target = key.references.sql();
            let on = key.referenced_columns.iter().map(|name| format!("p.{0} = k.{0}", quote(name))).collect::<Vec<_>>().join(" AND ");
            let sql = format!(
                "SELECT {{}} FROM {target} p WHERE EXISTS (SELECT FROM json_populate_recordset(NULL::{target}, {}) k WHERE {on})",
                literal(&json)
            );
            fetched += copy(live.client(), clone, start, &key.references, &sql, true).await?;
        }
        if fetched == 0 {
            break;
        }
    }
    let mut orphans = Vec::new();
    for key in start.of::<ForeignKey>().filter(|key| whole.contains(&&key.table) && whole.contains(&&key.references)) {
        let left: Option<String> = clone.query_one(&missing(key), &[]).await?.get(0);
        if left.is_some() {
            orphans.push((key.table.clone(), format!("some rows refer through {} to rows that are not there", key.name)));
        }
    }
    clone.batch_execute("RESET session_replication_role; ANALYZE").await?;
    Ok(orphans)
}

/// The keys that rows of the clone refer to and that it lacks, as JSON objects of the referenced table.
fn missing(key: &ForeignKey) -> String {
    let on = key.columns.iter().zip(&key.referenced_columns).map(|(own, other)| format!("p.{} = c.{}", quote(other), quote(own)));
    let on = on.collect::<Vec<_>>().join(" AND ");
    let set = key.columns.iter().map(|own| format!("c.{} IS NOT NULL", quote(own))).collect::<Vec<_>>().join(" AND ");
    let pairs = key.columns.iter().zip(&key.referenced_columns).map(|(own, other)| format!("{}, c.{}", literal(other), quote(own)));
    format!(
        "SELECT json_agg(k)::text FROM (SELECT DISTINCT json_build_object({})::jsonb AS k FROM {} c WHERE {set} AND NOT EXISTS (SELECT FROM {} p WHERE {on})) missing",
        pairs.collect::<Vec<_>>().join(", "),
        key.table.sql(),
        key.references.sql()
    )
}

/// Copies what a query gives; `{}` stands for its columns. Gives the number of rows.
async fn copy(live: &Client, clone: &Client, start: &Catalog, table: &Id, query: &str, beside: bool) -> Result<u64, SessionError> {
    let columns: Vec<&Column> = start.of::<Column>().filter(|column| column.table == *table && column.generated.is_none()).collect();
    let names = quoted_list(columns.iter().map(|column| column.name.as_str()));
    let query = query.replacen("{}", &names, 1);
    let output = live.copy_out(&format!("COPY ({query}) TO STDOUT")).await?;
    pin_mut!(output);
    let list = if columns.is_empty() { String::new() } else { format!(" ({names})") };
    // A row that other rows refer to may be there already: through a table beside it.
    let into = if beside {
        clone.batch_execute(&format!("CREATE TEMP TABLE beside AS SELECT {names} FROM {} WHERE false", table.sql())).await?;
        "pg_temp.beside".to_owned()
    } else {
        table.sql()
    };
    let input = clone.copy_in(&format!("COPY {into}{list} FROM STDIN")).await?;
    pin_mut!(input);
    while let Some(part) = output.next().await {
        input.send(part?).await?;
    }
    let mut count = input.finish().await?;
    if beside {
        count = clone
            .execute(
                &format!(
                    "INSERT INTO {} ({names}) OVERRIDING SYSTEM VALUE SELECT {names} FROM pg_temp.beside ON CONFLICT DO NOTHING",
                    table.sql()
                ),
                &[],
            )
            .await?;
        clone.batch_execute("DROP TABLE pg_temp.beside").await?;
    }
    Ok(count)
}
