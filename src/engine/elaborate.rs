//! Desired texts as PostgreSQL deparses them: made on a scratch server and read back.

use std::collections::BTreeSet;

use indexmap::IndexMap;
use tokio_postgres::error::SqlState;

use super::closure::{closure, restrict};
use super::fill::{Rejected, fill, several};
use super::{EngineError, Scope, Workbench};
use crate::catalog::{Catalog, Id};
use crate::kdl::{Finding, Findings, Sources};
use crate::kind::event_trigger::EventTrigger;
use crate::kind::extension::Extension;
use crate::kind::lowering::Origin;
use crate::kind::{Kind as _, Object};
use crate::pg::introspect::{Managed, introspect};

/// The desired state, elaborated.
#[derive(Debug)]
pub struct Elaborated {
    /// The desired state: live objects where the text is the same, else what the server made of it.
    pub desired: Catalog,
    /// The live state made anew: some texts deparse differently after that, and mean the same.
    pub reloaded: Catalog,
    /// The desired state as the server made it: a text that stays deparses differently where what it
    /// stands on changes (`title` is `(title)::text` once it is no text any more).
    pub made: Catalog,
    /// The units that the scratch server saw; `None`: everything.
    pub confined_to: Option<BTreeSet<Id>>,
}

/// What the server cannot say about an object that it was asked to make, so it is taken as written.
fn as_written(object: &Object) -> bool {
    match object {
        Object::Owner(_) | Object::Grant(_) | Object::DefaultPrivileges(_) | Object::EventTrigger(_) => true,
        Object::Comment(comment) => comment.on.kind == EventTrigger::KEYWORD,
        _ => false,
    }
}

/// Elaborates a desired state against a live one.
pub async fn elaborate(
    bench: &mut Workbench,
    live: &Catalog,
    raw: &Catalog,
    origins: &IndexMap<Id, Origin>,
    sources: &Sources,
    scope: &Scope,
) -> Result<Elaborated, EngineError> {
    // What a confined server refuses may only miss something that was left away: then everything is
    // made, and that decides.
    let wanted = closure(live, raw);
    let confined = match &wanted {
        Some(wanted) => {
            canonical(bench, "desired", restrict(raw, wanted), origins, sources, scope).await.ok().map(|made| (made, wanted.clone()))
        }
        None => None,
    };
    let (made, confined_to) = match confined {
        Some((mut made, wanted)) => {
            // What was left away is as it is.
            for (id, object) in &raw.objects {
                if !made.contains(id) && live.get(id) == Some(object) {
                    made.objects.insert(id.clone(), object.clone());
                    if let Some(needs) = live.needs.get(id) {
                        made.needs.insert(id.clone(), needs.clone());
                    }
                }
            }
            (made, Some(wanted))
        }
        None => (canonical(bench, "desired", raw.clone(), origins, sources, scope).await?, None),
    };
    let mut desired = Catalog::default();
    for (id, object) in &made.objects {
        // The same text means the same thing. (The server may deparse it differently the second
        // time; that is no difference.)
        let unchanged = live.get(id).filter(|old| raw.get(id) == Some(*old));
        let (object, needs) = match unchanged {
            // It may mean something else by now: what it refers to is what the server says.
            Some(old) => (old, made.needs.get(id).or_else(|| live.needs.get(id))),
            None => (object, made.needs.get(id)),
        };
        desired.objects.insert(id.clone(), object.clone());
        if let Some(needs) = needs {
            desired.needs.insert(id.clone(), needs.clone());
        }
    }
    let differs =
        desired.objects.iter().any(|(id, object)| live.get(id) != Some(object)) || live.objects.keys().any(|id| !desired.contains(id));
    if !differs {
        return Ok(Elaborated { desired, reloaded: live.clone(), made, confined_to });
    }
    // Texts that differ may still mean the same: compare with the live ones after a reload.
    let start = confined_to.as_ref().map_or_else(|| live.clone(), |wanted| restrict(live, wanted));
    let reloaded = canonical(bench, "live", start, &IndexMap::new(), &Sources::new(), scope).await?;
    let ids: Vec<Id> = desired.objects.keys().cloned().collect();
    for id in ids {
        let (Some(new), Some(old)) = (desired.get(&id), live.get(&id)) else { continue };
        if new != old && reloaded.get(&id) == Some(new) {
            desired.objects.insert(id.clone(), old.clone());
            if let Some(needs) = live.needs.get(&id) {
                desired.needs.insert(id, needs.clone());
            }
        }
    }
    Ok(Elaborated { desired, reloaded, made, confined_to })
}

/// Makes a state on the scratch server and reads it back, with its dependencies.
pub async fn canonical(
    bench: &mut Workbench,
    label: &str,
    raw: Catalog,
    origins: &IndexMap<Id, Origin>,
    sources: &Sources,
    _scope: &Scope,
) -> Result<Catalog, EngineError> {
    let (_, session) = bench.database(label).await?;
    if !raw.contains(&crate::kind::schema::Schema::id_of("public")) {
        session.client().batch_execute("DROP SCHEMA IF EXISTS public").await.map_err(crate::pg::SessionError::from)?;
    }
    if !origins.is_empty() {
        let rejected = several(&session, &raw).await;
        if !rejected.is_empty() {
            return Err(explain(bench, &rejected, origins, sources));
        }
    }
    let rejected = fill(&session, &raw, |object| !as_written(object)).await?;
    if !rejected.is_empty() {
        return Err(if origins.is_empty() {
            EngineError::Rebuild(list(bench, &rejected))
        } else {
            explain(bench, &rejected, origins, sources)
        });
    }
    if !origins.is_empty() {
        let rejected = super::fill::validate_bodies(&session, &raw).await?;
        if !rejected.is_empty() {
            return Err(explain(bench, &rejected, origins, sources));
        }
    }
    let mut made = introspect(&session, Managed::default()).await?;
    made.read_dependencies(&session).await?;
    let mut catalog = made.catalog;
    catalog.unmodelled.clear();
    // CREATE EXTENSION comments on itself.
    catalog.objects.retain(|id, object| !matches!(object, Object::Comment(comment) if comment.on.kind == "extension" && !raw.contains(id)));
    for object in raw.objects.values().filter(|object| as_written(object)) {
        catalog.objects.insert(object.id(), object.clone());
    }
    // What carries only privileges is not seen without them.
    for (id, object) in &raw.objects {
        if matches!(object, Object::ViewColumn(_))
            && !catalog.contains(id)
            && object.parent().is_some_and(|parent| catalog.contains(&parent))
        {
            catalog.objects.insert(id.clone(), object.clone());
        }
    }
    // Columns and their order are the server's; everything else keeps the order of the source, so
    // that two runs give the same bytes.
    Ok(catalog)
}

fn list(bench: &Workbench, rejected: &[Rejected]) -> String {
    let line = |one: &&Rejected| {
        unavailable(bench, one)
            .map_or_else(|| format!("  {}: {}", one.id, crate::pg::explain(&one.error)), |(text, help)| format!("  {text}: {help}"))
    };
    roots(rejected).iter().map(line).collect::<Vec<_>>().join("\n")
}

/// What is said, and advised, of an extension that the scratch server's installation lacks: its own
/// message names a file that nobody looks for (before 17), or says nothing of packages.
fn unavailable(bench: &Workbench, one: &Rejected) -> Option<(String, String)> {
    let missing = [SqlState::UNDEFINED_FILE, SqlState::FEATURE_NOT_SUPPORTED];
    if one.id.kind != Extension::KEYWORD || !one.error.code().is_some_and(|code| missing.contains(code)) {
        return None;
    }
    let installation = bench.scratch()?.installation();
    let name = one.id.name();
    let text = format!("{} is not available on the scratch server ({}), where texts are elaborated", one.id, bench.describe());
    let help = format!(
        "install the package that holds it there (on Debian and Ubuntu: postgresql-contrib, or postgresql-{}-{}), or name the \
         programs of a server that has it: SCHEMA_PG_BIN=/path/to/bin",
        installation.major,
        name.replace('_', "-")
    );
    Some((text, help))
}

/// Those that failed by themselves, not only because something else failed.
fn roots(rejected: &[Rejected]) -> Vec<&Rejected> {
    let missing = |one: &&Rejected| {
        let message = one.error.as_db_error().map(|db| db.message().to_owned()).unwrap_or_default();
        message.contains("does not exist") && rejected.iter().any(|other| other.id != one.id && mentions(&message, &other.id))
    };
    let own: Vec<&Rejected> = rejected.iter().filter(|one| !missing(one)).collect();
    if own.is_empty() { rejected.iter().collect() } else { own }
}

fn mentions(message: &str, id: &Id) -> bool {
    let name = id.plain_name();
    id.path.len() >= 2
        && !name.is_empty()
        && (message.contains(&format!(".{name}")) || message.contains(&format!("\"{name}\"")) || message.contains(&format!("{name}(")))
}

/// PostgreSQL's complaints at the places in the files that they are about.
fn explain(bench: &Workbench, rejected: &[Rejected], origins: &IndexMap<Id, Origin>, sources: &Sources) -> EngineError {
    let roots = roots(rejected);
    let mut findings = Findings::new();
    let circle = roots.len() > 1
        && roots.iter().all(|one| {
            one.error.as_db_error().is_some_and(|db| {
                db.message().contains("does not exist") && roots.iter().any(|other| other.id != one.id && mentions(db.message(), &other.id))
            })
        });
    if circle {
        let names = roots.iter().map(|one| one.id.to_string()).collect::<Vec<_>>().join(", ");
        let mut finding = match origin_of(&roots[0].id, origins) {
            Some(origin) => {
                Finding::at(origin.name, format!("these need each other, so none can be made first: {names}")).label("in the circle")
            }
            None => Finding::general(format!("these need each other, so none can be made first: {names}")),
        };
        for other in &roots[1..] {
            if let Some(origin) = origin_of(&other.id, origins) {
                finding = finding.other(origin.name, "and this");
            }
        }
        findings.push(finding.help("take one of the references out"));
        return EngineError::Findings(findings.into_report(sources));
    }
    for one in roots {
        findings.push(finding(bench, one, origins, sources));
    }
    EngineError::Findings(findings.into_report(sources))
}

/// The origin of an object, or of the nearest thing around it that was written.
fn origin_of<'o>(id: &Id, origins: &'o IndexMap<Id, Origin>) -> Option<&'o Origin> {
    origins.get(id).or_else(|| {
        (1..id.path.len()).rev().find_map(|length| {
            ["table", "view", "materialized-view", "domain", "schema"]
                .iter()
                .find_map(|kind| origins.get(&Id::new(kind, id.path[..length].to_vec())))
        })
    })
}

fn finding(bench: &Workbench, one: &Rejected, origins: &IndexMap<Id, Origin>, sources: &Sources) -> Finding {
    if let (Some((text, help)), Some(origin)) = (unavailable(bench, one), origins.get(&one.id)) {
        return Finding::at(origin.name, text).label("here").help(help);
    }
    let db = one.error.as_db_error();
    let message = match db {
        Some(_) if one.is_several => "its text ends the statement and begins another one".to_owned(),
        Some(db) => db.message().to_owned(),
        None => crate::pg::explain(&one.error),
    };
    let text = format!("PostgreSQL refuses {}: {message}", one.id);
    // A table is made with its columns, so the text may be a column's.
    let mut homes: Vec<&Origin> = origins.get(&one.id).into_iter().collect();
    homes.extend(
        origins.iter().filter(|(id, _)| id.path.len() > one.id.path.len() && id.path.starts_with(&one.id.path)).map(|(_, origin)| origin),
    );
    let place = one.position.and_then(|position| {
        let mut best: Option<(usize, crate::kdl::Span)> = None;
        for value in homes.iter().flat_map(|origin| &origin.texts) {
            if value.value.is_empty() {
                continue;
            }
            let mut from = 0;
            while let Some(found) = one.sql[from..].find(&value.value) {
                let start = one.sql[..from + found].chars().count();
                let length = value.value.chars().count();
                if (start..=start + length).contains(&position) && best.is_none_or(|(longest, _)| length > longest) {
                    best = Some((length, value.at(sources, position - start)));
                }
                from += found + value.value.len();
            }
        }
        best.map(|(_, span)| span)
    });
    // Without a position, a value that the message names.
    let named = || {
        homes
            .iter()
            .flat_map(|origin| &origin.texts)
            .find(|value| value.value.len() > 1 && message.contains(&format!("\"{}\"", value.value)))
            .map(|value| value.span)
    };
    let span = place.or_else(named).or_else(|| origin_of(&one.id, origins).map(|origin| origin.name));
    let mut finding = match span {
        Some(span) => Finding::at(span, text).label("here"),
        None => Finding::general(text),
    };
    let mut help: Vec<String> = db.and_then(|db| db.hint()).map(str::to_owned).into_iter().collect();
    help.extend(db.and_then(|db| db.detail()).map(str::to_owned));
    if one.id.kind == "default" && message.contains("cannot use column reference")
        || one.id.kind == "default" && message.contains("does not exist") && message.starts_with("column")
    {
        help.push(format!("a text needs quotes of its own: default=\"'{}'\"", one.sql.rsplit("SET DEFAULT ").next().unwrap_or_default()));
    }
    if !help.is_empty() {
        finding = finding.help(help.join("\n"));
    }
    finding
}
