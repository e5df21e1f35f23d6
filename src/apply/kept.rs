//! What was set aside instead of being dropped: reading it, bringing it back, ending it.

use std::time::SystemTime;

use tokio_postgres::Client;

use crate::catalog::id::literal;
use crate::kind::row::SET_ASIDE;
use crate::plan::Transaction;
use crate::plan::plan::{Plan, Stage, StageName, Step, Undo, Work};

/// A table or column that is kept under another name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its id as it was: `column public.orders.note`.
    pub what: String,
    /// The same in the table of what is kept: one that is back leaves its name to what may be dropped next.
    key: String,
    /// When it was set aside.
    pub since: SystemTime,
    /// Until when it is kept.
    pub until: SystemTime,
    /// Whether that time is over, by the server's clock.
    pub over: bool,
    /// Statements that bring it back, in one transaction; none where it is back.
    pub back: Vec<String>,
    /// Statements that then make again what stood on it.
    pub after: Vec<String>,
    /// Statements that end it.
    pub purge: Vec<String>,
}

/// What ends the key of one that is back.
const BACK: &str = " (is back)";

/// All of this database, oldest first.
///
/// # Errors
/// Those of the queries.
pub async fn kept(client: &Client) -> Result<Vec<Kept>, tokio_postgres::Error> {
    // Who may not read it sees nothing that is kept.
    let sql = format!(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname = '{SET_ASIDE}' AND c.relname = 'kept' AND pg_catalog.has_schema_privilege(n.oid, 'USAGE') \
         AND pg_catalog.has_table_privilege(c.oid, 'SELECT'))"
    );
    let there: bool = client.query_one(&sql, &[]).await?.try_get(0)?;
    if !there {
        return Ok(Vec::new());
    }
    let sql =
        format!("SELECT what, since, until, until <= pg_catalog.now(), back, after, purge FROM {SET_ASIDE}.kept ORDER BY since, what");
    let rows = client.query(&sql, &[]).await?;
    rows.iter()
        .map(|row| {
            let key: String = row.try_get(0)?;
            Ok(Kept {
                what: key.strip_suffix(BACK).unwrap_or(&key).to_owned(),
                key,
                since: row.try_get(1)?,
                until: row.try_get(2)?,
                over: row.try_get(3)?,
                back: row.try_get(4)?,
                after: row.try_get(5)?,
                purge: row.try_get(6)?,
            })
        })
        .collect()
}

impl Kept {
    /// Whether a person who says `meant` means it: its id, or the part after the kind, or its last name.
    #[must_use]
    pub fn fits(&self, meant: &str) -> bool {
        let path = self.what.split_once(' ').map_or(self.what.as_str(), |(_, path)| path);
        self.what == meant || path == meant || path.rsplit('.').next() == Some(meant)
    }

    /// Whether it is back, and only what stood on it is still to be made.
    #[must_use]
    pub const fn is_back(&self) -> bool {
        self.back.is_empty()
    }

    /// That it is back: what stood on it stays known until it is made, or given up.
    fn returned(&self) -> Vec<String> {
        let key = literal(&format!("{}{BACK}", self.what));
        let was = literal(&self.key);
        vec![
            format!("DELETE FROM {SET_ASIDE}.kept WHERE what = {key}"),
            format!("UPDATE {SET_ASIDE}.kept SET what = {key}, back = '{{}}', purge = '{{}}' WHERE what = {was}"),
        ]
    }

    fn forget(&self) -> String {
        format!("DELETE FROM {SET_ASIDE}.kept WHERE what = {}", literal(&self.key))
    }
}

/// The plan that brings one back; run without the ledger. What stood on it is not in it: each of that may fail alone.
#[must_use]
pub fn bringing_back(one: &Kept) -> Plan {
    let known = if one.after.is_empty() { vec![one.forget()] } else { one.returned() };
    let sql = [one.back.clone(), known].concat();
    plan("undrop", vec![step(1, format!("Bring back {}", one.what), sql)])
}

/// The plan that makes again one thing that stood on one that is back. With the last one nothing is known of it any more.
#[must_use]
pub fn standing_again(one: &Kept, statement: &str) -> Plan {
    let (key, made) = (literal(&format!("{}{BACK}", one.what)), literal(statement));
    let done = format!("UPDATE {SET_ASIDE}.kept SET after = pg_catalog.array_remove(after, {made}) WHERE what = {key}");
    let last = format!("DELETE FROM {SET_ASIDE}.kept WHERE what = {key} AND after = '{{}}'");
    plan("undrop", vec![step(1, format!("Make again what stood on {}", one.what), vec![statement.to_owned(), done, last])])
}

/// The plan that ends them.
#[must_use]
pub fn ending(all: &[Kept]) -> Plan {
    let steps = all.iter().zip(1..).map(|(one, number)| {
        let sql = [one.purge.clone(), vec![one.forget()]].concat();
        let title = if one.is_back() { format!("Forget what stood on {}", one.what) } else { format!("Drop {} for good", one.what) };
        step(number, title, sql)
    });
    plan("purge", steps.collect())
}

fn plan(name: &str, steps: Vec<Step>) -> Plan {
    Plan { name: name.to_owned(), stages: vec![Stage { name: StageName::Expand, note: String::new(), steps }], ..Plan::default() }
}

fn step(number: u32, title: String, sql: Vec<String>) -> Step {
    Step {
        number,
        title,
        recipe: "quarantine".to_owned(),
        work: Work::Sql(sql),
        transaction: Transaction::Inside,
        locks: Vec::new(),
        undo: Undo::Nothing,
        loses: Vec::new(),
        makes: Vec::new(),
        takes: Vec::new(),
        probe: None,
        preflight: Vec::new(),
        verify: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_is_meant() {
        let one = Kept {
            what: "column public.orders.note".into(),
            key: "column public.orders.note".into(),
            since: SystemTime::UNIX_EPOCH,
            until: SystemTime::UNIX_EPOCH,
            over: false,
            back: vec!["a".into()],
            after: vec!["b".into()],
            purge: vec!["c".into()],
        };
        assert!(one.fits("note") && one.fits("public.orders.note") && one.fits("column public.orders.note"));
        assert!(!one.fits("orders"));
        let plan = ending(std::slice::from_ref(&one));
        let (_, step) = plan.steps().next().expect("one");
        let sql = vec!["c".to_owned(), "DELETE FROM schema_quarantine.kept WHERE what = 'column public.orders.note'".to_owned()];
        assert_eq!(step.work, Work::Sql(sql));
    }
}
