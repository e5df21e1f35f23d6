//! What `plan`, `diff`, `inspect`, `check`, `init` and `apply --direct` share: states by name, and a
//! plan between two of them.

use std::path::Path;

use super::Out;
use crate::catalog::Catalog;
use crate::engine::{Computed, EngineError, Request, Scope, State, Workbench, compute, state};
use crate::error::CliError;
use crate::pg::introspect::{Live, Managed, introspect_live};
use crate::pg::{Session, Target, Waits};
use crate::plan::Policy;
use crate::project::{Project, target};

/// What counts in this project.
#[must_use]
pub fn scope(project: &Project) -> Scope {
    let config = &project.config;
    Scope { managed: Managed { owners: config.manage.owners, grants: config.manage.grants }, ignore: config.ignore.clone() }
}

/// How long others' locks are waited for, and that they are told of.
#[must_use]
pub fn waits(project: &Project, out: &Out) -> Waits {
    let out = out.clone();
    Waits::new(project.config.retry_for, move |text| out.notice(text))
}

/// A bench that tells when a server has to be found elsewhere, without a live database.
#[must_use]
pub fn bench_alone(out: &Out) -> Workbench {
    let out = out.clone();
    let mut bench = Workbench::new();
    bench.notice = Some(Box::new(move |text| out.notice(text)));
    bench
}

/// The same, which tells too who is in the way of a live one.
#[must_use]
pub fn bench(project: &Project, out: &Out) -> Workbench {
    let mut bench = bench_alone(out);
    bench.waits = waits(project, out);
    bench
}

/// A state by what a person calls it.
///
/// # Errors
/// A name that means nothing, or a state that cannot be read.
pub async fn state(project: &Project, name: &str, scope: &Scope, bench: &mut Workbench) -> Result<State, CliError> {
    if name == "empty" {
        return Ok(State::Empty);
    }
    if let Some(revision) = name.strip_prefix("git:") {
        return Ok(State::Files(state::git(revision, &project.config.source)?));
    }
    if name.starts_with("postgres://") || name.starts_with("postgresql://") {
        return Ok(state::database(&Target::parse(name)?, scope, &bench.waits).await?);
    }
    if project.config.environments.contains_key(name) {
        let place = project.config.place(Some(name), None, &crate::project::variable)?;
        return Ok(state::database(&target(&place)?, scope, &bench.waits).await?);
    }
    Ok(state::path(Path::new(name), bench, scope).await?)
}

/// The desired state of the project.
///
/// # Errors
/// A source that cannot be read.
pub async fn source(project: &Project, scope: &Scope, bench: &mut Workbench) -> Result<crate::source::Desired, CliError> {
    Ok(state::path(&project.config.source, bench, scope).await?.into_end())
}

/// The plan from a live database to a desired state.
///
/// # Errors
/// See [`compute`].
pub async fn from_database(
    session: &Session,
    desired: crate::source::Desired,
    scope: &Scope,
    policy: Policy,
    prove: bool,
    bench: &mut Workbench,
) -> Result<Computed, CliError> {
    let live = live(session, scope, &bench.waits).await?;
    Box::pin(from_live(session, live, desired, scope, policy, prove, bench)).await
}

/// What a live database holds, without its dependencies.
///
/// # Errors
/// A database that cannot be read.
pub async fn live(session: &Session, scope: &Scope, waits: &Waits) -> Result<Live, CliError> {
    Ok(introspect_live(session, scope.managed, waits).await.map_err(EngineError::from)?)
}

/// The plan from what a live database holds to a desired state.
///
/// # Errors
/// See [`compute`].
pub async fn from_live(
    session: &Session,
    mut live: Live,
    mut desired: crate::source::Desired,
    scope: &Scope,
    policy: Policy,
    prove: bool,
    bench: &mut Workbench,
) -> Result<Computed, CliError> {
    let under_way = under_way(session).await?;
    // Dependencies are asked for only when something differs that counts.
    live.catalog = scope.live(live.catalog, &desired.catalog)?;
    desired.catalog = scope.desired(desired.catalog, &live.catalog);
    crate::engine::scope::match_unnamed(&live.catalog, &mut desired.catalog, &desired.hints, session.server_version);
    if !crate::engine::same(&live.catalog, &desired.catalog) {
        live.read_dependencies(session).await.map_err(EngineError::from)?;
    }
    if !under_way.is_empty() {
        let units = under_way.iter().flat_map(crate::engine::in_flight::touched).collect();
        desired.catalog = crate::engine::in_flight::hold(&live.catalog, desired.catalog, &units);
    }
    let request = Request {
        session: Some(session),
        live: live.catalog,
        live_is_elaborated: true,
        desired,
        scope,
        policy,
        prove,
        for_session: true,
        server: None,
    };
    Ok(compute(request, bench).await?)
}

/// The plans that were begun on a database and are not finished.
///
/// # Errors
/// A ledger that cannot be read.
pub async fn under_way(session: &Session) -> Result<Vec<crate::plan::Plan>, CliError> {
    use crate::apply::PlanState;
    let mut plans = Vec::new();
    for status in crate::apply::status::plans(session.client()).await? {
        if matches!(status.state, PlanState::Done | PlanState::RolledBack) || !status.begun() {
            continue;
        }
        if let Some(text) = crate::apply::status::plan_text(session.client(), &status.name).await? {
            plans.push(crate::plan::file::read(Path::new(&status.name), &text)?);
        }
    }
    Ok(plans)
}

/// Whether what a plan relies on is as it says.
///
/// # Errors
/// [`crate::error::Code::Refused`], with what moved.
pub fn check_fits(plan: &crate::plan::Plan, live: &Catalog, scope: &Scope) -> Result<(), CliError> {
    let counts = |catalog: &crate::catalog::Catalog, id: &crate::catalog::Id| {
        let recorded = plan.relies_on.iter().any(|reliance| reliance.parts.iter().any(|(part, _)| part == id));
        let implied = id.kind == "owner" || scope.ignore.iter().any(|rule| rule.matches(id));
        recorded || (catalog.contains(id) && !implied)
    };
    let parts = |id: &crate::catalog::Id| {
        crate::plan::assemble::parts_of(live, id).into_iter().filter(|part| counts(live, part)).collect::<Vec<_>>()
    };
    let stale = crate::apply::stale::check_reliance(plan, live, parts);
    if stale.is_empty() {
        return Ok(());
    }
    let list = stale.iter().map(|one| format!("  {one}")).collect::<Vec<_>>().join("\n");
    Err(CliError::refused(
        format!("{} no longer fits this database, nothing was touched:\n{list}", plan.name),
        "see what is different with `schema diff`, then make the plan again: schema plan",
    ))
}

/// Whether what is kept on this database lets a plan run: it may have been made where nothing is.
///
/// # Errors
/// [`crate::error::Code::Refused`], with what to do first.
pub async fn check_kept(plan: &crate::plan::Plan, session: &Session) -> Result<(), CliError> {
    let found = crate::engine::kept::in_the_way(session, plan).await?;
    let list = found.iter().fold(String::new(), |list, one| list + "\n  " + &one.text);
    match found.into_iter().next() {
        None => Ok(()),
        Some(first) => Err(CliError::refused(format!("{} cannot run here, nothing was touched:{list}", plan.name), first.help)),
    }
}

/// What plans under way on a live database touch stays, in the state that it is compared with, as it is there.
async fn held(live: &State, other: State) -> Result<State, CliError> {
    let State::Database { session: Some(session), catalog: live, .. } = live else { return Ok(other) };
    let hold = async |catalog: Catalog| -> Result<Catalog, CliError> {
        let plans = under_way(session).await?;
        let units = plans.iter().flat_map(crate::engine::in_flight::touched).collect();
        Ok(if plans.is_empty() { catalog } else { crate::engine::in_flight::hold(live, catalog, &units) })
    };
    Ok(match other {
        State::Files(mut desired) => {
            desired.catalog = hold(std::mem::take(&mut desired.catalog)).await?;
            State::Files(desired)
        }
        State::Database { session: None, catalog, server } => State::Database { session: None, catalog: hold(catalog).await?, server },
        other => other,
    })
}

/// The plan between two states.
///
/// # Errors
/// See [`compute`].
pub async fn between(
    from: State,
    to: State,
    scope: &Scope,
    policy: Policy,
    prove: bool,
    bench: &mut Workbench,
) -> Result<Computed, CliError> {
    let to = held(&from, to).await?;
    let from = held(&to, from).await?;
    let (live, live_is_elaborated, session, server) = from.into_start();
    let server = server.or(match &to {
        State::Database { server, .. } => Some(*server),
        _ => None,
    });
    let desired = to.into_end();
    let request =
        Request { session: session.as_deref(), live, live_is_elaborated, desired, scope, policy, prove, for_session: false, server };
    Ok(Box::pin(compute(request, bench)).await?)
}

/// Objects of a catalog for people: `412 objects`.
#[must_use]
pub fn counted(catalog: &Catalog) -> String {
    match catalog.objects.len() {
        1 => "1 object".to_owned(),
        more => format!("{} objects", crate::plan::render::number(more as u64)),
    }
}
