//! The scratch server of one command: started when it is first needed, stopped at the end.

use std::path::PathBuf;

use super::EngineError;
use crate::pg::{DatabaseOptions, Installation, Scratch, ScratchOptions, ServerError, Session, Waits, find};

/// What is told while a server is looked for.
pub type Notice = Box<dyn Fn(&str) + Send + Sync>;

/// A scratch server and the databases on it.
#[derive(Default)]
pub struct Workbench {
    scratch: Option<Scratch>,
    count: u32,
    /// The databases made so far, in order.
    names: Vec<String>,
    /// Told once when a server has to be fetched.
    pub notice: Option<Notice>,
    /// For how long a live database is waited for.
    pub waits: Waits,
}

impl std::fmt::Debug for Workbench {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Workbench {{ started: {} }}", self.scratch.is_some())
    }
}

impl Workbench {
    /// A bench on which nothing is started.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts the server, if it is not: of the major version of `version` (`server_version_num`).
    pub async fn start(&mut self, version: Option<u32>) -> Result<(), EngineError> {
        if self.scratch.is_some() {
            return Ok(());
        }
        let major = version.map(|version| version / 10_000);
        let installation = self.installation(major).await?;
        // Logical, so that publications can be made; tablespaces of any name in place.
        let settings = vec![
            ("wal_level".to_owned(), "logical".to_owned()),
            ("max_wal_senders".to_owned(), "0".to_owned()),
            ("allow_in_place_tablespaces".to_owned(), "on".to_owned()),
        ];
        let settings = if installation.major >= 15 { settings } else { settings.into_iter().take(2).collect() };
        self.scratch = Some(Scratch::start(&installation, ScratchOptions { fsync: false, settings, keep: None::<PathBuf> }).await?);
        Ok(())
    }

    /// The installation of this major version; another newer one where there is none; a download
    /// where there is nothing.
    async fn installation(&self, major: Option<u32>) -> Result<Installation, ServerError> {
        match find(major) {
            Ok(installation) => Ok(installation),
            Err(error) => {
                if let Ok(other) = find(None) {
                    if let (Some(notice), Some(major)) = (&self.notice, major) {
                        notice(&format!("PostgreSQL {major} is not installed here: texts are elaborated on {}.", other.version));
                    }
                    Ok(other)
                } else {
                    if let Some(notice) = &self.notice {
                        notice("No PostgreSQL is installed here: fetching one.");
                    }
                    crate::pg::download(major, &|_| {}).await.map_err(|_| error)
                }
            }
        }
    }

    /// A new empty database and a connection to it.
    pub async fn database(&mut self, label: &str) -> Result<(String, Session), EngineError> {
        self.count += 1;
        let name = format!("{label}_{}", self.count);
        self.started()?.create_database(&name, &DatabaseOptions::default()).await?;
        self.names.push(name.clone());
        let session = self.connect(&name).await?;
        Ok((name, session))
    }

    /// A copy of one of its databases, and a connection to it. Nobody may be connected to the original.
    pub async fn copy(&mut self, label: &str, original: &str) -> Result<(String, Session), EngineError> {
        self.count += 1;
        let name = format!("{label}_{}", self.count);
        let options = DatabaseOptions { template: Some(original.to_owned()), ..DatabaseOptions::default() };
        self.started()?.create_database(&name, &options).await?;
        self.names.push(name.clone());
        let session = self.connect(&name).await?;
        Ok((name, session))
    }

    /// One more connection to one of its databases.
    pub async fn connect(&self, name: &str) -> Result<Session, EngineError> {
        Ok(self.started()?.connect(name).await?)
    }

    fn started(&self) -> Result<&Scratch, EngineError> {
        self.scratch.as_ref().ok_or_else(|| EngineError::State {
            message: "no scratch server was started".to_owned(),
            help: "this is a defect of schema".to_owned(),
        })
    }

    /// The database that was made last with this label.
    #[must_use]
    pub fn latest(&self, label: &str) -> Option<&str> {
        self.names.iter().rev().map(String::as_str).find(|name| name.strip_prefix(label).is_some_and(|rest| rest.starts_with('_')))
    }

    /// Drops every database made so far: for whoever plans many times on one bench.
    pub async fn clear(&mut self) {
        for name in std::mem::take(&mut self.names) {
            if let Some(scratch) = &self.scratch {
                let _ = scratch.drop_database(&name).await;
            }
        }
    }

    /// `PostgreSQL 15.18, local`.
    #[must_use]
    pub fn describe(&self) -> String {
        self.scratch.as_ref().map_or_else(String::new, |scratch| {
            let version = scratch.installation().version.clone();
            format!("PostgreSQL {}, local", version.split(' ').next().unwrap_or_default())
        })
    }

    /// `server_version_num` of its major version, once started.
    #[must_use]
    pub fn version(&self) -> Option<u32> {
        self.scratch.as_ref().map(|scratch| scratch.installation().major * 10_000)
    }

    /// The server, once started.
    #[must_use]
    pub const fn scratch(&self) -> Option<&Scratch> {
        self.scratch.as_ref()
    }

    /// The server, once started, to be crashed.
    pub const fn scratch_mut(&mut self) -> Option<&mut Scratch> {
        self.scratch.as_mut()
    }

    /// Stops the server; also done when the bench is dropped.
    pub async fn stop(&mut self) {
        if let Some(scratch) = self.scratch.take() {
            let _ = scratch.stop().await;
        }
    }
}
