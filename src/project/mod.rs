//! The files of a project: configuration, plans, approvals; read as typed data, written atomically.

pub mod files;
pub mod plans;

use std::path::PathBuf;

use crate::config::{Address, Config, Place};
use crate::error::CliError;
use crate::pg::{Session, Target, connect};

/// A project with what the command line says beyond its configuration.
#[derive(Clone, Debug)]
pub struct Project {
    /// The configuration, `--source` and `--plans` already put in.
    pub config: Config,
    /// `--env`.
    pub env: Option<String>,
    /// `--url`.
    url: Option<String>,
}

/// What the command line says of the project.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// The environment.
    pub env: Option<String>,
    /// The connection string.
    pub url: Option<String>,
    /// The desired state.
    pub source: Option<PathBuf>,
    /// The folder of plans.
    pub plans: Option<PathBuf>,
}

impl Project {
    /// The project of the current folder.
    ///
    /// # Errors
    /// A current folder that is gone, or a configuration that is wrong.
    pub fn open(overrides: Overrides) -> Result<Self, CliError> {
        let here = std::env::current_dir().map_err(|error| CliError::file("find", std::path::Path::new("."), &error))?;
        let mut config = Config::find(&here)?;
        let Overrides { env, url, source, plans } = overrides;
        if let Some(source) = source {
            config.source = here.join(source);
        }
        if let Some(plans) = plans {
            config.plans = here.join(plans);
        }
        Ok(Self { config, env, url })
    }

    /// The database that is meant, with its environment.
    ///
    /// # Errors
    /// See [`Config::place`].
    pub fn place(&self) -> Result<Place<'_>, CliError> {
        Ok(self.config.place(self.env.as_deref(), self.url.as_deref(), &variable)?)
    }

    /// For how many seconds what is dropped is kept, in the environment that is meant.
    #[must_use]
    pub fn quarantine(&self) -> Option<u64> {
        let environment = self.place().ok().and_then(|place| place.environment);
        environment.map_or(self.config.quarantine, |environment| environment.quarantine).map(|time| time.as_secs())
    }

    /// Whether the command line names a database.
    #[must_use]
    pub const fn names_database(&self) -> bool {
        self.env.is_some() || self.url.is_some()
    }

    /// What a command that is told to a person needs to find the same database: ` --env NAME`, or nothing. Connection
    /// strings are not repeated.
    #[must_use]
    pub fn env_flag(&self) -> String {
        self.env.as_ref().map(|env| format!(" --env {env}")).unwrap_or_default()
    }

    /// A path as people see it: relative to the current folder where that is shorter.
    #[must_use]
    pub fn shown(&self, path: &std::path::Path) -> String {
        let here = std::env::current_dir().unwrap_or_default();
        path.strip_prefix(&here).unwrap_or(path).display().to_string()
    }
}

/// An environment variable, if it is set and readable.
#[must_use]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Where a [`Place`] connects to.
///
/// # Errors
/// A connection string that cannot be understood.
pub fn target(place: &Place<'_>) -> Result<Target, CliError> {
    Ok(match &place.address {
        Address::Url(url) => Target::parse(url)?,
        Address::Variables => Target::from_env()?,
    })
}

/// A connection to a [`Place`].
///
/// # Errors
/// A connection string that cannot be understood, a server that cannot be reached.
pub async fn session(place: &Place<'_>) -> Result<Session, CliError> {
    Ok(connect(&target(place)?).await?)
}

/// A database with its server's version, for people: `digital_twin at db1:5432, PostgreSQL 15.18`.
#[must_use]
pub fn described(session: &Session) -> String {
    let version = session.server_version_text.split(' ').next().unwrap_or_default();
    format!("{}, PostgreSQL {version}", session.target().describe())
}
