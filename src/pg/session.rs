//! Connecting, and the session that results.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::{AsyncMessage, CancelToken, Client};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::attempt::{Connection, attempt, config};
use super::error::{SessionError, explain};
use super::target::{Endpoint, SessionAttrs, Target};
use super::tls;

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
                Err(failure) if failure.tries_next_host() => {
                    failures.push_back((endpoint, failure));
                }
                Err(failure) => return Err(failure.into_error(target, endpoint, &warnings)),
            }
        }
    }
    let Some((endpoint, first)) = failures.pop_front() else {
        let reason = "it names no host".to_owned();
        return Err(SessionError::BadUrl { reason });
    };
    if failures.is_empty() {
        return Err(first.into_error(target, endpoint, &[]));
    }
    let hint = first.hint(endpoint);
    failures.push_front((endpoint, first));
    let causes: Vec<String> = failures.iter().map(|(endpoint, failure)| format!("\n  {endpoint}: {}", failure.text())).collect();
    Err(SessionError::Unreachable { target: target.describe(), cause: causes.concat(), hint })
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
        // An immediate shutdown is announced by a warning, after which the connection just ends.
        let mut announced = None;
        let why = loop {
            match poll_fn(|context| Pin::new(&mut connection).poll_message(context)).await {
                Some(Ok(AsyncMessage::Notice(notice))) => {
                    if notice.code().code().starts_with("57P") {
                        announced = Some(notice.message().to_owned());
                    }
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
        let _ = reason.send(Some(announced.unwrap_or(why)));
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

/// Begins a read-only transaction in which the settings that change deparsing are pinned. They end with it: behind a
/// pooler the server's session goes on to somebody else, and ours goes on to apply plans.
///
/// # Errors
/// [`SessionError::Sql`].
pub async fn begin_pinned(session: &Session) -> Result<(), SessionError> {
    let local = DEPARSE_SETTINGS.replace("    SET ", "    SET LOCAL ").replace(", false);", ", true);");
    session.client().simple_query(&format!("BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY;{local}")).await?;
    Ok(())
}
