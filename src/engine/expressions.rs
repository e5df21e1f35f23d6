//! What an author says about rows that are there already, `backfill` and `revert`: tried on a
//! scratch server while the plan is made.
//!
//! No row is needed: PostgreSQL finds names, types and the assignment when it plans the UPDATE.

use std::collections::BTreeSet;

use indexmap::IndexMap;

use super::elaborate::{Elaborated, canonical};
use super::fill::fill;
use super::replaced::{self, Said};
use super::{EngineError, Scope, Workbench};
use crate::catalog::id::{literal, quote};
use crate::catalog::{Catalog, Id};
use crate::kdl::{Finding, Findings, Sources};
use crate::kind::Kind as _;
use crate::kind::column::Column;
use crate::kind::lowering::{GivenBack, Hints, Origin};
use crate::pg::{Session, SessionError};
use crate::recipe::backfill::search_path;

/// Stands in for the column of the other type, where both have one name.
const PROBE: &str = "~ the column of the other type";

/// Which of a column's two expressions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Backfill,
    Revert,
}

impl Way {
    const fn name(self) -> &'static str {
        match self {
            Self::Backfill => "backfill",
            Self::Revert => "revert",
        }
    }
}

/// An expression that a plan is going to use.
#[derive(Debug)]
struct Asked<'a> {
    /// The column that says it.
    column: &'a Column,
    way: Way,
    expression: &'a str,
    /// The column that gets the value.
    target: &'a str,
    /// The column says it of another one, whose place it takes.
    of_another: bool,
    /// The live column of the same name has another type.
    retyped: bool,
    /// A trigger evaluates it too, over the row that a client writes.
    in_trigger: bool,
}

/// What the server said to one of them.
struct Refusal<'a> {
    asked: &'a Asked<'a>,
    error: tokio_postgres::Error,
    /// Where in the expression, in characters from 0.
    position: Option<usize>,
    in_trigger: bool,
}

/// Tries every `backfill` and `revert` of a column that changes. Costs nothing where there is none. Gives what
/// is known of those of columns that take the place of others.
///
/// # Errors
/// [`EngineError::Findings`] with what PostgreSQL says, at the place in the file.
#[allow(clippy::too_many_arguments, reason = "what a desired state says stands in four parts")]
pub async fn check(
    bench: &mut Workbench,
    live: &Catalog,
    elaborated: &mut Elaborated,
    hints: &Hints,
    origins: &IndexMap<Id, Origin>,
    sources: &Sources,
    scope: &Scope,
) -> Result<Said, EngineError> {
    let desired = elaborated.desired.clone();
    let asked = asked(live, &desired, hints);
    if asked.is_empty() {
        return Ok(Said::default());
    }
    let both = (live, &desired);
    // The row as it is while both states stand: all that is live, and what is made besides.
    let (refused, mut said) = on(bench, "live", &only(&desired, live), &asked, both).await?;
    if !refused.is_empty() {
        // What is made besides may stand on what is replaced, and what is left away on nothing that is
        // seen: PostgreSQL must refuse it every time.
        let mut still;
        (still, said) =
            on(bench, "desired", &only(live, &desired), &asked, both).await.map(|(refused, said)| (!refused.is_empty(), said))?;
        if still && elaborated.confined_to.is_some() {
            canonical(bench, "live", live.clone(), &IndexMap::new(), &Sources::new(), scope).await?;
            let again = on(bench, "live", &only(&desired, live), &asked, both).await?;
            (still, said) = (!again.0.is_empty(), again.1);
            if !still {
                elaborated.confined_to = None;
            }
        }
        if still {
            let mut findings = Findings::new();
            for one in &refused {
                findings.push(finding(one, origins, sources));
            }
            return Err(EngineError::Findings(findings.into_report(sources)));
        }
    }
    replaced::check(live, &desired, hints, &said.reads, origins).or_report(sources, ())?;
    Ok(said)
}

/// The expressions of columns that the plan fills: those of a column that is as it was are history.
fn asked<'a>(live: &'a Catalog, desired: &'a Catalog, hints: &'a Hints) -> Vec<Asked<'a>> {
    let mut asked = Vec::new();
    let ways = [(Way::Backfill, &hints.backfills), (Way::Revert, &hints.reverts)];
    for (way, (id, expression)) in ways.into_iter().flat_map(|(way, hints)| hints.iter().map(move |hint| (way, hint))) {
        let Some(column) = desired.get_as::<Column>(id).filter(|column| live.contains(&column.table)) else { continue };
        let before = live.get_as::<Column>(id);
        let renamed = hints.renames.get(id).and_then(|old| live.get_as::<Column>(old));
        let retyped = before.is_some_and(|old| old.data_type != column.data_type);
        let strict = before.is_some_and(|old| column.not_null && !old.not_null);
        let target = match (way, renamed) {
            (Way::Backfill, _) => column.name.as_str(),
            (Way::Revert, Some(old)) => old.name.as_str(),
            // There is nothing that it could lead back to.
            (Way::Revert, None) if before.is_none() => continue,
            (Way::Revert, None) => column.name.as_str(),
        };
        if before.is_none() || retyped || (strict && way == Way::Backfill) {
            let in_trigger = column.not_null || renamed.is_some() || retyped;
            asked.push(Asked { column, way, expression, target, of_another: false, retyped, in_trigger });
        }
    }
    for (old, GivenBack { by, expression }) in &hints.given_back {
        let column = desired.get_as::<Column>(by).filter(|_| !live.contains(by) && live.contains(old));
        asked.extend(column.map(|column| Asked {
            column,
            way: Way::Revert,
            expression,
            target: old.name(),
            of_another: true,
            retyped: false,
            in_trigger: true,
        }));
    }
    asked
}

/// What only the first of two states holds.
fn only(one: &Catalog, other: &Catalog) -> Catalog {
    let objects = one.objects.iter().filter(|(id, _)| !other.contains(id)).map(|(id, object)| (id.clone(), object.clone()));
    Catalog { objects: objects.collect(), ..Catalog::default() }
}

/// What is refused, and what is known of the others.
type Answer<'a> = (Vec<Refusal<'a>>, Said);

/// Tries them on the database that was made last with this label, when it holds `more` as well.
async fn on<'a>(
    bench: &Workbench,
    label: &str,
    more: &Catalog,
    asked: &'a [Asked<'a>],
    (live, desired): (&Catalog, &Catalog),
) -> Result<Answer<'a>, EngineError> {
    let (Some(scratch), Some(name)) = (bench.scratch(), bench.latest(label)) else { return Ok(Answer::default()) };
    let gone = |id: &Id| live.contains(id) && !desired.contains(id);
    let session = scratch.connect(name).await?;
    // What cannot be made beside the other state is not there for an expression either.
    fill(&session, more, |_| true).await?;
    let (mut refused, mut said) = Answer::default();
    for one in asked {
        let table = &one.column.table;
        let named = if one.way == Way::Backfill && !one.retyped {
            replaced::named(&session, table, one.expression).await?
        } else {
            BTreeSet::new()
        };
        // A trigger computes what takes the place of a column that goes.
        let replaces = named.iter().any(|name| gone(&table.child(Column::KEYWORD, name)));
        let refusal = attempt(&session, one, one.in_trigger || replaces).await?;
        if !named.is_empty() {
            said.reads.insert(one.column.id(), named);
        }
        if one.of_another && refusal.is_none() {
            let nulls = replaced::null_for(&session, table, one.expression, live, desired).await?;
            said.gives_null.insert(table.child(Column::KEYWORD, one.target), nulls);
        }
        refused.extend(refusal);
    }
    session.close().await;
    Ok((refused, said))
}

async fn attempt<'a>(session: &Session, asked: &'a Asked<'a>, in_trigger: bool) -> Result<Option<Refusal<'a>>, EngineError> {
    let Asked { column, way, expression, target, of_another: _, retyped, in_trigger: _ } = asked;
    let (table, name) = (column.table.sql(), quote(&column.name));
    let mut prepare = format!("BEGIN; SELECT set_config('search_path', {}, true)", literal(&search_path(&column.table)));
    let mut target = quote(target);
    if *retyped {
        let add = |name: &str| format!("ALTER TABLE {table} ADD COLUMN {name} {}", column.data_type);
        // The name means the value that is read.
        prepare = match way {
            Way::Backfill => format!("{prepare}; {}", add(&quote(PROBE))),
            Way::Revert => format!("{prepare}; ALTER TABLE {table} RENAME COLUMN {name} TO {}; {}", quote(PROBE), add(&name)),
        };
        target = quote(PROBE);
    }
    session.client().batch_execute(&prepare).await.map_err(SessionError::from)?;
    let update = (format!("EXPLAIN UPDATE {table} SET {target} = ("), ")".to_owned());
    let row = ("EXPLAIN SELECT (".to_owned(), format!(") FROM (SELECT {0}.* FROM {table}) AS {0}", quote(column.table.name())));
    let mut refusal = None;
    for (before, after) in [Some(update), in_trigger.then_some(row)].into_iter().flatten() {
        let in_trigger = before.contains("SELECT");
        // What stands behind the expression stays behind it, also where that ends in a comment.
        if let Err(error) = session.client().batch_execute(&format!("{before}{expression}\n{after}")).await {
            let at = error.as_db_error().and_then(|db| match db.position() {
                Some(tokio_postgres::error::ErrorPosition::Original(at)) => Some(*at as usize),
                _ => None,
            });
            let position = at.and_then(|at| at.checked_sub(before.chars().count() + 1));
            refusal = Some(Refusal { asked, error, position, in_trigger });
            break;
        }
    }
    session.client().batch_execute("ROLLBACK").await.map_err(SessionError::from)?;
    Ok(refusal)
}

fn finding(refusal: &Refusal<'_>, origins: &IndexMap<Id, Origin>, sources: &Sources) -> Finding {
    let Refusal { asked, error, position, in_trigger } = refusal;
    let id = asked.column.id();
    let db = error.as_db_error();
    let said = db.map_or_else(|| crate::pg::explain(error), |db| db.message().replace(PROBE, &asked.column.name));
    let of = if asked.of_another { format!(" of {} by", asked.target) } else { " of".to_owned() };
    let text = format!("PostgreSQL refuses the {}{of} {id}: {said}", asked.way.name());
    let origin = origins.get(&id);
    // The last one: `default` may say the same, and stands before it.
    let written = origin.and_then(|origin| origin.texts.iter().rev().find(|text| text.value == asked.expression));
    let within = position.filter(|at| *at < asked.expression.chars().count());
    let span = written.map(|text| within.map_or(text.span, |at| text.at(sources, at))).or_else(|| origin.map(|origin| origin.name));
    let finding = match span {
        Some(span) => Finding::at(span, text).label("here"),
        None => Finding::general(text),
    };
    let mut help: Vec<String> = db.into_iter().flat_map(|db| [db.hint(), db.detail()]).flatten().map(str::to_owned).collect();
    if *in_trigger {
        help.push(format!(
            "a trigger evaluates it too, for each row that a client writes: it may use the columns of {}, not the row as a whole",
            asked.column.table
        ));
    }
    if help.is_empty() { finding } else { finding.help(help.join("\n")) }
}
