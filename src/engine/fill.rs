//! Makes the objects of a catalog on a scratch server, in whatever order works.
//!
//! The order of kinds is right for most; what fails because something is missing is tried again
//! after the rest. Only what fails in the end is a problem.

use std::collections::{HashMap, HashSet};

use futures_util::future::join_all;
use tokio_postgres::error::SqlState;

use super::EngineError;
use crate::catalog::closure::words;
use crate::catalog::id::quote;
use crate::catalog::{Catalog, Id};
use crate::kind::domain_check::DomainCheck;
use crate::kind::function::Function;
use crate::kind::partition::Partition;
use crate::kind::table::Table;
use crate::kind::{Inline, Kind as _, Object, weight};
use crate::pg::Session;

/// What the server refused in the end.
#[derive(Debug)]
pub struct Rejected {
    /// The object.
    pub id: Id,
    /// The statement, without what was put before it.
    pub sql: String,
    /// What PostgreSQL said.
    pub error: tokio_postgres::Error,
    /// Where in `sql` it points, in characters from 0.
    pub position: Option<usize>,
    /// It is more than one statement.
    pub is_several: bool,
}

/// Statements for one object (a table with its columns).
struct Item {
    id: Id,
    prefix: String,
    statements: Vec<String>,
    sql: String,
    /// It is made before all tables.
    is_early: bool,
}

/// So many statements are under way at once.
const PIPELINE: usize = 256;

/// Makes every object that `wanted` lets through.
pub async fn fill(session: &Session, catalog: &Catalog, wanted: impl Fn(&Object) -> bool) -> Result<Vec<Rejected>, EngineError> {
    session
        .client()
        .batch_execute("SET check_function_bodies = off; SET client_min_messages = error")
        .await
        .map_err(crate::pg::SessionError::from)?;
    let pending = items(catalog, wanted);
    // A domain that a column of a table holds inside another type cannot be altered any more: its checks come first, with
    // what they call.
    let (early, mut pending): (Vec<Item>, Vec<Item>) = pending.into_iter().partition(|item| item.is_early);
    if !early.is_empty() {
        let failed = make(session, early).await;
        pending.splice(0..0, failed.into_iter().map(|(item, _)| item));
    }
    Ok(make(session, pending).await.into_iter().map(|(item, error)| rejected(item, error)).collect())
}

/// Makes what it can, in as many rounds as it takes; what is left failed.
async fn make(session: &Session, mut pending: Vec<Item>) -> Vec<(Item, tokio_postgres::Error)> {
    loop {
        let before = pending.len();
        let mut failed: Vec<(Item, tokio_postgres::Error)> = Vec::new();
        let mut helped = false;
        let mut rest = pending.into_iter();
        loop {
            let chunk: Vec<Item> = rest.by_ref().take(PIPELINE).collect();
            if chunk.is_empty() {
                break;
            }
            let texts: Vec<String> = chunk.iter().map(|item| format!("{}{}", item.prefix, item.sql)).collect();
            let results = join_all(texts.iter().map(|text| session.client().batch_execute(text))).await;
            for (item, result) in chunk.into_iter().zip(results) {
                let Err(error) = result else { continue };
                helped |= provide(session, &error).await;
                failed.push((item, error));
            }
        }
        if failed.is_empty() || failed.len() == before && !helped {
            return failed;
        }
        pending = failed.into_iter().map(|(item, _)| item).collect();
    }
}

/// What is made before all tables: the types, where checks of domains call functions, and those functions.
fn early(catalog: &Catalog) -> impl Fn(&Id) -> bool {
    let said: HashSet<String> = catalog.of::<DomainCheck>().flat_map(|check| words(&check.expression)).collect();
    let called: HashSet<Id> = catalog.of::<Function>().map(Function::id).filter(|id| said.contains(id.plain_name())).collect();
    let tables = weight(Table::KEYWORD);
    move |id| !called.is_empty() && (called.contains(id) || weight(&id.kind) < tables)
}

/// What is written so that it ends its statement and begins another one: that one would do what no file says. A message of
/// the extended protocol takes one statement only (manual, 55.2.3); where there is no semicolon there is none to look for.
pub async fn several(session: &Session, catalog: &Catalog) -> Vec<Rejected> {
    let with_columns = items(catalog, |object| object.inlines() != Inline::Always);
    let suspects: Vec<Item> = with_columns.into_iter().filter(|item| item.statements.iter().any(|sql| sql.contains(';'))).collect();
    let mut found = Vec::new();
    let mut rest = suspects.into_iter();
    loop {
        let chunk: Vec<Item> = rest.by_ref().take(PIPELINE).collect();
        if chunk.is_empty() {
            return found;
        }
        let statements = chunk.iter().flat_map(|item| &item.statements).filter(|sql| sql.contains(';'));
        let mut answers = join_all(statements.map(|sql| session.client().prepare(sql))).await.into_iter();
        for item in chunk {
            let count = item.statements.iter().filter(|sql| sql.contains(';')).count();
            // What is wrong otherwise has a place in the text, or another code, and is said when it is run.
            let several = |error: &tokio_postgres::Error| {
                error.as_db_error().is_some_and(|db| *db.code() == SqlState::SYNTAX_ERROR && db.position().is_none())
            };
            let refused: Vec<_> = answers.by_ref().take(count).filter_map(Result::err).filter(several).collect();
            if let Some(error) = refused.into_iter().next() {
                found.push(Rejected { is_several: true, ..rejected(item, error) });
            }
        }
    }
}

fn items(catalog: &Catalog, wanted: impl Fn(&Object) -> bool) -> Vec<Item> {
    let children = catalog.children();
    let is_early = early(catalog);
    let mut objects: Vec<&Object> = catalog.objects.values().filter(|object| wanted(object)).collect();
    // A partition's NOT NULL is called as that of the table above (from 18 on), which has to have its name first.
    let above: HashMap<&Id, &Id> = catalog.of::<Partition>().map(|place| (&place.table, &place.parent)).collect();
    let depth = |id: &Id| std::iter::successors(above.get(id), |parent| above.get(*parent)).take(64).count();
    objects.sort_by_key(|object| {
        let id = object.id();
        (weight(&id.kind), depth(&id))
    });
    objects
        .into_iter()
        .filter(|object| {
            // A column comes with its table, if that is made here.
            object.inlines() != Inline::Always || !object.parent().is_some_and(|parent| catalog.contains(&parent))
        })
        .filter_map(|object| {
            let id = object.id();
            let columns: Vec<&Object> =
                children.get(&id).into_iter().flatten().copied().filter(|child| child.inlines() == Inline::Always).collect();
            let statements = object.create_with(&columns).sql;
            let sql = statements.join(";\n");
            (!sql.is_empty()).then(|| {
                let schema = if object.parent().is_some() { id_schema(&id) } else { "public" };
                let is_early = is_early(&id);
                Item { is_early, prefix: format!("SET search_path = {}, public;\n", quote(schema)), statements, sql, id }
            })
        })
        .collect()
}

/// The schema whose names a text may use without saying so. Satellites carry a keyword first.
fn id_schema(id: &Id) -> &str {
    match id.kind.as_str() {
        "comment" | "owner" | "grant" | "owned-by" | "cluster-on" => id.path.get(1).map_or("public", |name| name.as_str()),
        _ => id.schema(),
    }
}

fn rejected(item: Item, error: tokio_postgres::Error) -> Rejected {
    let before = item.prefix.chars().count();
    let position = error.as_db_error().and_then(|db| match db.position() {
        Some(tokio_postgres::error::ErrorPosition::Original(at)) => (*at as usize).checked_sub(before + 1),
        // A position inside a function's body: found there by the caller, if at all.
        Some(tokio_postgres::error::ErrorPosition::Internal { .. }) | None => None,
    });
    Rejected { id: item.id, sql: item.sql, error, position, is_several: false }
}

/// Lets PostgreSQL check the bodies of routines, now that everything they mention is there.
pub async fn validate_bodies(session: &Session, catalog: &Catalog) -> Result<Vec<Rejected>, EngineError> {
    let routines = items(catalog, |object| matches!(object, Object::Function(_) | Object::Procedure(_)));
    session.client().batch_execute("SET check_function_bodies = on").await.map_err(crate::pg::SessionError::from)?;
    // In a transaction that is taken back: only the check is wanted.
    let texts: Vec<String> = routines
        .iter()
        .map(|item| {
            format!(
                "BEGIN; {}{}; ROLLBACK",
                item.prefix,
                item.sql.replacen("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION", 1).replacen(
                    "CREATE PROCEDURE",
                    "CREATE OR REPLACE PROCEDURE",
                    1
                )
            )
        })
        .collect();
    let mut rejected = Vec::new();
    for (item, text) in routines.into_iter().zip(texts) {
        if let Err(error) = session.client().batch_execute(&text).await {
            session.client().batch_execute("ROLLBACK").await.map_err(crate::pg::SessionError::from)?;
            // Counted from the start of the text; what was put in stands before every body.
            let put_in = "BEGIN; ".len() + "OR REPLACE ".len();
            let one = self::rejected(item, error);
            let position = one.position.and_then(|position| position.checked_sub(put_in));
            rejected.push(Rejected { position, ..one });
        }
    }
    session.client().batch_execute("SET check_function_bodies = off").await.map_err(crate::pg::SessionError::from)?;
    Ok(rejected)
}

/// Makes a role or tablespace that is missing: they belong to the cluster, and this one is ours.
async fn provide(session: &Session, error: &tokio_postgres::Error) -> bool {
    let Some(db) = error.as_db_error() else { return false };
    if *db.code() != SqlState::UNDEFINED_OBJECT {
        return false;
    }
    let name = |what: &str| db.message().strip_prefix(what)?.strip_prefix(" \"")?.strip_suffix("\" does not exist").map(str::to_owned);
    let sql = if let Some(role) = name("role") {
        format!("CREATE ROLE {}", quote(&role))
    } else if let Some(space) = name("tablespace") {
        format!("CREATE TABLESPACE {} LOCATION ''", quote(&space))
    } else {
        return false;
    };
    session.client().batch_execute(&sql).await.is_ok()
}

/// Makes a role or tablespace that a plan's statement misses, when it is run on a scratch server.
pub async fn provide_for(session: &Session, error: &tokio_postgres::Error) -> bool {
    provide(session, error).await
}
