//! Runs a plan on the live state, made anew on a scratch server, and compares the result.

use std::fmt::Write as _;

use super::fill::{fill, provide_for};
use super::{EngineError, Scope, Workbench};
use crate::catalog::Catalog;
use crate::catalog::id::literal;
use crate::kind::lowering::Hints;
use crate::kind::{Object, not_null};
use crate::pg::Session;
use crate::pg::introspect::introspect;
use crate::plan::plan::{Step, Work};
use crate::plan::{Facts, Plan};

/// Proves that `plan` leads from `live` to `desired`. `again` is what the scratch server makes of the live texts and
/// of the desired ones.
pub async fn prove(
    bench: &mut Workbench,
    live: &Catalog,
    desired: &Catalog,
    again: [&Catalog; 2],
    plan: &Plan,
    facts: &Facts,
    scope: &Scope,
) -> Result<(), EngineError> {
    let (_, session) = bench.database("proof").await?;
    if !live.contains(&crate::kind::schema::Schema::id_of("public")) {
        session.client().batch_execute("DROP SCHEMA IF EXISTS public").await.map_err(crate::pg::SessionError::from)?;
    }
    let rejected = fill(&session, live, |_| true).await?;
    if !rejected.is_empty() {
        let list = rejected.iter().map(|one| format!("  {}: {}", one.id, crate::pg::explain(&one.error))).collect::<Vec<_>>().join("\n");
        return Err(EngineError::Rebuild(list));
    }
    session.client().batch_execute("RESET ALL; SET check_function_bodies = off").await.map_err(crate::pg::SessionError::from)?;
    if let Some(role) = &facts.role {
        // What default privileges give depends on who makes an object.
        let name = crate::catalog::id::quote(role);
        let _ = session.client().batch_execute(&format!("CREATE ROLE {name} SUPERUSER")).await;
        session
            .client()
            .batch_execute(&format!("ALTER ROLE {name} SUPERUSER; SET ROLE {name}"))
            .await
            .map_err(crate::pg::SessionError::from)?;
    }
    for (_, step) in plan.steps() {
        run(&session, step).await?;
    }
    let mut result = introspect(&session, scope.managed).await?.catalog;
    result.unmodelled.clear();
    if facts.server < not_null::NAMED {
        // A newer server stands in for the one that has no such names.
        not_null::settle(&Catalog::default(), &mut result, &Hints::default(), facts.server);
    }
    let mut differences = String::new();
    for (id, wanted) in &desired.objects {
        if let Object::Owner(owner) = wanted
            && !result.contains(id)
        {
            let _ = writeln!(differences, "  {} has no owner {}", owner.on, owner.role);
            continue;
        }
        match result.get(id) {
            None => {
                let _ = writeln!(differences, "  {id} is missing");
            }
            Some(found) if found == wanted => {}
            // Unchanged by the plan, only deparsed once more, or over something that has changed beneath it.
            Some(found) if live.get(id) == Some(wanted) && again.iter().any(|made| made.get(id) == Some(found)) => {}
            Some(found) => {
                let _ = writeln!(differences, "  {id} is\n    {found:?}\n  and not\n    {wanted:?}");
            }
        }
    }
    for (id, object) in &result.objects {
        let implied = match object {
            Object::Owner(_) => true,
            // A column with privileges of its own.
            Object::ViewColumn(_) => !scope.managed.grants,
            Object::Comment(comment) => comment.on.kind == "extension",
            _ => false,
        };
        if !desired.contains(id) && !implied {
            let _ = writeln!(differences, "  {id} is left over");
        }
    }
    if differences.is_empty() { Ok(()) } else { Err(EngineError::Unproven(differences)) }
}

async fn run(session: &Session, step: &Step) -> Result<(), EngineError> {
    let statements: Vec<String> = match &step.work {
        Work::Sql(statements) => statements.clone(),
        Work::Backfill(backfill) => {
            let settings =
                backfill.settings.iter().map(|(name, value)| format!("SELECT set_config({}, {}, true)", literal(name), literal(value)));
            settings.chain([backfill.whole()]).collect()
        }
    };
    let inside = step.transaction != crate::plan::Transaction::Outside;
    for _ in 0..64 {
        let mut failed = None;
        if inside {
            session.client().batch_execute("BEGIN").await.map_err(crate::pg::SessionError::from)?;
        }
        for statement in &statements {
            if let Err(error) = session.client().batch_execute(statement).await {
                failed = Some((statement, error));
                break;
            }
        }
        if inside {
            let end = if failed.is_some() { "ROLLBACK" } else { "COMMIT" };
            if let Err(error) = session.client().batch_execute(end).await {
                failed = Some((statements.last().expect("a step has a statement"), error));
            }
        }
        let Some((statement, error)) = failed else { return Ok(()) };
        if !provide_for(session, &error).await {
            return Err(EngineError::Unproven(format!(
                "step {} ({}) fails: {}\n  {statement}",
                step.number,
                step.title,
                crate::pg::explain(&error)
            )));
        }
    }
    Err(EngineError::Unproven(format!("step {} ({}) asks for ever more roles", step.number, step.title)))
}
