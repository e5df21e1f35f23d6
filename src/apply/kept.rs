//! What was set aside instead of being dropped: reading it, bringing it back, ending it.

use std::collections::BTreeSet;
use std::time::SystemTime;

use tokio_postgres::Client;

use super::context::Context;
use super::error::ApplyError;
use crate::catalog::id::{dotted, literal};
use crate::catalog::{Id, Ident};
use crate::kind::row::{KEPT_IS_READABLE, SET_ASIDE};
use crate::plan::Transaction;
use crate::plan::plan::{Plan, Stage, StageName, Step, Undo, Work};
use crate::recipe::quarantine::taken_back;

/// A table or column that is kept under another name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its id as it was: `column public.orders.note`.
    pub what: String,
    /// The same in the table of what is kept: one that is back leaves its name to what may be dropped next.
    key: String,
    /// The table that a column stands in, where that has another name now.
    pub now_in: Option<String>,
    /// When it was set aside.
    pub since: SystemTime,
    /// Until when it is kept.
    pub until: SystemTime,
    /// Whether that time is over, by the server's clock.
    pub over: bool,
    /// Whether it is back, and only what stood on it is still to be made.
    pub is_back: bool,
    /// Whether it is where it is said to be; nobody keeps its table, or itself, from being dropped by hand.
    pub is_there: bool,
    /// Statements that bring it back, in one transaction; none where it is back, or is not there.
    pub back: Vec<String>,
    /// Statements that then make again what stood on it.
    pub after: Vec<Standing>,
    /// Statements that end it.
    pub purge: Vec<String>,
}

/// A statement that makes again something that stood on what is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// As it is written down.
    text: String,
    /// As it is run: with the table as it is called now.
    pub sql: String,
}

/// What ends the key of one that is back.
const BACK: &str = " (is back)";

/// All of this database, oldest first.
///
/// # Errors
/// Those of the queries.
pub async fn kept(client: &Client) -> Result<Vec<Kept>, tokio_postgres::Error> {
    if !is_there(client).await? {
        return Ok(Vec::new());
    }
    let filled = |texts: &str| {
        format!(
            "ARRAY(SELECT pg_catalog.format(f.text, pg_catalog.format('%I.%I', n.nspname, c.relname), k.aside, n.nspname) \
             FROM pg_catalog.unnest(k.{texts}) WITH ORDINALITY f (text, place) WHERE {FOUND} ORDER BY f.place)"
        )
    };
    let sql = format!(
        "SELECT k.what, k.since, k.until, k.until <= pg_catalog.now(), k.back = '{{}}', {FOUND}, {}, k.after, {}, {}, \
         k.id, n.nspname::text, c.relname::text, k.aside IS NOT NULL \
         FROM {} ORDER BY k.since, k.what",
        filled("back"),
        filled("after"),
        filled("purge"),
        standing_in(),
    );
    let rows = client.query(&sql, &[]).await?;
    rows.iter()
        .map(|row| {
            let key: String = row.try_get(0)?;
            let (texts, statements): (Vec<String>, Vec<String>) = (row.try_get(7)?, row.try_get(8)?);
            let table: Option<Vec<Ident>> = row
                .try_get::<_, Option<&str>>(11)?
                .zip(row.try_get::<_, Option<&str>>(12)?)
                .map(|(schema, name)| vec![schema.into(), name.into()]);
            let was = row.try_get::<_, &str>(10)?.parse::<Id>().ok();
            let moved = table.filter(|table| was.is_some_and(|id| id.path.len() == 3 && id.path[..2] != table[..]));
            Ok(Kept {
                what: key.strip_suffix(BACK).unwrap_or(&key).to_owned(),
                key,
                now_in: moved.filter(|_| row.get::<_, bool>(13)).map(|table| dotted(&table)),
                since: row.try_get(1)?,
                until: row.try_get(2)?,
                over: row.try_get(3)?,
                is_back: row.try_get(4)?,
                is_there: row.try_get(5)?,
                back: row.try_get(6)?,
                after: texts.into_iter().zip(statements).map(|(text, sql)| Standing { text, sql }).collect(),
                purge: row.try_get(9)?,
            })
        })
        .collect()
}

/// Whether anything was ever kept in this database. Who may not read what is sees nothing that is kept.
async fn is_there(client: &Client) -> Result<bool, tokio_postgres::Error> {
    client.query_one(KEPT_IS_READABLE, &[]).await?.try_get(0)
}

/// What is kept, with the table that it is or stands in, by whatever name.
fn standing_in() -> String {
    format!(
        "{SET_ASIDE}.kept k LEFT JOIN pg_catalog.pg_class c ON c.oid = k.relation \
         LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
    )
}

/// Whether it is where it is said to be.
const FOUND: &str = "(n.nspname IS NOT NULL AND (k.aside IS NULL OR EXISTS (SELECT FROM pg_catalog.pg_attribute a \
                     WHERE a.attrelid = c.oid AND a.attname = k.aside)))";

impl Kept {
    /// Whether a person who says `meant` means it: its id, or the part after the kind, or its last name.
    #[must_use]
    pub fn fits(&self, meant: &str) -> bool {
        let path = self.what.split_once(' ').map_or(self.what.as_str(), |(_, path)| path);
        let name = path.rsplit('.').next();
        let now = self.now_in.iter().zip(name).any(|(table, name)| format!("{table}.{name}") == meant);
        self.what == meant || path == meant || name == Some(meant) || now
    }

    /// Its name for people, and where it is now.
    #[must_use]
    pub fn described(&self) -> String {
        self.now_in.as_ref().map_or_else(|| self.what.clone(), |table| format!("{} (now in {table})", self.what))
    }

    /// That it is back: what stood on it stays known until it is made, or given up.
    fn returned(&self) -> Vec<String> {
        let key = literal(&format!("{}{BACK}", self.what));
        let was = literal(&self.key);
        vec![
            format!("DELETE FROM {SET_ASIDE}.kept WHERE what = {key}"),
            format!("UPDATE {SET_ASIDE}.kept SET what = {key}, aside = NULL, back = '{{}}', purge = '{{}}' WHERE what = {was}"),
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
pub fn standing_again(one: &Kept, standing: &Standing) -> Plan {
    let (key, made) = (literal(&format!("{}{BACK}", one.what)), literal(&standing.text));
    let done = format!("UPDATE {SET_ASIDE}.kept SET after = pg_catalog.array_remove(after, {made}) WHERE what = {key}");
    let last = format!("DELETE FROM {SET_ASIDE}.kept WHERE what = {key} AND after = '{{}}'");
    plan("undrop", vec![step(1, format!("Make again what stood on {}", one.what), vec![standing.sql.clone(), done, last])])
}

/// The plan that ends them.
#[must_use]
pub fn ending(all: &[Kept]) -> Plan {
    let steps = all.iter().zip(1..).map(|(one, number)| {
        let sql = [one.purge.clone(), vec![one.forget()]].concat();
        let title = match one {
            Kept { is_back: true, .. } => format!("Forget what stood on {}", one.what),
            Kept { is_there: false, .. } => format!("Forget {}, which is not there", one.what),
            _ => format!("Drop {} for good", one.what),
        };
        step(number, title, sql)
    });
    plan("purge", steps.collect())
}

/// Constraints and indexes: what stands on a table or column that was set aside, and comes back with it.
const STANDING: [&str; 6] = ["check", "exclude", "foreign-key", "index", "primary-key", "unique"];

/// The steps among those to be undone that are undone already, because what was set aside was brought back since, with what
/// stood on it.
///
/// # Errors
/// [`ApplyError::Purged`] where something that was set aside is neither kept nor back.
pub(super) async fn undone_already(context: &Context<'_>, undo: &[(StageName, &Step)]) -> Result<BTreeSet<u32>, ApplyError> {
    let client = context.ddl();
    let fail = |error| context.query_error("looking for what was set aside", &error);
    let mut purged = Vec::new();
    for id in undo.iter().flat_map(|(_, step)| set_aside(step)) {
        if !is_kept(client, id, &context.plan.name).await.map_err(fail)? && !stands(client, id).await.map_err(fail)? {
            purged.push(id.to_string());
        }
    }
    if !purged.is_empty() {
        return Err(ApplyError::Purged { plan: context.plan.name.clone(), what: purged });
    }
    let homes: BTreeSet<&[Ident]> = context.plan.steps().flat_map(|(_, step)| set_aside(step)).map(|id| &id.path[..2]).collect();
    let mut already = BTreeSet::new();
    for (_, step) in undo {
        let stood = |id: &Id| STANDING.contains(&id.kind.as_str()) && homes.contains(&id.path[..2]);
        if !step.makes.is_empty() || step.takes.is_empty() || !step.takes.iter().all(stood) {
            continue;
        }
        let mut all = true;
        for id in &step.takes {
            all &= stands(client, id).await.map_err(fail)?;
        }
        if all {
            already.insert(step.number);
        }
    }
    Ok(already)
}

/// What a step sets aside.
fn set_aside(step: &Step) -> impl Iterator<Item = &Id> {
    let statements = if let Undo::Sql(statements) = &step.undo { statements.as_slice() } else { &[] };
    step.takes.iter().filter(move |id| matches!(id.kind.as_str(), "column" | "table") && statements.contains(&taken_back(id)))
}

/// Whether what a plan set aside is where it was put.
async fn is_kept(client: &Client, id: &Id, plan: &str) -> Result<bool, tokio_postgres::Error> {
    if !is_there(client).await? {
        return Ok(false);
    }
    let sql = format!(
        "SELECT EXISTS (SELECT FROM {} WHERE k.id = $1 AND k.back <> '{{}}' AND (k.plan = $2 OR k.plan IS NULL) AND {FOUND})",
        standing_in()
    );
    client.query_one(&sql, &[&id.to_string(), &plan]).await?.try_get(0)
}

/// Whether a table, a column, a constraint or an index is there.
async fn stands(client: &Client, id: &Id) -> Result<bool, tokio_postgres::Error> {
    let relation = format!("pg_catalog.to_regclass({})", literal(&if id.kind == "index" { id.in_schema() } else { id.relation() }));
    let name = literal(id.name());
    let sql = match id.kind.as_str() {
        "table" => format!("SELECT {relation} IS NOT NULL"),
        // One whose building was cut off is none.
        "index" => format!("SELECT EXISTS (SELECT FROM pg_catalog.pg_index WHERE indexrelid = {relation} AND indisvalid)"),
        "column" => format!("SELECT EXISTS (SELECT FROM pg_catalog.pg_attribute WHERE attrelid = {relation} AND attname = {name})"),
        _ => format!("SELECT EXISTS (SELECT FROM pg_catalog.pg_constraint WHERE conrelid = {relation} AND conname = {name})"),
    };
    client.query_one(&sql, &[]).await?.try_get(0)
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
            now_in: Some("public.sales".into()),
            since: SystemTime::UNIX_EPOCH,
            until: SystemTime::UNIX_EPOCH,
            over: false,
            is_back: false,
            is_there: true,
            back: vec!["a".into()],
            after: vec![Standing { text: "b".into(), sql: "b".into() }],
            purge: vec!["c".into()],
        };
        assert!(one.fits("note") && one.fits("public.orders.note") && one.fits("column public.orders.note"));
        assert!(one.fits("public.sales.note") && !one.fits("orders"));
        let plan = ending(std::slice::from_ref(&one));
        let (_, step) = plan.steps().next().expect("one");
        let sql = vec!["c".to_owned(), "DELETE FROM schema_quarantine.kept WHERE what = 'column public.orders.note'".to_owned()];
        assert_eq!(step.work, Work::Sql(sql));
    }
}
