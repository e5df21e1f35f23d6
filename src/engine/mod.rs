//! Puts the rooms together: a live state and a desired one to a proven plan.
//!
//! The only room besides `cli` that knows both the pure middle and the servers.

mod casts;
pub mod closure;
pub mod elaborate;
pub mod error;
pub mod expressions;
pub mod facts;
pub mod fill;
pub mod in_flight;
mod inherited;
pub mod kept;
mod key_names;
mod moved;
mod partition_facts;
mod partition_key;
pub mod prove;
mod renamed;
mod renames;
mod replaced;
mod retypes;
mod rights;
mod ring;
pub mod scope;
pub mod state;
mod workbench;

pub use error::EngineError;
pub use scope::Scope;
pub use state::State;
pub use workbench::Workbench;

use crate::catalog::Catalog;
use crate::kdl::Finding;
use crate::kind::lowering::Hints;
use crate::kind::{Object, not_null};
use crate::pg::Session;
use crate::plan::op::Hazard;
use crate::plan::plan::{HazardNote, Proof};
use crate::plan::{Facts, Input, Plan, PlanError, Policy};
use crate::source::Desired;

/// What a plan is asked for.
#[derive(Debug)]
pub struct Request<'a> {
    /// The live database, where the start is one: facts are read from it.
    pub session: Option<&'a Session>,
    /// The start, as it was read.
    pub live: Catalog,
    /// Whether `live` was deparsed by a server (it is a database), or is text as people wrote it.
    pub live_is_elaborated: bool,
    /// The end, as people wrote it.
    pub desired: Desired,
    /// What counts.
    pub scope: &'a Scope,
    /// What the project wants of plans.
    pub policy: Policy,
    /// Whether the plan is run on a scratch server.
    pub prove: bool,
    /// Whether it is to be run on that live database, and not only to be looked at.
    pub for_session: bool,
    /// The server version that texts are elaborated for, where the start is no database.
    pub server: Option<u32>,
}

/// A plan with the two states that it leads between.
#[derive(Debug)]
pub struct Computed {
    /// The plan; without stages when there is nothing to do.
    pub plan: Plan,
    /// The start.
    pub live: Catalog,
    /// The end, elaborated.
    pub desired: Catalog,
}

/// Computes a plan. Starts no scratch server when nothing differs.
///
/// # Errors
/// What cannot be read, elaborated, planned or proven; nothing was touched.
pub async fn compute(request: Request<'_>, bench: &mut Workbench) -> Result<Computed, EngineError> {
    let Request { session, live, live_is_elaborated, mut desired, scope, policy, prove, for_session, server } = request;
    let mut live = scope.live(live, &desired.catalog)?;
    desired.catalog = scope.desired(desired.catalog, &live);
    let version = server.or(session.map(|session| session.server_version));
    let newest = version.unwrap_or(u32::MAX);
    if !live_is_elaborated {
        not_null::settle(&Catalog::default(), &mut live, &Hints::default(), newest);
    }
    scope::match_unnamed(&live, &mut desired.catalog, &desired.hints, newest);
    inherited::settle(&live, &desired.catalog, &mut desired.hints);
    renames::check(&live, &desired.catalog, &desired.hints, || desired.origins()).or_report(&desired.sources, ())?;
    if same(&live, &desired.catalog) {
        return Ok(Computed { plan: nothing(), live, desired: desired.catalog });
    }
    desired.guess_needs();
    let (raw, mut hints, origins, sources) = desired.into_parts();
    bench.start(version).await?;
    // Where nobody says for which server, it is for one like that which elaborates and proves it.
    let server = version.or_else(|| bench.version()).unwrap_or_default();
    if !live_is_elaborated {
        live = elaborate::canonical(bench, "start", live, &indexmap::IndexMap::new(), &crate::kdl::Sources::new(), scope).await?;
    }
    let mut elaborated = elaborate::elaborate(bench, &live, &raw, &origins, &sources, scope).await?;
    if same(&live, &elaborated.desired) {
        return Ok(Computed { plan: nothing(), live, desired: elaborated.desired });
    }
    key_names::settle(&live, &elaborated.desired, &mut hints);
    partition_key::check(&live, &elaborated.desired, &hints, &origins, &sources)?;
    moved::check(&live, &elaborated.desired, &hints, &origins).or_report(&sources, ())?;
    inherited::check(&live, &elaborated.desired, &hints, &origins).or_report(&sources, ())?;
    let early = Facts { server, ..Facts::default() };
    let after_renames =
        renamed::read(bench, &Input { live: &live, desired: &elaborated.desired, hints: &hints, facts: &early, policy: &policy }).await?;
    let said = expressions::check(bench, &live, &mut elaborated, &hints, &origins, &sources, scope).await?;
    casts::check(bench, &live, &elaborated.desired, &hints, &origins).await?.or_report(&sources, ())?;
    let desired = elaborated.desired;
    let waits = bench.waits.clone();
    let facts = Box::pin(facts::read(session, bench, &live, &desired, &hints, server, policy.small_table_rows));
    // Rows are counted under a lock.
    let mut facts = match session {
        Some(session) => waits.over(&[session], facts).await??,
        None => facts.await?,
    };
    (facts.reads, facts.gives_null, facts.after_renames) = (said.reads, said.gives_null, after_renames);
    check_fill(&live, &desired, &hints, &facts, &origins, &sources)?;
    let planned = crate::plan::plan(&Input { live: &live, desired: &desired, hints: &hints, facts: &facts, policy: &policy });
    if matches!(planned, Err(PlanError::Cycle(_))) {
        ring::explain(&live, &desired, &hints, &origins).or_report(&sources, ())?;
    }
    let mut plan = planned?;
    if let Some(session) = session.filter(|_| for_session) {
        Box::pin(kept::check(session, &plan, &origins, &sources)).await?;
    }
    plan.elaborated_on = bench.describe();
    if prove && !plan.is_empty() {
        let part = |catalog: &Catalog| elaborated.confined_to.as_ref().map(|wanted| closure::restrict(catalog, wanted));
        let (start, end) = (part(&live), part(&desired));
        let (start, end) = (start.as_ref().unwrap_or(&live), end.as_ref().unwrap_or(&desired));
        prove::prove(bench, start, end, [&elaborated.reloaded, &elaborated.made], &plan, &facts, scope).await?;
        plan.proof = Proof::Proven(bench.describe());
    }
    if !prove && !plan.is_empty() {
        plan.hazards.push(HazardNote { hazard: Hazard::Unproven, subject: "it was not run on a scratch server".to_owned() });
    }
    Ok(Computed { plan, live, desired })
}

fn nothing() -> Plan {
    Plan { made_by: format!("schema {}", env!("CARGO_PKG_VERSION")), ..Plan::default() }
}

/// Whether two states hold the same objects, in whatever order.
#[must_use]
pub fn same(a: &Catalog, b: &Catalog) -> bool {
    a.same_objects(b)
}

/// NOT NULL on a table with rows needs a value for them.
fn check_fill(
    live: &Catalog,
    desired: &Catalog,
    hints: &crate::kind::lowering::Hints,
    facts: &Facts,
    origins: &indexmap::IndexMap<crate::catalog::Id, crate::kind::lowering::Origin>,
    sources: &crate::kdl::Sources,
) -> Result<(), EngineError> {
    let mut findings = crate::kdl::Findings::new();
    for (id, object) in &desired.objects {
        let Object::Column(column) = object else { continue };
        let new = live.get(id).is_none() && live.contains(&column.table) && !hints.renames.contains_key(id);
        let filled = desired.contains(&id.as_kind("default"))
            || column.identity.is_some()
            || column.generated.is_some()
            || hints.backfills.contains_key(id);
        // A partition's columns are filled with those of its table.
        let inherited = desired
            .get_as::<crate::kind::partition::Partition>(&column.table.as_kind("partition"))
            .is_some_and(|place| desired.contains(&place.parent.child("column", &column.name)));
        let holds_nulls = facts.holding_nulls.contains(id) && !filled;
        let unfilled = new && column.not_null && !filled && facts.rows(&column.table) != Some(0);
        if inherited || !(holds_nulls || unfilled) {
            continue;
        }
        let rows = facts.rows(&column.table).map_or_else(|| "rows".to_owned(), |rows| format!("about {rows} rows"));
        let message = if holds_nulls {
            format!("{id} is NOT NULL, and rows of {} hold NULL there", column.table)
        } else {
            format!("{id} is NOT NULL, and {} has {rows} that would have no value for it", column.table)
        };
        let help = "say what they get: { backfill \"an expression over the other columns\" }, or give the column a default, or leave `not-null` out";
        let finding = match origins.get(id) {
            Some(origin) => Finding::at(origin.name, message).label("nothing to fill it with").help(help),
            None => Finding::general(message).help(help),
        };
        findings.push(finding);
    }
    findings.or_report(sources, ()).map_err(EngineError::from)
}
