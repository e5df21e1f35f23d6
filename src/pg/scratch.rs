//! A private throwaway server.
//!
//! It listens on a Unix socket in a folder that only its user may enter, trusts whoever gets there, and takes
//! every shortcut that a server whose data nobody needs may take. Nothing of it is left behind: not after
//! [`Scratch::stop`], not after a panic, not after a SIGKILL of our process (see the `watchdog` module).

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::database::{DatabaseOptions, quote_identifier};
use super::error::SessionError;
use super::server::{Installation, ServerError, unprivileged_user};
use super::session::{Session, connect};
use super::target::Target;
use super::template::{as_server_user, cannot_run, give, instantiate, may_enter};
use super::watchdog::Watchdog;

/// It is in the socket's name only; the folder is what makes it ours.
const PORT: u16 = 5432;

/// How long a server may take to accept connections. Usually it is a tenth of a second; a kept folder may need
/// crash recovery.
const START_LIMIT: Duration = Duration::from_mins(1);

/// `sun_path` has 108 bytes on Linux and 104 on macOS, the final zero included.
const SOCKET_PATH_LIMIT: usize = 103;

/// How a scratch server is to run.
#[derive(Debug, Clone, Default)]
pub struct ScratchOptions {
    /// Write to the disk as a production server does. Off: an operating system crash may lose everything.
    pub fsync: bool,
    /// Settings for `postgresql.conf`; they win over ours.
    pub settings: Vec<(String, String)>,
    /// Keep the data in this folder (made when it is not there, used when it holds a cluster) instead of a
    /// temporary one.
    pub keep: Option<PathBuf>,
}

/// A running scratch server. Dropping it stops it at once.
#[derive(Debug)]
pub struct Scratch {
    installation: Installation,
    /// Holds the socket, the log, and the data unless they are kept elsewhere.
    dir: PathBuf,
    data: PathBuf,
    options: ScratchOptions,
    server: Child,
    watchdog: Watchdog,
    stopped: bool,
}

impl Scratch {
    /// Starts a server and waits until it accepts connections.
    ///
    /// # Errors
    /// [`ServerError`]; when the server does not start, with the end of its log.
    pub async fn start(installation: &Installation, options: ScratchOptions) -> Result<Self, ServerError> {
        let installation = installation.clone();
        // Copying and forking block; tokio's workers must not.
        let spawned = tokio::task::spawn_blocking(move || Self::spawn(installation, options)).await;
        let mut scratch = match spawned {
            Ok(result) => result?,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        let ready = scratch.wait_until_ready().await;
        if scratch.stopped {
            scratch.clean_up();
        }
        ready.map(|()| scratch)
    }

    fn spawn(installation: Installation, options: ScratchOptions) -> Result<Self, ServerError> {
        let user = unprivileged_user();
        let user = user.as_ref();
        let dir = Folder::make(&base_dir(user))?;
        let data = match &options.keep {
            Some(keep) => std::path::absolute(keep).map_err(ServerError::io("find", keep))?,
            None => dir.path().join("data"),
        };
        let mut watchdog = Watchdog::start(dir.path(), &data)?;
        let result = prepare(&installation, dir.path(), &data, &options, user);
        let server = match result {
            Ok(server) => server,
            Err(error) => {
                dir.remove();
                watchdog.dismiss();
                return Err(error);
            }
        };
        watchdog.watch(server.id());
        Ok(Self { installation, dir: dir.keep(), data, options, server, watchdog, stopped: false })
    }

    async fn wait_until_ready(&mut self) -> Result<(), ServerError> {
        let target = self.target("postgres");
        let socket = self.dir.join(format!(".s.PGSQL.{PORT}"));
        let begun = Instant::now();
        loop {
            if let Ok(Some(status)) = self.server.try_wait() {
                self.stopped = true;
                return Err(self.failure("did not start", status.to_string()));
            }
            let refusal = if socket.exists() {
                match connect(&target).await {
                    Ok(session) => {
                        session.close().await;
                        return Ok(());
                    }
                    Err(error) if error.is_unreachable() => error.to_string(),
                    Err(error) => return Err(error.into()),
                }
            } else {
                "it has made no socket".to_owned()
            };
            if begun.elapsed() > START_LIMIT {
                let reason = format!("after {} s, {refusal}", START_LIMIT.as_secs());
                return Err(self.failure("does not get ready", reason));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn failure(&self, did: &'static str, reason: String) -> ServerError {
        ServerError::Scratch { did, reason, log: self.log_tail(20) }
    }

    /// How to connect to one of its databases.
    #[must_use]
    pub fn target(&self, database: &str) -> Target {
        Target::unix(&self.dir, PORT, "postgres", database)
    }

    /// Connects to one of its databases as superuser.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn connect(&self, database: &str) -> Result<Session, SessionError> {
        connect(&self.target(database)).await
    }

    /// Makes a database.
    ///
    /// # Errors
    /// [`ServerError::Session`] with what PostgreSQL says, such as that the name is taken.
    pub async fn create_database(&self, name: &str, options: &DatabaseOptions) -> Result<(), ServerError> {
        let session = self.connect("postgres").await?;
        let statement = options.statement(name, self.installation.major);
        let result = session.client().batch_execute(&statement).await;
        session.close().await;
        Ok(result.map_err(SessionError::from)?)
    }

    /// Drops a database, ending the sessions in it; one that is not there is none to drop.
    ///
    /// # Errors
    /// [`ServerError::Session`].
    pub async fn drop_database(&self, name: &str) -> Result<(), ServerError> {
        let session = self.connect("postgres").await?;
        let statement = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", quote_identifier(name));
        let result = session.client().batch_execute(&statement).await;
        session.close().await;
        Ok(result.map_err(SessionError::from)?)
    }

    /// The folder that holds its socket, and that is gone when it is stopped.
    #[must_use]
    pub fn socket_dir(&self) -> &Path {
        &self.dir
    }

    /// The folder with its data: within [`Scratch::socket_dir`], or the one that is kept.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.data
    }

    /// The programs that it runs on.
    #[must_use]
    pub fn installation(&self) -> &Installation {
        &self.installation
    }

    /// The number of its main process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.server.id()
    }

    /// What a person types to look into it.
    #[must_use]
    pub fn command_env_line(&self, database: &str) -> String {
        let mut text = format!("psql -h {} -U postgres ", self.dir.display());
        let plain = database.chars().all(|c| c.is_ascii_alphanumeric() || "_.".contains(c));
        if plain && !database.is_empty() {
            text.push_str(database);
        } else {
            // Writing to a String cannot fail.
            let _ = write!(text, "'{}'", database.replace('\'', r"'\''"));
        }
        text
    }

    /// The last `lines` lines of its log.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        let log = fs::read(self.dir.join("log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let all: Vec<&str> = log.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// Stops it and removes its folder. Data that are kept are left as a clean shutdown leaves them.
    ///
    /// # Errors
    /// [`ServerError::Scratch`] when it does not stop within a minute; it is then killed.
    pub async fn stop(mut self) -> Result<(), ServerError> {
        let stopped = tokio::task::spawn_blocking(move || {
            let clean = self.end(if self.options.keep.is_some() { Signal::INT } else { Signal::QUIT }, START_LIMIT);
            let result = if clean { Ok(()) } else { Err(self.failure("had to be killed", "it did not stop".to_owned())) };
            self.clean_up();
            result
        });
        match stopped.await {
            Ok(result) => result,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// Ends the server with `signal`, and with SIGKILL after `limit`. Whether the first one did.
    fn end(&mut self, signal: Signal, limit: Duration) -> bool {
        if self.stopped {
            return true;
        }
        self.stopped = true;
        let pid = i32::try_from(self.server.id()).ok().and_then(Pid::from_raw);
        // It is our child and was not waited for, so its number cannot belong to another process.
        let signalled = pid.is_some_and(|pid| kill_process(pid, signal).is_ok());
        let begun = Instant::now();
        while signalled && begun.elapsed() < limit {
            match self.server.try_wait() {
                Ok(None) => std::thread::sleep(Duration::from_millis(2)),
                Ok(Some(_)) => return true,
                Err(_) => break,
            }
        }
        // Both fail only when it is gone already.
        let _ = self.server.kill();
        let _ = self.server.wait();
        false
    }

    /// Kills it with all its processes, as a power failure would, and starts it again on what they left: for tests of
    /// recovery. The operating system goes on, so what was written is there also without `fsync`; without
    /// `synchronous_commit`, which goes with it, the last transactions may be gone.
    ///
    /// # Errors
    /// As [`Scratch::start`].
    pub async fn crash(&mut self) -> Result<(), ServerError> {
        let session = self.connect("postgres").await?;
        let rows = session.client().query("SELECT pid FROM pg_catalog.pg_stat_activity", &[]).await.map_err(SessionError::from)?;
        // Both fail only when it is gone already.
        let _ = self.server.kill();
        let _ = self.server.wait();
        for pid in rows.iter().filter_map(|row| Pid::from_raw(row.get(0))) {
            let _ = kill_process(pid, Signal::KILL);
        }
        let user = unprivileged_user();
        let begun = Instant::now();
        loop {
            self.server = prepare(&self.installation, &self.dir, &self.data, &self.options, user.as_ref())?;
            self.watchdog.watch(self.server.id());
            self.stopped = false;
            match self.wait_until_ready().await {
                // A process that connected at the last moment still holds the shared memory.
                Err(error) if begun.elapsed() < START_LIMIT && error.to_string().contains("shared memory") => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                result => {
                    if self.stopped {
                        self.clean_up();
                    }
                    return result;
                }
            }
        }
    }

    fn clean_up(&mut self) {
        remove(&self.dir);
        self.watchdog.dismiss();
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.stopped {
            self.end(Signal::QUIT, Duration::from_secs(5));
            self.clean_up();
        }
    }
}

/// Makes the data folder, and starts the server on it.
fn prepare(
    installation: &Installation,
    dir: &Path,
    data: &Path,
    options: &ScratchOptions,
    user: Option<&super::server::User>,
) -> Result<Child, ServerError> {
    give(dir, user)?;
    if !data.join("PG_VERSION").is_file() {
        if let Some(parent) = data.parent() {
            fs::create_dir_all(parent).map_err(ServerError::io("create", parent))?;
        }
        instantiate(installation, data, dir, user)?;
    }
    let log_file = dir.join("log");
    let log = fs::File::create(&log_file).map_err(ServerError::io("create", &log_file))?;
    let errors = log.try_clone().map_err(ServerError::io("open", &log_file))?;
    let mut command = Command::new(installation.program("postgres"));
    command.arg("-D").arg(data);
    for (name, value) in settings(dir, options) {
        command.arg("-c").arg(format!("{name}={value}"));
    }
    as_server_user(&mut command, dir, user)
        // Ctrl-C on the terminal is for us; we stop the server when we are done with it.
        .process_group(0)
        .stdout(log)
        .stderr(errors)
        .spawn()
        .map_err(|error| ServerError::Program {
            program: installation.program("postgres").display().to_string(),
            reason: cannot_run(&error, user),
        })
}

/// The server's settings, the caller's last so that they win.
fn settings(dir: &Path, options: &ScratchOptions) -> Vec<(String, String)> {
    let dir = dir.display().to_string();
    let durable = if options.fsync { "on" } else { "off" };
    let port = PORT.to_string();
    [
        ("listen_addresses", ""),
        ("unix_socket_directories", dir.as_str()),
        ("unix_socket_permissions", "0700"),
        ("port", port.as_str()),
        ("fsync", durable),
        ("full_page_writes", durable),
        ("synchronous_commit", durable),
        ("wal_level", "minimal"),
        // A minimal wal_level demands it.
        ("max_wal_senders", "0"),
        // Statistics and sizes change only when a statement says so; rehearsals measure without a vacuum between.
        ("autovacuum", "off"),
        ("shared_buffers", "32MB"),
        ("max_connections", "100"),
        // A whole schema is created, or dropped, in one transaction.
        ("max_locks_per_transaction", "1024"),
        // Shared memory in files of the data folder goes away with it, even after a SIGKILL of the server.
        ("dynamic_shared_memory_type", "mmap"),
        ("logging_collector", "off"),
        ("log_destination", "stderr"),
        ("log_line_prefix", "%m [%p] "),
        ("lc_messages", "C"),
        ("timezone", "UTC"),
        ("log_timezone", "UTC"),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .chain(options.settings.iter().cloned())
    .collect()
}

/// A short folder for temporary files that the server's user can reach.
fn base_dir(user: Option<&super::server::User>) -> PathBuf {
    let name = format!("/schema-XXXXXX/.s.PGSQL.{PORT}.lock");
    let preferred = std::env::temp_dir();
    let short = preferred.as_os_str().len() + name.len() <= SOCKET_PATH_LIMIT;
    if short && preferred.is_absolute() && may_enter(&preferred, user) { preferred } else { PathBuf::from("/tmp") }
}

/// A temporary folder that is removed unless it is kept.
struct Folder(tempfile::TempDir);

impl Folder {
    fn make(base: &Path) -> Result<Self, ServerError> {
        tempfile::Builder::new()
            .prefix("schema-")
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir_in(base)
            .map(Self)
            .map_err(ServerError::io("create a folder in", base))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn keep(self) -> PathBuf {
        self.0.keep()
    }

    fn remove(self) {
        remove(&self.0.keep());
    }
}

/// Removes a folder in which a dying process may still make files.
fn remove(dir: &Path) {
    for _ in 0..20 {
        match fs::remove_dir_all(dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                std::thread::sleep(Duration::from_millis(50));
            }
            _ => return,
        }
    }
}
