//! Connecting, and the session that results.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::error::SqlState;
use tokio_postgres::{AsyncMessage, CancelToken, Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::error::{SessionError, chain, explain};
use super::target::{Endpoint, Host, SessionAttrs, SslMode, Target};
use super::{passfile, tls};

/// A NOTICE or WARNING of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// `NOTICE`, `WARNING`, … in English when the server's `lc_messages` is.
    pub severity: String,
    /// The five characters of SQLSTATE.
    pub code: String,
    /// What it says.
    pub message: String,
    /// More of it.
    pub detail: Option<String>,
    /// The server's advice.
    pub hint: Option<String>,
}

type NoticeHandler = Box<dyn FnMut(Notice) + Send>;

/// A connection and what is known about its server. Dropping it ends the connection.
pub struct Session {
    client: Client,
    driver: JoinHandle<()>,
    /// Holds the reason once the connection has ended.
    ended: watch::Receiver<Option<String>>,
    notices: Arc<Mutex<Option<NoticeHandler>>>,
    tls: MakeRustlsConnect,
    target: Target,
    warnings: Vec<String>,
    /// The process that serves us, as `pg_stat_activity.pid` shows it.
    pub backend_pid: i32,
    /// `server_version_num`: 150018 is 15.18.
    pub server_version: u32,
    /// `server_version` for people: `15.18 (Debian …)`.
    pub server_version_text: String,
    /// Whether the role is a superuser.
    pub is_superuser: bool,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("target", &self.target.describe())
            .field("backend_pid", &self.backend_pid)
            .field("server_version", &self.server_version)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// The client to send statements with.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The client, for what needs it exclusively: transactions.
    pub fn client_mut(&mut self) -> &mut Client {
        &mut self.client
    }

    /// What it is connected to; of several hosts only the one that answered.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// What the user should know about how the connection was made, such as a password file that was ignored.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Whether the connection has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.client.is_closed() || self.ended.borrow().is_some()
    }

    /// Waits until the connection ends, and says why.
    pub async fn closed(&self) -> String {
        let mut ended = self.ended.clone();
        match ended.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => "the connection's task has ended".to_owned(),
        }
    }

    /// Hands every NOTICE and WARNING from now on to `handler`, in place of the one before. It runs within the
    /// connection's task: it should only pass the notice on.
    pub fn on_notice(&self, handler: impl FnMut(Notice) + Send + 'static) {
        *self.notices.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(handler));
    }

    /// Something that can stop this session's statement from another task.
    #[must_use]
    pub fn cancel_handle(&self) -> CancelHandle {
        CancelHandle { token: self.client.cancel_token(), tls: self.tls.clone() }
    }

    /// Ends the connection and waits until the server's side of it was told so.
    pub async fn close(self) {
        let Self { client, driver, .. } = self;
        drop(client);
        // The task ends by itself; that it was aborted or panicked changes nothing any more.
        let _ = driver.await;
    }
}

/// Stops the statement that a session is running.
#[derive(Clone)]
pub struct CancelHandle {
    token: CancelToken,
    tls: MakeRustlsConnect,
}

impl CancelHandle {
    /// Asks the server to stop the statement. Whether there was one to stop is not told.
    ///
    /// # Errors
    /// [`SessionError::Sql`] when the server cannot be reached with the request.
    pub async fn cancel(&self) -> Result<(), SessionError> {
        Ok(self.token.cancel_query(self.tls.clone()).await?)
    }
}

/// Connects, trying the hosts in turn as libpq does: the next one when one cannot be reached, but not when it
/// refuses the user.
///
/// # Errors
/// [`SessionError::Unreachable`], [`SessionError::Auth`], [`SessionError::Tls`]; [`SessionError::Sql`] when the
/// first query fails.
pub async fn connect(target: &Target) -> Result<Session, SessionError> {
    let tls = tls::connector(target).map_err(|cause| SessionError::Tls {
        target: target.describe(),
        cause,
        hint: "Check sslrootcert, sslcert and sslkey.".to_owned(),
    })?;
    let passes: &[TargetSessionAttrs] = match target.session_attrs {
        SessionAttrs::Any => &[TargetSessionAttrs::Any],
        SessionAttrs::ReadWrite => &[TargetSessionAttrs::ReadWrite],
        SessionAttrs::ReadOnly => &[TargetSessionAttrs::ReadOnly],
        SessionAttrs::PreferStandby => &[TargetSessionAttrs::ReadOnly, TargetSessionAttrs::Any],
    };
    let mut failures = VecDeque::new();
    for attrs in passes {
        for endpoint in &target.endpoints {
            let mut warnings = Vec::new();
            let config = config(target, endpoint, *attrs, &mut warnings);
            match attempt(target, endpoint, config, &tls).await {
                Ok((client, connection)) => {
                    return establish(target, endpoint, tls, client, connection, warnings).await;
                }
                Err(failure) if failure.tries_next_host() => failures.push_back((endpoint, failure)),
                Err(failure) => return Err(failure.into_error(target, endpoint, &warnings)),
            }
        }
    }
    let (endpoint, first) = failures.pop_front().expect("a target has at least one endpoint");
    if failures.is_empty() {
        return Err(first.into_error(target, endpoint, &[]));
    }
    let hint = first.hint(endpoint);
    failures.push_front((endpoint, first));
    let causes: Vec<String> =
        failures.iter().map(|(endpoint, failure)| format!("\n  {endpoint}: {}", failure.text())).collect();
    Err(SessionError::Unreachable { target: target.describe(), cause: causes.concat(), hint })
}

type Connection = tokio_postgres::Connection<
    tokio_postgres::Socket,
    <MakeRustlsConnect as tokio_postgres::tls::MakeTlsConnect<tokio_postgres::Socket>>::Stream,
>;

/// The configuration for one host, without `sslmode`.
fn config(
    target: &Target,
    endpoint: &Endpoint,
    attrs: TargetSessionAttrs,
    warnings: &mut Vec<String>,
) -> Config {
    let mut config = Config::new();
    match &endpoint.host {
        Host::Tcp(name) => config.host(name.as_str()),
        Host::Unix(dir) => config.host_path(dir),
    };
    if let Some(address) = endpoint.address {
        config.hostaddr(address);
    }
    config
        .port(endpoint.port)
        .user(target.user.as_str())
        .dbname(target.database.as_str())
        .application_name(target.application_name.as_deref().unwrap_or("schema"))
        .target_session_attrs(attrs)
        .channel_binding(target.channel_binding)
        .load_balance_hosts(target.load_balance_hosts)
        .keepalives(target.keepalives)
        .keepalives_idle(target.keepalives_idle);
    if let Some(interval) = target.keepalives_interval {
        config.keepalives_interval(interval);
    }
    if let Some(timeout) = target.tcp_user_timeout {
        config.tcp_user_timeout(timeout);
    }
    if let Some(options) = &target.options {
        config.options(options.as_str());
    }
    if let Some(password) = &target.password {
        config.password(password.expose());
    } else if let Some(file) = &target.passfile {
        let lookup = passfile::look_up(file, endpoint, &target.database, &target.user);
        if let Some(password) = &lookup.password {
            config.password(password.expose());
        }
        warnings.extend(lookup.warning);
    }
    config
}

/// Connects to one host, with and without TLS in the order that `sslmode` says.
async fn attempt(
    target: &Target,
    endpoint: &Endpoint,
    mut config: Config,
    tls: &MakeRustlsConnect,
) -> Result<(Client, Connection), Failure> {
    use tokio_postgres::config::SslMode as Wire;

    let wires: &[Wire] = match (&endpoint.host, target.sslmode) {
        // As in libpq, sslmode means nothing on a Unix socket.
        (Host::Unix(_), _) | (_, SslMode::Disable) => &[Wire::Disable],
        (_, SslMode::Allow) => &[Wire::Disable, Wire::Require],
        (_, SslMode::Prefer) => &[Wire::Prefer, Wire::Disable],
        (_, SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull) => &[Wire::Require],
    };
    let mut first = None;
    for wire in wires {
        config.ssl_mode(*wire);
        let connecting = config.connect(tls.clone());
        let result = match target.connect_timeout {
            None => connecting.await.map_err(Failure::Postgres),
            Some(limit) => match tokio::time::timeout(limit, connecting).await {
                Ok(result) => result.map_err(Failure::Postgres),
                Err(_) => Err(Failure::Timeout(limit)),
            },
        };
        match result {
            Ok(connected) => return Ok(connected),
            // Only a TLS failure or a pg_hba.conf line may turn out otherwise the other way.
            Err(failure) if failure.may_depend_on_tls() => {
                first.get_or_insert(failure);
            }
            Err(failure) => return Err(first.unwrap_or(failure)),
        }
    }
    Err(first.expect("every sslmode has at least one attempt"))
}

/// Starts the connection's task and asks who we are.
async fn establish(
    target: &Target,
    endpoint: &Endpoint,
    tls: MakeRustlsConnect,
    client: Client,
    mut connection: Connection,
    warnings: Vec<String>,
) -> Result<Session, SessionError> {
    let notices: Arc<Mutex<Option<NoticeHandler>>> = Arc::default();
    let (reason, ended) = watch::channel(None);
    let handler = Arc::clone(&notices);
    let driver = tokio::spawn(async move {
        let why = loop {
            match poll_fn(|context| Pin::new(&mut connection).poll_message(context)).await {
                Some(Ok(AsyncMessage::Notice(notice))) => {
                    let mut handler = handler.lock().unwrap_or_else(PoisonError::into_inner);
                    if let Some(handler) = handler.as_mut() {
                        handler(Notice {
                            severity: notice.severity().to_owned(),
                            code: notice.code().code().to_owned(),
                            message: notice.message().to_owned(),
                            detail: notice.detail().map(str::to_owned),
                            hint: notice.hint().map(str::to_owned),
                        });
                    }
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => break explain(&error),
                None => break "the connection was closed".to_owned(),
            }
        };
        // Nobody may be listening any more.
        let _ = reason.send(Some(why));
    });
    let row = client
        .query_one(
            "SELECT pg_catalog.pg_backend_pid(), pg_catalog.current_setting('server_version_num')::pg_catalog.int4,
                    pg_catalog.current_setting('server_version'), pg_catalog.current_setting('is_superuser') = 'on'",
            &[],
        )
        .await?;
    let version: i32 = row.try_get(1)?;
    Ok(Session {
        backend_pid: row.try_get(0)?,
        server_version: version.unsigned_abs(),
        server_version_text: row.try_get(2)?,
        is_superuser: row.try_get(3)?,
        client,
        driver,
        ended,
        notices,
        tls,
        target: Target { endpoints: vec![endpoint.clone()], ..target.clone() },
        warnings,
    })
}

/// Why one host gave no session.
enum Failure {
    Timeout(Duration),
    Postgres(tokio_postgres::Error),
}

/// What kind of error `tokio_postgres` met; its own classification is private, its wording is not.
#[derive(PartialEq, Eq)]
enum Class {
    Unreachable,
    Auth,
    Tls,
}

impl Failure {
    fn class(&self) -> Class {
        let Self::Postgres(error) = self else {
            return Class::Unreachable;
        };
        if let Some(code) = error.code() {
            let refused = [SqlState::INVALID_AUTHORIZATION_SPECIFICATION, SqlState::INVALID_PASSWORD];
            return if refused.contains(code) { Class::Auth } else { Class::Unreachable };
        }
        match error.to_string().as_str() {
            "error performing TLS handshake" => Class::Tls,
            // A password that is asked for and not given counts as invalid configuration there.
            "authentication error" | "invalid configuration" => Class::Auth,
            _ => Class::Unreachable,
        }
    }

    fn code(&self) -> Option<&SqlState> {
        match self {
            Self::Timeout(_) => None,
            Self::Postgres(error) => error.code(),
        }
    }

    fn may_depend_on_tls(&self) -> bool {
        self.class() == Class::Tls || self.code() == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION)
    }

    /// libpq: a server that is starting or shutting down, or none at all, but not one that refuses us.
    fn tries_next_host(&self) -> bool {
        self.class() == Class::Unreachable
            && self.code().is_none_or(|code| *code == SqlState::CANNOT_CONNECT_NOW)
    }

    fn text(&self) -> String {
        match self {
            Self::Timeout(limit) => format!("no answer within {} s", limit.as_secs()),
            Self::Postgres(error) if error.as_db_error().is_some() => explain(error),
            Self::Postgres(error) => chain(error),
        }
    }

    fn hint(&self, endpoint: &Endpoint) -> String {
        let code = self.code();
        let hint = if code == Some(&SqlState::INVALID_CATALOG_NAME) {
            "Create the database first, or correct its name in the URL."
        } else if code == Some(&SqlState::TOO_MANY_CONNECTIONS) {
            "Wait until other connections end, or raise max_connections."
        } else if code == Some(&SqlState::CANNOT_CONNECT_NOW) {
            "The server is starting, stopping or recovering: wait and try again."
        } else if self.text().contains("database does not allow writes") {
            "This is a standby: name its primary in the URL."
        } else {
            return match &endpoint.host {
                Host::Tcp(name) => format!(
                    "Is the server running, is the URL right, and does a firewall let you through? Try: pg_isready -h {name} -p {}",
                    endpoint.port
                ),
                Host::Unix(dir) => format!(
                    "Is the server running, and is its socket in {0}? Try: pg_isready -h {0} -p {1}",
                    dir.display(),
                    endpoint.port
                ),
            };
        };
        hint.to_owned()
    }

    fn into_error(self, target: &Target, endpoint: &Endpoint, warnings: &[String]) -> SessionError {
        let described = Target { endpoints: vec![endpoint.clone()], ..target.clone() }.describe();
        let cause = self.text();
        match self.class() {
            Class::Unreachable => {
                SessionError::Unreachable { target: described, cause, hint: self.hint(endpoint) }
            }
            Class::Auth => {
                let mut hint = "Check the user, the password (URL, PGPASSWORD or ~/.pgpass) and the server's pg_hba.conf.".to_owned();
                for warning in warnings {
                    hint.push_str("\nNote: ");
                    hint.push_str(warning);
                }
                SessionError::Auth { target: described, user: target.user.clone(), cause, hint }
            }
            Class::Tls => {
                let hint = match target.sslmode {
                    SslMode::VerifyCa | SslMode::VerifyFull => {
                        "Name the file with the server's root certificate: sslrootcert=… (or PGSSLROOTCERT), and connect with the name that stands in its certificate."
                    }
                    _ => "Turn on ssl on the server, or say sslmode=prefer where encryption is not needed.",
                };
                SessionError::Tls { target: described, cause, hint: hint.to_owned() }
            }
        }
    }
}

/// Settings that change how PostgreSQL writes definitions, or what our catalog queries see. They hold for the
/// session, and must be the same wherever two texts are compared.
const DEPARSE_SETTINGS: &str = "
    -- Names are then always written with their schema, and a user's function cannot shadow a built-in one.
    SELECT pg_catalog.set_config('search_path', '', false);
    -- Constants of these types are written as these settings say.
    SET TimeZone = 'UTC';
    SET DateStyle = 'ISO, YMD';
    SET IntervalStyle = 'postgres';
    SET bytea_output = 'hex';
    SET lc_monetary = 'C';
    SET extra_float_digits = 1;
    -- Quotes only where they are needed, as in the files.
    SET quote_all_identifiers = off;
    -- Backslashes are plain characters in what we read and in what we write.
    SET standard_conforming_strings = on;
    -- A NOTICE about an object that is already there is not news.
    SET client_min_messages = warning;
    -- A policy on a catalog-like table must fail loudly, not hide rows.
    SET row_security = off;
    -- Compiling costs more than any catalog query takes.
    SET jit = off;
    -- A role or database may have limits meant for its applications.
    SET statement_timeout = 0;
    SET idle_in_transaction_session_timeout = 0;
";

/// Pins every setting that changes deparsing, in one round trip.
///
/// # Errors
/// [`SessionError::Sql`].
pub async fn pin_deparse_settings(session: &Session) -> Result<(), SessionError> {
    session.client().simple_query(DEPARSE_SETTINGS).await?;
    Ok(())
}
