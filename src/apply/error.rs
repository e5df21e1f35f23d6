//! Why a run failed, in words that say what stands and how to go on.

use std::fmt;

use crate::pg::{SessionError, explain, is_connection_lost};

use super::lock::Holder;

/// Why a plan could not be applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// No connection could be made.
    #[error(transparent)]
    Unreachable(#[from] SessionError),
    /// The connection ended under way. What was committed stays; the ledger knows it.
    #[error("the connection to the server was lost while {doing}: {cause}\nWhat is committed stays and is recorded. Go on with: {command}")]
    Lost {
        /// What was being done.
        doing: String,
        /// Why it ended.
        cause: String,
        /// The command that goes on.
        command: String,
    },
    /// Another applier works on this database.
    #[error("another applier is at work on this database:\n{0}")]
    Held(Box<Holder>),
    /// The connection does not give us a session of our own.
    #[error(
        "this connection goes through a pooler in transaction mode ({reason}); `apply` needs a session of its own, because its lock lives in the session: connect to the server directly, or to a session-mode port of the pooler"
    )]
    Pooler {
        /// How it showed.
        reason: String,
    },
    /// The applier's lock or epoch is not ours any more.
    #[error("another applier has taken over this database ({reason}); nothing of this step was kept. See `schema status`")]
    Fenced {
        /// What was found instead.
        reason: String,
    },
    /// The plan file differs from what was applied in part.
    #[error(
        "plan {plan} was edited after {done} of its steps were applied: the ledger holds it with hash {applied}, the file has {file}\nPut the file back as it was (`schema history` shows when it was applied), and make a new plan for what is to change."
    )]
    Edited {
        /// The plan's name.
        plan: String,
        /// The hash in the ledger.
        applied: String,
        /// The hash of the file.
        file: String,
        /// How many steps are done.
        done: i64,
    },
    /// The plan was rolled back on this database.
    #[error("plan {plan} was rolled back on this database; to run it once more: {command} --again")]
    RolledBack {
        /// The plan's name.
        plan: String,
        /// The command for it.
        command: String,
    },
    /// Steps that were done cannot be undone.
    #[error("plan {plan} cannot be rolled back, nothing was touched: {} cannot be undone", .steps.join("; "))]
    NoWayBack {
        /// The plan's name.
        plan: String,
        /// Those steps, in words.
        steps: Vec<String>,
    },
    /// What a plan set aside is not kept any more.
    #[error(
        "plan {plan} cannot be rolled back, nothing was touched: what it set aside was purged since, and is not there: {}\nThe way on is forward: put the source as it should be, then schema plan",
        .what.join(", ")
    )]
    Purged {
        /// The plan's name.
        plan: String,
        /// The tables and columns.
        what: Vec<String>,
    },
    /// The plan is being rolled back on this database.
    #[error("plan {plan} is being rolled back on this database; first go on with: schema rollback{env} {plan}")]
    RollingBack {
        /// The plan's name.
        plan: String,
        /// ` --env NAME`, or nothing.
        env: String,
    },
    /// The server only replays what its primary does.
    #[error(
        "{target} is a standby, nothing can be changed there: name its primary in the URL, or several hosts with target_session_attrs=read-write"
    )]
    Standby {
        /// Database and host.
        target: String,
    },
    /// Between the look at the database and the lock, another applier was at work.
    #[error("another applier was at work on this database since it was looked at, nothing was touched; look again with: {command}")]
    Overtaken {
        /// The command that looks again.
        command: String,
    },
    /// The ledger belongs to a role that lets us not write it.
    #[error(
        "role {role} may not write the ledger of this database, nothing was touched: it belongs to {owner}\nApply as {owner}, or let it grant what is needed:\n  GRANT USAGE ON SCHEMA schema_ledger TO {quoted};\n  GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA schema_ledger TO {quoted};"
    )]
    LedgerDenied {
        /// Our role.
        role: String,
        /// The same, as SQL.
        quoted: String,
        /// Whose schema it is.
        owner: String,
    },
    /// A policy hides rows that a step is to read.
    #[error(
        "policies hide rows of {table} from role {role}, which the plan is to read: none may be passed over, no step was begun\nApply as a superuser, or let one grant it:\n  ALTER ROLE {role} BYPASSRLS;"
    )]
    HiddenRows {
        /// The table, as SQL.
        table: String,
        /// Our role, as SQL.
        role: String,
    },
    /// There is no ledger yet, and this role may not make one.
    #[error(
        "role {role} may not make the ledger (a schema, schema_ledger) in this database, nothing was touched\nApply once as a role that may, or let it be granted:\n  GRANT CREATE ON DATABASE {database} TO {role};"
    )]
    NoLedger {
        /// Our role, as SQL.
        role: String,
        /// The database, as SQL.
        database: String,
    },
    /// The ledger was made by a newer release.
    #[error("the ledger in this database has format {found}, this release knows {known}: use the newer release of `schema`")]
    NewerLedger {
        /// Its format.
        found: i32,
        /// The newest format we know.
        known: i32,
    },
    /// A query of our own failed.
    #[error("{doing}: {cause}\nWhat is committed stays and is recorded. When the cause is gone, go on with: {command}")]
    Query {
        /// What was being done.
        doing: String,
        /// The server's message.
        cause: String,
        /// The command that goes on.
        command: String,
    },
    /// Rows would make a later step fail.
    #[error("{0}")]
    Preflight(Box<super::preflight::Refusal>),
    /// A step failed.
    #[error("{0}")]
    Step(Box<StepFailure>),
}

impl ApplyError {
    /// The exit code of the program: 1 failed, 3 refused, 4 not reachable, 5 interrupted.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Unreachable(_) | Self::Standby { .. } => 4,
            Self::Lost { .. } => 5,
            Self::Held(_)
            | Self::Pooler { .. }
            | Self::Fenced { .. }
            | Self::Edited { .. }
            | Self::RolledBack { .. }
            | Self::Preflight(_)
            | Self::RollingBack { .. }
            | Self::Overtaken { .. }
            | Self::LedgerDenied { .. }
            | Self::NoLedger { .. }
            | Self::HiddenRows { .. }
            | Self::NoWayBack { .. }
            | Self::Purged { .. }
            | Self::NewerLedger { .. } => 3,
            Self::Query { .. } | Self::Step(_) => 1,
        }
    }

    /// Sorts an error of a query of our own into lost or failed.
    pub(super) fn query(doing: &str, error: &tokio_postgres::Error, command: &str) -> Self {
        let (doing, cause, command) = (doing.to_owned(), explain(error), command.to_owned());
        if is_connection_lost(error) { Self::Lost { doing, cause, command } } else { Self::Query { doing, cause, command } }
    }
}

/// A step that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepFailure {
    /// The plan's name.
    pub plan: String,
    /// The step's number.
    pub step: u32,
    /// What the step does.
    pub title: String,
    /// The statement or query that failed; `None` when no single one did.
    pub statement: Option<String>,
    /// The server's message, or what was found instead of what was expected.
    pub message: String,
    /// What is left of the step.
    pub kept: Kept,
    /// The command that goes on once the cause is gone.
    pub command: String,
}

/// What is left of a step that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It was one transaction, and that was rolled back.
    Nothing,
    /// It ran outside a transaction and left something half done, which was taken away again.
    CleanedUp,
    /// It ran outside a transaction and this is left, in words.
    State(String),
    /// Committed batches of a backfill: so many rows were changed.
    Rows(u64),
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("Nothing of this step was kept; the steps before it stay."),
            Self::CleanedUp => f.write_str("What it left half done was taken away again; the steps before it stay."),
            Self::State(state) => f.write_str(state),
            Self::Rows(rows) => write!(f, "The batches that are committed stay ({rows} rows were changed); it goes on from there."),
        }
    }
}

impl fmt::Display for StepFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { plan, step, title, statement, message, kept, command } = self;
        writeln!(f, "plan {plan}, step {step} ({title}) failed: {message}")?;
        if let Some(statement) = statement {
            writeln!(f, "  in: {}", statement.trim().replace('\n', "\n      "))?;
        }
        write!(f, "{kept}\nWhen the cause is gone, go on with: {command}")
    }
}
