//! What is kept after its drop stands in its table, and on types, routines and sequences, like anything else, though it is
//! no part of the state: a plan that takes one of these from beneath it would lose it, or fail where PostgreSQL refuses.

use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexMap;

use super::EngineError;
use crate::catalog::id::literal;
use crate::catalog::{Catalog, Id};
use crate::kdl::{Finding, Findings, Sources};
use crate::kind::lowering::{Hints, Origin};
use crate::kind::routine;
use crate::kind::row::{KEPT_IS_READABLE, SET_ASIDE};
use crate::pg::Session;
use crate::plan::Plan;

/// What is kept and would be in the way of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InTheWay {
    /// What it stands on or in, as the plan leaves it.
    id: Id,
    /// What is wrong.
    pub text: String,
    /// What to do first.
    pub help: String,
}

/// Looks for what is kept and would be in the way of a plan.
///
/// # Errors
/// [`EngineError::Facts`] where it cannot be read.
pub async fn in_the_way(session: &Session, plan: &Plan) -> Result<Vec<InTheWay>, EngineError> {
    let touched: Vec<(Id, Touched)> = touched(plan).into_iter().collect();
    let failed = |error| EngineError::Facts(crate::pg::explain(&error));
    if touched.is_empty() || !session.client().query_one(KEPT_IS_READABLE, &[]).await.map_err(failed)?.get::<_, bool>(0) {
        return Ok(Vec::new());
    }
    let rows = session.client().query(&sql(&touched), &[]).await.map_err(failed)?;
    let found = rows.iter().map(|row| {
        let (what, at): (&str, i64) = (row.get(0), row.get(1));
        let (id, Touched { within, after }) = &touched[usize::try_from(at).unwrap_or_default()];
        let name = what.split_once(' ').map_or(what, |(_, name)| name);
        let (text, help) = if *within {
            (
                format!(
                    "{what} is kept after its drop, and {id}, in which it waits, is to be divided otherwise or to become a partition: it would be lost"
                ),
                format!("first schema undrop {name}, where it is still wanted; or schema purge {name}, where it may go for good"),
            )
        } else {
            (
                format!("{what} is kept after its drop, and stands on {id}, which this plan drops or makes anew"),
                format!("first schema purge {name}, where it may go for good; or schema undrop {name}, and see to it as well"),
            )
        };
        InTheWay { id: after.clone(), text, help }
    });
    Ok(found.collect())
}

/// The same for a plan that is made.
///
/// # Errors
/// [`EngineError::Findings`], with what to do first; [`EngineError::Facts`] where it cannot be read.
pub(super) async fn check(session: &Session, plan: &Plan, origins: &IndexMap<Id, Origin>, sources: &Sources) -> Result<(), EngineError> {
    let mut findings = Findings::new();
    for InTheWay { id, text, help } in in_the_way(session, plan).await? {
        findings.push(match origins.get(&id).map(|origin| origin.name) {
            Some(span) => Finding::at(span, text).label("here").help(help),
            None => Finding::general(text).help(help),
        });
    }
    findings.or_report(sources, ()).map_err(EngineError::from)
}

/// How a plan touches something that is there.
struct Touched {
    /// A table gets another form: the columns that wait in it are in the way. Of anything else that goes, what stands on it.
    within: bool,
    /// Its id when the plan is done with its renames.
    after: Id,
}

/// What a plan takes away or gives another form, by its name before the plan.
fn touched(plan: &Plan) -> BTreeMap<Id, Touched> {
    let steps = || plan.steps().map(|(_, step)| step);
    let (renaming, others): (Vec<_>, Vec<_>) = steps().partition(|step| matches!(step.recipe.as_str(), "rename" | "rename-table"));
    let mut renames: BTreeMap<&Id, &Id> = BTreeMap::new();
    for step in renaming {
        for new in &step.makes {
            let mut old = step.takes.iter().filter(|old| old.kind == new.kind && !step.makes.contains(old));
            // Of several in one step nobody knows which became which.
            if let (Some(old), None) = (old.next(), old.next()) {
                renames.insert(new, old);
            }
        }
    }
    let before = |id: &Id| renames.get(id).map_or_else(|| id.clone(), |old| (*old).clone());
    let made: BTreeSet<&Id> = steps().flat_map(|step| &step.makes).collect();
    let mut touched = BTreeMap::new();
    for id in others.iter().flat_map(|step| &step.takes) {
        // A table that goes takes along what waits in it, or is kept with that.
        touched.insert(before(id), Touched { within: id.kind == "table" && made.contains(id), after: id.clone() });
    }
    for id in made.iter().filter(|id| id.kind == "partition").map(|id| id.as_kind("table")) {
        touched.insert(before(&id), Touched { within: true, after: id });
    }
    touched.retain(|id, _| address(id).is_some());
    touched
}

/// The catalog in which something stands on which a column or table can stand, and an SQL expression of its OID there.
fn address(id: &Id) -> Option<(&'static str, String)> {
    Some(match id.kind.as_str() {
        "enum" | "domain" | "type" | "range-type" => ("pg_type", format!("to_regtype({})", literal(&id.sql()))),
        "function" | "procedure" | "aggregate" => ("pg_proc", format!("to_regprocedure({})", literal(&routine::call(id)))),
        "table" | "view" | "materialized-view" | "sequence" => ("pg_class", format!("to_regclass({})", literal(&id.sql()))),
        "collation" => ("pg_collation", format!("to_regcollation({})", literal(&id.sql()))),
        "extension" => ("pg_extension", format!("(SELECT oid FROM pg_extension WHERE extname = {})", literal(id.name()))),
        _ => return None,
    })
}

/// What is kept, with the number of what it stands in or on.
fn sql(touched: &[(Id, Touched)]) -> String {
    let rows: Vec<String> = touched
        .iter()
        .enumerate()
        .filter_map(|(at, (id, touched))| {
            let (class, oid) = address(id)?;
            Some(format!("({at}::int8, '{class}'::regclass::oid, {oid}::oid, {})", touched.within))
        })
        .collect();
    let kept = format!(
        "SELECT k.what, c.oid, coalesce(a.attnum, 0)::int4 AS sub FROM {SET_ASIDE}.kept k JOIN pg_class c ON c.oid = k.relation \
         LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = k.aside \
         WHERE k.back <> '{{}}' AND (k.aside IS NULL OR a.attnum IS NOT NULL)"
    );
    format!(
        "{} SELECT k.what, t.at FROM (VALUES {}) t (at, class, oid, within) JOIN of k ON \
         CASE WHEN t.within THEN k.oid = t.oid AND k.sub > 0 \
         ELSE EXISTS (SELECT FROM need n WHERE n.what = k.what AND n.class = t.class AND n.oid = t.oid) END ORDER BY t.at, k.what",
        needs_of(&kept),
        rows.join(", ")
    )
}

/// The beginning of a query: `of` are tables and columns (what, oid, sub), `need` what they stand on (what, class, oid).
/// What belongs to one (a default, a check, a trigger, an index) stands on something for it; an array stands on its type, a
/// member of an extension on that.
fn needs_of(of: &str) -> String {
    format!(
        "WITH RECURSIVE of AS ({of}), part AS ( \
             SELECT what, 'pg_class'::regclass::oid AS class, oid, sub FROM of \
             UNION SELECT p.what, d.classid, d.objid, d.objsubid FROM part p \
             JOIN pg_depend d ON d.refclassid = p.class AND d.refobjid = p.oid AND (p.sub = 0 OR d.refobjsubid = p.sub) AND d.deptype IN ('a', 'i') \
         ), need AS ( \
             SELECT p.what, d.refclassid AS class, d.refobjid AS oid FROM part p \
             JOIN pg_depend d ON d.classid = p.class AND d.objid = p.oid AND (p.sub = 0 OR d.objsubid = p.sub) AND d.deptype = 'n' \
             UNION SELECT n.what, d.refclassid, d.refobjid FROM need n \
             JOIN pg_depend d ON d.classid = n.class AND d.objid = n.oid AND d.deptype IN ('i', 'e') \
         )"
    )
}

/// Tables and columns that go, by their names after renames, with an extension that goes as well and on which they stand:
/// nothing else knows of the members of an extension.
pub(super) async fn on_extensions(
    session: &Session,
    live: &Catalog,
    desired: &Catalog,
    hints: &Hints,
) -> Result<BTreeMap<Id, Id>, EngineError> {
    let goes = |id: &&Id| !desired.contains(id);
    let extensions: Vec<&Id> = live.objects.keys().filter(|id| id.kind == "extension").filter(goes).collect();
    let going: Vec<&Id> = live.objects.keys().filter(|id| matches!(id.kind.as_str(), "table" | "column")).filter(goes).collect();
    if extensions.is_empty() || going.is_empty() {
        return Ok(BTreeMap::new());
    }
    let rows = going.iter().enumerate().map(|(at, id)| {
        let column = if id.kind == "column" { literal(id.name()) } else { "NULL".to_owned() };
        format!("({at}::int8, {}, {column})", literal(&id.relation()))
    });
    let of = format!(
        "SELECT g.at AS what, c.oid, coalesce(a.attnum, 0)::int4 AS sub FROM (VALUES {}) g (at, called, name) \
         JOIN pg_class c ON c.oid = to_regclass(g.called) LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = g.name",
        rows.collect::<Vec<_>>().join(", ")
    );
    let names: Vec<&str> = extensions.iter().map(|id| id.name()).collect();
    let sql = format!(
        "{} SELECT DISTINCT n.what, e.extname::text FROM need n JOIN pg_extension e ON e.oid = n.oid AND n.class = 'pg_extension'::regclass \
         WHERE e.extname = ANY($1)",
        needs_of(&of)
    );
    let rows = session.client().query(&sql, &[&names]).await.map_err(|error| EngineError::Facts(crate::pg::explain(&error)))?;
    let after = |id: &Id| {
        let table = id.up("table");
        let now = hints.renames.iter().find(|(_, old)| **old == table).map(|(new, _)| new);
        now.filter(|_| id.kind == "column").map_or_else(|| id.clone(), |now| now.child("column", id.name()))
    };
    let found = rows.iter().filter_map(|row| {
        let (at, name): (i64, &str) = (row.get(0), row.get(1));
        let extension = extensions.iter().find(|id| id.name() == name)?;
        Some((after(going.get(usize::try_from(at).ok()?)?), (*extension).clone()))
    });
    Ok(found.collect())
}
