//! A state by name: a folder, an SQL file, a connection string, an environment, `git:REV`, `empty`.

use std::path::{Path, PathBuf};

use super::{EngineError, Scope, Workbench};
use crate::catalog::Catalog;
use crate::pg::introspect::{introspect, introspect_live};
use crate::pg::{Session, Target, Waits, connect};
use crate::source::{Desired, read_folder};

/// Where a state comes from.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there are two of them in a whole command")]
pub enum State {
    /// No object at all.
    Empty,
    /// KDL files.
    Files(Desired),
    /// What a server said: a live database, or an SQL file loaded into a scratch one.
    Database {
        /// The connection, where it is a live one.
        session: Option<Box<Session>>,
        /// Its objects, with dependencies.
        catalog: Catalog,
        /// `server_version_num`.
        server: u32,
    },
}

/// Reads a live database, with dependencies.
pub async fn database(target: &Target, scope: &Scope, waits: &Waits) -> Result<State, EngineError> {
    let session = connect(target).await?;
    let mut live = introspect_live(&session, scope.managed, waits).await?;
    live.read_dependencies(&session).await?;
    Ok(State::Database { server: live.server, catalog: live.catalog, session: Some(Box::new(session)) })
}

/// Reads a folder of KDL files, or an SQL file.
pub async fn path(path: &Path, bench: &mut Workbench, scope: &Scope) -> Result<State, EngineError> {
    if path.extension().is_some_and(|extension| extension == "sql") && path.exists() {
        return sql_file(path, bench, scope).await;
    }
    if !path.exists() {
        return Err(EngineError::State {
            message: format!("there is no {}", path.display()),
            help: "a state is a folder, a .sql file, a connection string, an environment, git:REV or `empty`".to_owned(),
        });
    }
    Ok(State::Files(read_folder(path)?))
}

/// Loads an SQL file (such as `pg_dump -s` writes) into a scratch database and reads that.
async fn sql_file(path: &Path, bench: &mut Workbench, scope: &Scope) -> Result<State, EngineError> {
    bench.start(None).await?;
    let (name, session) = bench.database("sql").await?;
    let scratch = bench.scratch().expect("it was started just before");
    let psql = scratch.installation().program("psql");
    let run = |args: &[&str]| {
        std::process::Command::new(&psql)
            .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-h"])
            .arg(scratch.socket_dir())
            .args(["-U", "postgres", "-d", &name])
            .args(args)
            .env("PGOPTIONS", "-c client_min_messages=error")
            .output()
    };
    // Roles belong to a cluster, and this one is ours: those that the file misses are made.
    for _ in 0..64 {
        let file = path.to_string_lossy();
        let output = run(&["-1", "-f", &file]).map_err(|error| EngineError::State {
            message: format!("cannot run psql: {error}"),
            help: "it comes with PostgreSQL's client programs".to_owned(),
        })?;
        if output.status.success() {
            let mut read = introspect(&session, scope.managed).await?;
            read.read_dependencies(&session).await?;
            return Ok(State::Database { session: None, catalog: read.catalog, server: read.server });
        }
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        let role = message.split("role \"").nth(1).and_then(|rest| rest.split_once("\" does not exist")).map(|(role, _)| role.to_owned());
        let Some(role) = role else {
            return Err(EngineError::State {
                message: format!("PostgreSQL does not take {}:\n{}", path.display(), message.trim()),
                help: "the file must load into an empty database".to_owned(),
            });
        };
        let created = session.client().batch_execute(&format!("CREATE ROLE {}", crate::catalog::id::quote(&role))).await;
        created.map_err(crate::pg::SessionError::from)?;
    }
    Err(EngineError::State { message: format!("{} asks for ever more roles", path.display()), help: "make them by hand".to_owned() })
}

/// The source folder as of a git revision, unpacked into a temporary folder.
pub fn git(revision: &str, source: &Path) -> Result<Desired, EngineError> {
    let error = |message: String| EngineError::State {
        message,
        help: "git:REV means the source folder as of that revision, for example git:main".to_owned(),
    };
    let git = |args: &[&str]| {
        let directory =
            source.parent().filter(|parent| !parent.as_os_str().is_empty()).map_or_else(|| PathBuf::from("."), Path::to_path_buf);
        std::process::Command::new("git").current_dir(directory).args(args).output()
    };
    let name = source.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let list = git(&["ls-tree", "-r", "--name-only", "-z", revision, "--", &format!("./{name}")])
        .map_err(|cause| error(format!("cannot run git: {cause}")))?;
    if !list.status.success() {
        return Err(error(format!("git knows no revision {revision}: {}", String::from_utf8_lossy(&list.stderr).trim())));
    }
    let mut sources = crate::kdl::Sources::new();
    for file in String::from_utf8_lossy(&list.stdout)
        .split('\0')
        .filter(|file| Path::new(file).extension().is_some_and(|extension| extension == "kdl"))
    {
        let text = git(&["show", &format!("{revision}:./{file}")]).map_err(|cause| error(format!("cannot run git: {cause}")))?;
        sources.add(format!("{revision}:{file}"), String::from_utf8_lossy(&text.stdout).into_owned());
    }
    Ok(crate::source::read::read_sources(sources)?)
}

impl State {
    /// The state as a start: its catalog, whether a server deparsed it, and the connection.
    #[must_use]
    pub fn into_start(self) -> (Catalog, bool, Option<Box<Session>>, Option<u32>) {
        match self {
            Self::Empty => (empty(), true, None, None),
            Self::Files(desired) => (desired.catalog, false, None, None),
            Self::Database { session, catalog, server } => (catalog, true, session, Some(server)),
        }
    }

    /// The state as an end.
    #[must_use]
    pub fn into_end(self) -> Desired {
        match self {
            Self::Empty => Desired::of_catalog(empty()),
            Self::Files(desired) => desired,
            Self::Database { catalog, .. } => Desired::of_catalog(catalog),
        }
    }
}

/// An empty database: it has `public`, as every new one.
fn empty() -> Catalog {
    let mut catalog = Catalog::default();
    catalog.put(crate::kind::schema::Schema { name: "public".into() }.into_object());
    catalog
}
