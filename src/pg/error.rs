//! What can go wrong between us and a server.

use std::error::Error as _;
use std::fmt::Write as _;

use tokio_postgres::error::SqlState;

/// Why there is no session, or why a statement in it failed.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// No server answered, or it answered that it serves nobody now.
    #[error("cannot reach {target}: {cause}\n{hint}")]
    Unreachable {
        /// Database, host and port.
        target: String,
        /// The chain of causes, PostgreSQL's message included; one line for each host when there are several.
        cause: String,
        /// What to do.
        hint: String,
    },
    /// The server answered and did not accept the user.
    #[error("{target} refuses user \"{user}\": {cause}\n{hint}")]
    Auth {
        /// Database, host and port.
        target: String,
        /// The role.
        user: String,
        /// PostgreSQL's message.
        cause: String,
        /// What to do.
        hint: String,
    },
    /// The connection string cannot be understood. The reason never quotes it, for it may hold a password.
    #[error("the database URL cannot be understood: {reason}")]
    BadUrl {
        /// What is wrong with it.
        reason: String,
    },
    /// The connection could not be encrypted as `sslmode` demands.
    #[error("no trusted encrypted connection to {target}: {cause}\n{hint}")]
    Tls {
        /// Database, host and port.
        target: String,
        /// The chain of causes.
        cause: String,
        /// What to do.
        hint: String,
    },
    /// A statement failed, or the connection was lost while it ran.
    #[error("{}", explain(.0))]
    Sql(#[from] tokio_postgres::Error),
}

impl SessionError {
    /// Whether no server could be reached: waiting and trying again may help. A refused user or certificate is
    /// no such case.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }

    /// Whether it shows that the connection goes through a pooler in transaction mode.
    #[must_use]
    pub fn is_pooled(&self) -> bool {
        matches!(self, Self::Sql(error) if error.code().is_some_and(is_pooled))
    }

    /// Whether an established connection went away, so that it is unknown what became of the statement.
    #[must_use]
    pub fn is_connection_lost(&self) -> bool {
        matches!(self, Self::Sql(error) if is_connection_lost(error))
    }
}

/// Our own statements are prepared and used in one session: they are unknown, or known already, only in another one.
fn is_pooled(code: &SqlState) -> bool {
    [SqlState::INVALID_SQL_STATEMENT_NAME, SqlState::DUPLICATE_PSTATEMENT].contains(code)
}

/// Whether `error` means that the connection is gone, as opposed to a statement that failed.
#[must_use]
pub fn is_connection_lost(error: &tokio_postgres::Error) -> bool {
    match error.code() {
        // Class 08 and the ways in which a server ends sessions (manual, appendix A).
        Some(code) => {
            code.code().starts_with("08")
                || [
                    SqlState::ADMIN_SHUTDOWN,
                    SqlState::CRASH_SHUTDOWN,
                    SqlState::IDLE_SESSION_TIMEOUT,
                    SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
                ]
                .contains(code)
        }
        None => error.is_closed() || error.source().is_some_and(<dyn std::error::Error>::is::<std::io::Error>),
    }
}

/// PostgreSQL's own words: message, detail, hint, context and SQLSTATE; for other errors the chain of causes.
#[must_use]
pub fn explain(error: &tokio_postgres::Error) -> String {
    let Some(db) = error.as_db_error() else {
        return chain(error);
    };
    let mut text = format!("{} (SQLSTATE {})", db.message(), db.code().code());
    let parts = [("detail", db.detail()), ("hint", db.hint()), ("context", db.where_())];
    for (name, part) in parts {
        if let Some(part) = part {
            // Writing to a String cannot fail.
            let _ = write!(text, "\n{name}: {part}");
        }
    }
    if is_pooled(db.code()) {
        text.push_str("\nhint: this connection goes through a pooler in transaction mode: connect to the server directly, or to a session-mode port of the pooler");
    }
    text
}

/// An error and its sources, separated by colons, a source that the text already ends with left out.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let part = source.to_string();
        if !text.ends_with(&part) {
            // Writing to a String cannot fail.
            let _ = write!(text, ": {part}");
        }
        next = source.source();
    }
    text
}
