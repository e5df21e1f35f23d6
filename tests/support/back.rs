//! The exact start of a case: what a rollback must give back.

use std::collections::BTreeMap;

use schema::apply::rollback::{rollback, way};
use schema::apply::{ApplyError, Event, Options, Outcome};
use schema::pg::{Session, Target, connect};
use schema::plan::Plan;
use schema::plan::plan::StageName;

use super::live::{Live, Result, failed};

/// A database as it stands: every statement of `pg_dump -s` with its columns in order, the rows of every table.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    statements: Vec<String>,
    /// What `pg_dump` passes over: indexes that are invalid, partitions that are half detached.
    halves: Vec<String>,
    rows: BTreeMap<String, String>,
}

impl Picture {
    pub async fn take(live: &Live, name: &str) -> Result<Self> {
        let dump = live.raw_dump_of(name)?;
        let noise = |line: &&str| !(line.starts_with("--") || line.starts_with("SET ") || line.starts_with('\\') || line.is_empty());
        let mut statements: Vec<String> = dump
            .split("\n\n")
            .map(|text| text.lines().filter(noise).collect::<Vec<_>>().join("\n"))
            .filter(|text| !text.is_empty())
            .collect();
        // Objects that were made again come in another order.
        statements.sort();
        let session = connect(&live.target(name)).await.map_err(failed("connect"))?;
        let rows = rows(&session).await?;
        let halves = session.client().query(HALVES, &[]).await.map_err(failed(HALVES))?.iter().map(|row| row.get(0)).collect();
        session.close().await;
        Ok(Self { statements, halves, rows })
    }

    /// What differs, for people; nothing where it is the same.
    pub fn differs(&self, now: &Self, with_rows: bool) -> Option<String> {
        let missing = self.statements.iter().filter(|one| !now.statements.contains(one)).map(|one| format!("missing: {one}"));
        let extra = now.statements.iter().filter(|one| !self.statements.contains(one)).map(|one| format!("left over: {one}"));
        let mut lines: Vec<String> = missing.chain(extra).collect();
        if self.halves != now.halves {
            lines.push(format!("half there: {:?}\nnow:        {:?}", self.halves, now.halves));
        }
        if with_rows && self.rows != now.rows {
            lines.push(format!("rows: {:?}\nnow:  {:?}", self.rows, now.rows));
        }
        (!lines.is_empty()).then(|| lines.join("\n"))
    }
}

const HALVES: &str = "SELECT 'index ' || i.indexrelid::regclass FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
                      WHERE NOT (i.indisvalid AND i.indisready AND i.indislive) AND c.relkind = 'i' \
                      UNION ALL SELECT 'partition ' || inhrelid::regclass FROM pg_inherits WHERE inhdetachpending ORDER BY 1";

async fn rows(session: &Session) -> Result<BTreeMap<String, String>> {
    let tables = "SELECT c.oid::regclass::text FROM pg_class c WHERE c.relkind IN ('r', 'p') AND c.relnamespace NOT IN \
                  (SELECT oid FROM pg_namespace WHERE nspname IN ('pg_catalog', 'information_schema', 'schema_ledger', 'schema_quarantine', 'pg_toast')) ORDER BY 1";
    let mut found = BTreeMap::new();
    for row in session.client().query(tables, &[]).await.map_err(failed("tables"))? {
        let table: String = row.get(0);
        let sql =
            format!("SELECT count(*) || ' ' || COALESCE(md5(string_agg(t::text, '\n' ORDER BY t::text COLLATE \"C\")), '') FROM {table} t");
        let text: String = session.client().query_one(&sql, &[]).await.map_err(failed(&sql))?.get(0);
        found.insert(table, text);
    }
    Ok(found)
}

/// One run of `schema rollback`.
pub async fn undo(
    target: &Target,
    plan: &Plan,
    to: Option<StageName>,
    options: &Options,
    tell: &mut (dyn FnMut(Event) + Send),
) -> std::result::Result<Outcome, ApplyError> {
    let session = connect(target).await.expect("connects");
    rollback(session, target, plan, to, options, &mut |event| tell(event)).await
}

/// Whether the steps up to `last` can be undone, and whether all rows come back then.
pub fn can(plan: &Plan, last: u32) -> (bool, bool) {
    let way = way(plan, None, |number| if number <= last { "done" } else { "pending" }.to_owned());
    (way.impossible.is_empty(), way.loses.is_empty())
}
