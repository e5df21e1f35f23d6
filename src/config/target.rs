//! Which database is meant.

use super::read::undefined;
use super::{Config, ConfigError, Environment, Url, UrlForm};
use crate::kdl::{Finding, Findings};
use crate::pg::Target;
use crate::plan::policy::Policy;

/// Where a database is.
#[derive(Clone, PartialEq, Eq)]
pub enum Address {
    /// A connection string.
    Url(String),
    /// What the `PG*` variables say.
    Variables,
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Url(_) => "Url(hidden)",
            Self::Variables => "Variables",
        })
    }
}

/// A database, and the environment whose rules hold for it.
#[derive(Clone, Debug)]
pub struct Place<'c> {
    /// The environment; none where only a URL is known.
    pub environment: Option<&'c Environment>,
    /// Where.
    pub address: Address,
    /// The hazard policy that holds there.
    pub policy: &'c Policy,
}

/// Whether two connection strings lead to one database, whatever else they say: as whom, under which name, how encrypted.
fn same_database(one: &str, other: &str) -> bool {
    one == other
        || match (Target::parse(one), Target::parse(other)) {
            (Ok(one), Ok(other)) => one.endpoints == other.endpoints && one.database == other.database,
            _ => false,
        }
}

impl Config {
    /// The database that is meant: `--env`, `--url`, or the default environment; without any
    /// environment in schema.kdl `DATABASE_URL`, then the `PG*` variables. A URL that is the one of
    /// an environment is that environment: its rules cannot be gone around by spelling it out.
    ///
    /// # Errors
    /// A name that is not defined, a variable that is not set, or nothing that says which.
    pub fn place(&self, env: Option<&str>, url: Option<&str>, variable: &dyn Fn(&str) -> Option<String>) -> Result<Place<'_>, ConfigError> {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        if let Some(name) = env.or(self.default_env.as_deref().filter(|_| url.is_none())) {
            let environment = self.environments.get(name).ok_or_else(|| self.error(undefined(self, name, None)))?;
            let address = match (url, &environment.url) {
                (Some(url), _) => url.to_owned(),
                (None, Some(url)) => self.url(url, &variable)?,
                (None, None) => {
                    let finding = Finding::at(environment.span, format!("environment `{name}` has no url"));
                    return Err(self.error(finding.help("add `url (env)DATABASE_URL`, or name one with --url")));
                }
            };
            return Ok(Place { environment: Some(environment), address: Address::Url(address), policy: &environment.policy });
        }
        if let Some(url) = url {
            let same = |environment: &&Environment| {
                environment.url.as_ref().is_some_and(|own| self.url(own, &variable).is_ok_and(|own| same_database(&own, url)))
            };
            let environment = self.environments.values().find(same);
            let policy = environment.map_or(&self.policy, |environment| &environment.policy);
            return Ok(Place { environment, address: Address::Url(url.to_owned()), policy });
        }
        if !self.environments.is_empty() {
            let names = self.environments.keys().map(|name| format!("--env {name}")).collect::<Vec<_>>().join(", ");
            let finding = Finding::general("which database? schema.kdl defines environments and no default-env");
            return Err(self.error(finding.help(format!("say {names}, or --url, or write `default-env` into schema.kdl"))));
        }
        let address = match variable("DATABASE_URL") {
            Some(url) => Address::Url(url),
            None if ["PGHOST", "PGHOSTADDR", "PGDATABASE", "PGSERVICE", "PGUSER", "PGPORT"].iter().any(|name| variable(name).is_some()) => {
                Address::Variables
            }
            None => {
                let finding = Finding::general(
                    "which database? there is no --url, no schema.kdl with an env, no DATABASE_URL and no PGHOST or PGDATABASE",
                );
                return Err(self.error(finding.help("say --url postgres://user@host/database")));
            }
        };
        Ok(Place { environment: None, address, policy: &self.policy })
    }

    /// The scratch server of the configuration, if it names one.
    ///
    /// # Errors
    /// Its variable is not set.
    pub fn scratch_url(&self, variable: &dyn Fn(&str) -> Option<String>) -> Result<Option<String>, ConfigError> {
        self.scratch.as_ref().map(|url| self.url(url, variable)).transpose()
    }

    fn url(&self, url: &Url, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, ConfigError> {
        match &url.form {
            UrlForm::Literal(text) => Ok(text.clone()),
            UrlForm::Variable(name) => variable(name).filter(|value| !value.is_empty()).ok_or_else(|| {
                let finding = Finding::at(url.span, format!("the environment variable {name} is not set")).label("read from here");
                self.error(finding.help(format!("set it: export {name}=postgres://user@host/database")))
            }),
        }
    }

    fn error(&self, finding: Finding) -> ConfigError {
        let mut findings = Findings::new();
        findings.push(finding);
        findings.into_report(&self.sources).into()
    }
}
