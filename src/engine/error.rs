//! What can go wrong between reading two states and a proven plan.

use crate::error::{CliError, Code};
use crate::kdl::Diagnostics;
use crate::pg::introspect::IntrospectError;
use crate::pg::waits::Blocked;
use crate::pg::{ServerError, SessionError, is_connection_lost};
use crate::plan::PlanError;
use crate::source::ReadError;

/// Why there is no plan. Nothing was touched.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The desired state says something that cannot be.
    #[error(transparent)]
    Findings(#[from] Diagnostics),
    /// The desired state cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A catalog query failed.
    #[error(transparent)]
    Introspect(#[from] IntrospectError),
    /// A connection failed.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// No scratch server.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// Objects without a kind stand in a managed schema.
    #[error("the database holds what schema does not model yet:\n{}", .0.iter().map(|name| format!("  {name}")).collect::<Vec<_>>().join("\n"))]
    Unmodelled(Vec<String>),
    /// A state cannot be named.
    #[error("{message}")]
    State {
        /// What is wrong.
        message: String,
        /// What to do.
        help: String,
    },
    /// The live objects cannot be made on the scratch server.
    #[error("the scratch server does not take what the database holds:\n{0}")]
    Rebuild(String),
    /// A defect of schema.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The plan does not do on the scratch server what it says.
    #[error("the plan was run on a scratch server and does not end in the desired state; nothing was touched.\n{0}")]
    Unproven(String),
    /// Somebody else holds a lock for too long.
    #[error(transparent)]
    Blocked(#[from] Blocked),
    /// A query about sizes failed.
    #[error("cannot read sizes: {0}")]
    Facts(String),
}

impl From<EngineError> for CliError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Findings(diagnostics) => diagnostics.into(),
            EngineError::Read(ReadError::Findings(diagnostics)) => diagnostics.into(),
            EngineError::Read(error) => Self::new(Code::Error, error),
            EngineError::Session(error) => error.into(),
            EngineError::Introspect(IntrospectError::Query { source, .. }) if is_connection_lost(&source) => source.into(),
            EngineError::Introspect(IntrospectError::Blocked(_)) | EngineError::Blocked(_) => {
                Self::failed(error.to_string(), "wait until that lock is gone, then the same command again")
            }
            EngineError::Unmodelled(ref names) => {
                let example = names.first().map_or("table=\"audit.*\"".to_owned(), |name| {
                    let (kind, path) = name.split_once(' ').unwrap_or(("object", name));
                    format!("{kind}=\"{path}\"")
                });
                Self::failed(
                    error.to_string(),
                    format!(
                        "it would be passed over, so nothing is done. Say so for each in schema.kdl, for example:\nignore {example} reason=\"made by hand\""
                    ),
                )
            }
            EngineError::Facts(ref text) if text.contains("(SQLSTATE 42501)") => Self::failed(
                error.to_string(),
                "a plan rests on how many rows the tables hold that it changes, and on whether they hold NULLs: GRANT SELECT on them to this role, or plan as the one that applies",
            ),
            EngineError::Plan(PlanError::Cycle(_) | PlanError::Backwards(_)) => Self::failed(
                error.to_string(),
                "nothing was touched; make two plans of it: put the source as it should be half-way first. That one plan cannot do it is a defect of schema",
            ),
            EngineError::State { message, help } => Self::failed(message, help),
            EngineError::Unproven(ref text) if text.contains("(SQLSTATE 42846)") => Self::failed(
                error.to_string(),
                "PostgreSQL has no cast between these types: say how a value becomes the new one, backfill \"expression\" at the column",
            ),
            EngineError::Unproven(ref text) if text.contains("would overlap partition") => Self::failed(
                error.to_string(),
                "the partition that is in the way goes when no client of the old release is left: let it go in a plan of its own, before this one",
            ),
            // Its class and its words are those of CheckCmdReplicaIdentity alone.
            EngineError::Unproven(ref text) if text.contains("cannot update table") => Self::failed(
                error.to_string(),
                "a publication sends the updates of this table, which has no replica identity for them: nobody can update a row of it, clients neither; \
                 give it one first, in a plan of its own (a primary key, or `replica-identity full`)",
            ),
            EngineError::Unproven(_) => Self::failed(
                error.to_string(),
                "this is a defect of schema or a difference between the servers; `--no-proof` makes the plan without this check, and says so in it",
            ),
            EngineError::Rebuild(_) => {
                Self::failed(error.to_string(), "name a server that has what is missing as `scratch` in schema.kdl, or ignore the objects")
            }
            other => Self::message(Code::Error, other.to_string()),
        }
    }
}
