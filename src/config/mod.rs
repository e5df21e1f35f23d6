//! The project's configuration, schema.kdl: where things are, and what may be done to each
//! environment.

pub mod duration;
pub mod ignore;
mod pacing;
mod read;
mod target;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use indexmap::IndexMap;

pub use self::ignore::{INHERITANCE, Ignore};
pub use self::pacing::Pacing;
pub use self::target::{Address, Place};
use crate::kdl::{Diagnostics, Sources, Span};
use crate::plan::plan::Gate;
use crate::plan::policy::Policy;

/// The name of the file, looked for in the current folder and the folders above.
pub const FILE_NAME: &str = "schema.kdl";

/// The configuration of a project. Without a file: the defaults.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it was read from.
    pub file: Option<PathBuf>,
    /// The folder that holds the file; paths are relative to it.
    pub root: PathBuf,
    /// The desired state: a folder of KDL files, or a `.sql` file.
    pub source: PathBuf,
    /// The folder of plans and approvals.
    pub plans: PathBuf,
    /// The environment that is meant where none is named.
    pub default_env: Option<String>,
    /// The environments, in the order of the file.
    pub environments: IndexMap<String, Environment>,
    /// The hazard policy where no environment changes it.
    pub policy: Policy,
    /// Below so many rows the direct statement is used where it is as safe.
    pub small_table_rows: u64,
    /// How long a statement waits for a lock before it steps back.
    pub lock_timeout: Duration,
    /// How long it is tried again.
    pub retry_for: Duration,
    /// How long a statement outside a transaction may take, as CONCURRENTLY does.
    pub concurrently: Duration,
    /// How long dropped tables and columns are kept under another name; `None`: not at all.
    pub quarantine: Option<Duration>,
    /// What must hold before contract in every environment; goes into the plans.
    pub gate: Option<Gate>,
    /// What makes backfills hold, and how long they pause.
    pub backfill: Pacing,
    /// What is declared besides structure.
    pub manage: Manage,
    /// What is left alone.
    pub ignore: Vec<Ignore>,
    /// A server on which texts are elaborated and plans are proven.
    pub scratch: Option<Url>,
    /// The text of the file, for errors that show a place in it.
    sources: Sources,
}

/// One environment.
#[derive(Clone, Debug)]
pub struct Environment {
    /// Its name.
    pub name: String,
    /// Where its database is.
    pub url: Option<Url>,
    /// Whether `apply` needs no plan file.
    pub direct: bool,
    /// How many approvals a plan needs.
    pub approvals: u32,
    /// The project's policy with this environment's changes.
    pub policy: Policy,
    /// How long dropped tables and columns are kept here under another name.
    pub quarantine: Option<Duration>,
    /// What must hold before contract.
    pub gate: Option<Gate>,
    /// Bytes of disk that plans may fill.
    pub disk_free: Option<u64>,
    /// The project's numbers for backfills with this environment's changes.
    pub backfill: Pacing,
    /// Where it is defined.
    span: Span,
}

/// What counts besides structure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Manage {
    /// Grants are declared; those that are not are revoked.
    pub grants: bool,
    /// Owners are declared.
    pub owners: bool,
}

/// A connection string, or the variable that holds one. `Debug` hides the string: it may hold a
/// password.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    form: UrlForm,
    span: Span,
}

#[derive(Clone, PartialEq, Eq)]
enum UrlForm {
    Literal(String),
    Variable(String),
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.form {
            UrlForm::Literal(_) => f.write_str("(hidden)"),
            UrlForm::Variable(name) => write!(f, "(env){name}"),
        }
    }
}

/// Why there is no configuration, or no database in it.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum ConfigError {
    /// The file is there and cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Something in the file, or in how it is used, is wrong.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Invalid(#[from] Diagnostics),
}

impl Config {
    /// The defaults, for the folder `root`.
    #[must_use]
    pub fn defaults(root: &Path) -> Self {
        Self {
            file: None,
            root: root.to_owned(),
            source: root.join("schema"),
            plans: root.join("plans"),
            default_env: None,
            environments: IndexMap::new(),
            policy: Policy::default(),
            small_table_rows: 10_000,
            lock_timeout: Duration::from_secs(2),
            retry_for: Duration::from_mins(15),
            concurrently: Duration::from_hours(24),
            quarantine: None,
            gate: None,
            backfill: Pacing::default(),
            manage: Manage::default(),
            ignore: Vec::new(),
            scratch: None,
            sources: Sources::new(),
        }
    }

    /// Reads the nearest schema.kdl in `start` (an absolute path) or the folders above it. Without
    /// one: the defaults for `start`.
    ///
    /// # Errors
    /// A file that cannot be read or says something wrong.
    pub fn find(start: &Path) -> Result<Self, ConfigError> {
        for folder in start.ancestors() {
            let path = folder.join(FILE_NAME);
            match std::fs::read_to_string(&path) {
                Ok(text) => return Self::parse(&path, &text),
                // A link to nothing is meant to be one.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound && !path.is_symlink() => {}
                Err(source) => return Err(ConfigError::Read { path, source }),
            }
        }
        Ok(Self::defaults(start))
    }

    /// Reads the text of the file at `path`.
    ///
    /// # Errors
    /// Everything that is wrong in it.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        Ok(read::read(path, text)?)
    }

    /// Whether `id` is left alone.
    #[must_use]
    pub fn ignores(&self, id: &crate::catalog::Id) -> bool {
        self.ignore.iter().any(|rule| rule.matches(id))
    }
}

#[cfg(test)]
mod tests;
