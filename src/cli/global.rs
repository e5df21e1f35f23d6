//! What holds for every command.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::error::CliError;
use crate::project::{Overrides, Project};

/// How a result is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs; versioned.
    Json,
    /// For psql.
    Sql,
    /// For a pull request.
    Markdown,
}

impl Format {
    /// The word on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
            Self::Sql => "sql",
            Self::Markdown => "markdown",
        }
    }
}

/// Options of every command.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// The environment in schema.kdl
    #[arg(long, global = true, value_name = "NAME")]
    pub env: Option<String>,
    /// The database, as a connection string
    #[arg(long, global = true, value_name = "URL", hide_env_values = true)]
    pub url: Option<String>,
    /// The desired state: a folder or a .sql file
    #[arg(long, global = true, value_name = "PATH")]
    pub source: Option<PathBuf>,
    /// The folder of plans
    #[arg(long, global = true, value_name = "DIR")]
    pub plans: Option<PathBuf>,
    /// text, json, sql or markdown
    #[arg(long, global = true, value_name = "FORMAT", value_enum, default_value_t, hide_default_value = true, hide_possible_values = true)]
    pub format: Format,
    /// Say nothing but results and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say more
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// Use no colours, as with `NO_COLOR=1`
    #[arg(long, global = true)]
    pub no_color: bool,
}

impl Global {
    /// The project of the current folder, as the command line changes it.
    ///
    /// # Errors
    /// See [`Project::open`].
    pub fn project(&self) -> Result<Project, CliError> {
        let Self { env, url, source, plans, .. } = self.clone();
        Project::open(Overrides { env, url, source, plans })
    }

    /// The format, if it is one of those that the command can write.
    ///
    /// # Errors
    /// Another one was asked for.
    pub fn format(&self, possible: &[Format]) -> Result<Format, CliError> {
        if possible.contains(&self.format) {
            return Ok(self.format);
        }
        let list = possible.iter().map(|format| format.name()).collect::<Vec<_>>().join(", ");
        Err(CliError::failed(format!("this command has no format {}", self.format.name()), format!("it has {list}")))
    }
}
