//! The errors that reach a person: what went wrong, what to do, and the exit code.

use std::fmt;

use miette::{Diagnostic, MietteDiagnostic, Report};

use crate::apply::ApplyError;
use crate::config::ConfigError;
use crate::kdl::Diagnostics;
use crate::pg::SessionError;

/// What the program ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// Done, or nothing to do.
    Done = 0,
    /// An error, usage errors included.
    Error = 1,
    /// There are differences or findings.
    Differences = 2,
    /// Refused: not approved, stale, a forbidden hazard, a gate that is not met.
    Refused = 3,
    /// The database cannot be reached.
    Unreachable = 4,
    /// Interrupted; it can be resumed.
    Interrupted = 5,
}

impl From<Code> for std::process::ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code as u8)
    }
}

/// An error with its exit code.
pub struct CliError {
    code: Code,
    /// Nothing where there is nothing to say.
    report: Option<Report>,
}

impl CliError {
    /// Any diagnostic, with this exit code.
    pub fn new(code: Code, diagnostic: impl Diagnostic + Send + Sync + 'static) -> Self {
        Self { code, report: Some(Report::new(diagnostic)) }
    }

    /// A message with this exit code.
    pub fn message(code: Code, message: impl Into<String>) -> Self {
        Self::new(code, MietteDiagnostic::new(message))
    }

    /// A message and what to do about it.
    pub fn with_help(code: Code, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(code, MietteDiagnostic::new(message).with_help(help))
    }

    /// An error that a person can do something about.
    pub fn failed(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::with_help(Code::Error, message, help)
    }

    /// What is not done for a reason of policy.
    pub fn refused(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::with_help(Code::Refused, message, help)
    }

    /// Nothing to say, but this exit code.
    #[must_use]
    pub const fn silent(code: Code) -> Self {
        Self { code, report: None }
    }

    /// A part of the program that is still to come.
    #[must_use]
    pub fn not_built(what: &str) -> Self {
        Self::message(Code::Error, format!("`schema {what}` is not built yet"))
    }

    /// Something went wrong with a file.
    #[must_use]
    pub fn file(doing: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::message(Code::Error, format!("cannot {doing} {}: {error}", path.display()))
    }

    /// What the program ends with.
    #[must_use]
    pub const fn code(&self) -> Code {
        self.code
    }

    /// What is shown.
    #[must_use]
    pub const fn report(&self) -> Option<&Report> {
        self.report.as_ref()
    }
}

impl fmt::Debug for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.report {
            Some(report) => write!(f, "{report} (exit code {})", self.code as u8),
            None => write!(f, "exit code {}", self.code as u8),
        }
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.report.as_ref().map_or(Ok(()), |report| fmt::Display::fmt(report, f))
    }
}

impl std::error::Error for CliError {}

impl From<ConfigError> for CliError {
    fn from(error: ConfigError) -> Self {
        Self::new(Code::Error, error)
    }
}

impl From<crate::source::WriteError> for CliError {
    fn from(error: crate::source::WriteError) -> Self {
        Self::new(Code::Error, error)
    }
}

impl From<Diagnostics> for CliError {
    fn from(error: Diagnostics) -> Self {
        Self::new(Code::Error, error)
    }
}

impl From<SessionError> for CliError {
    fn from(error: SessionError) -> Self {
        let code = match &error {
            SessionError::Sql(_) if error.is_connection_lost() => Code::Unreachable,
            SessionError::Sql(_) if error.is_pooled() => Code::Refused,
            SessionError::BadUrl { .. } | SessionError::Sql(_) => Code::Error,
            SessionError::Unreachable { .. } | SessionError::Auth { .. } | SessionError::Tls { .. } => Code::Unreachable,
        };
        let text = error.to_string();
        if text.contains("permission denied for") && text.contains("schema_ledger") {
            let help = "the role that owns the ledger lets others read it: GRANT USAGE ON SCHEMA schema_ledger TO role; GRANT SELECT ON ALL TABLES IN SCHEMA schema_ledger TO role; (to apply: INSERT, UPDATE and DELETE too)";
            return Self::with_help(code, text, help);
        }
        Self::message(code, text)
    }
}

impl From<tokio_postgres::Error> for CliError {
    fn from(error: tokio_postgres::Error) -> Self {
        SessionError::from(error).into()
    }
}

impl From<ApplyError> for CliError {
    fn from(error: ApplyError) -> Self {
        let code = match error.exit_code() {
            3 => Code::Refused,
            4 => Code::Unreachable,
            5 => Code::Interrupted,
            _ => Code::Error,
        };
        Self::message(code, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes() {
        let unreachable = SessionError::Unreachable { target: "d at h:1".into(), cause: "refused".into(), hint: "start it".into() };
        assert_eq!(CliError::from(unreachable).code(), Code::Unreachable);
        assert_eq!(CliError::from(SessionError::BadUrl { reason: "x".into() }).code(), Code::Error);
        let lost = ApplyError::Lost { doing: "x".into(), cause: "y".into(), command: "schema apply".into() };
        assert_eq!(CliError::from(lost).code() as u8, 5);
    }
}
