//! What PostgreSQL makes of a state when something in it is renamed: asked of the scratch server.

use super::{EngineError, Workbench};
use crate::catalog::Catalog;
use crate::pg::SessionError;
use crate::pg::introspect::{Managed, introspect};
use crate::plan::Input;
use crate::plan::renames::{InPlace, in_place, rewritten};

/// The objects that say something else behind the renames in place: how a view calls its columns then, or what a literal
/// holds, only the server knows. Nothing where none does.
///
/// # Errors
/// The scratch server is lost.
pub async fn read(bench: &Workbench, input: &Input<'_>) -> Result<Catalog, EngineError> {
    if input.hints.renames.is_empty() && input.hints.part_renames.is_empty() {
        return Ok(Catalog::default());
    }
    let InPlace { renames, after } = in_place(input);
    let (Some(after), Some(database)) = (after, bench.latest("live")) else { return Ok(Catalog::default()) };
    let wanted: Vec<_> = rewritten(&after, input.live).collect();
    if wanted.is_empty() {
        return Ok(Catalog::default());
    }
    let session = bench.connect(database).await?;
    let mut statements = vec!["BEGIN".to_owned()];
    statements.extend(renames.into_iter().flat_map(|(op, _)| op.action.sql));
    let mut said = Catalog::default();
    // What it refuses, it refuses where the plan is proven, with its words.
    if session.client().batch_execute(&statements.join(";\n")).await.is_ok() {
        let found = introspect(&session, Managed::default()).await?.catalog;
        said.objects = wanted.into_iter().filter_map(|id| Some((id.clone(), found.get(id)?.clone()))).collect();
    }
    session.client().batch_execute("ROLLBACK").await.map_err(SessionError::from)?;
    session.close().await;
    Ok(said)
}
