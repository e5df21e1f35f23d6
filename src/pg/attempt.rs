//! One attempt at one host: with and without TLS, and what a failure means.

use std::time::Duration;

use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::error::{SessionError, chain, explain};
use super::passfile;
use super::target::{Endpoint, Host, SslMode, Target};

pub type Connection = tokio_postgres::Connection<
    tokio_postgres::Socket,
    <MakeRustlsConnect as tokio_postgres::tls::MakeTlsConnect<tokio_postgres::Socket>>::Stream,
>;

/// The configuration for one host, without `sslmode`.
pub fn config(target: &Target, endpoint: &Endpoint, attrs: TargetSessionAttrs, warnings: &mut Vec<String>) -> Config {
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
pub async fn attempt(
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

/// Why one host gave no session.
pub enum Failure {
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
    pub fn tries_next_host(&self) -> bool {
        self.class() == Class::Unreachable && self.code().is_none_or(|code| *code == SqlState::CANNOT_CONNECT_NOW)
    }

    pub fn text(&self) -> String {
        match self {
            Self::Timeout(limit) => format!("no answer within {} s", limit.as_secs()),
            Self::Postgres(error) if error.as_db_error().is_some() => explain(error),
            Self::Postgres(error) => chain(error),
        }
    }

    pub fn hint(&self, endpoint: &Endpoint) -> String {
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
                Host::Unix(dir) => {
                    format!("Is the server running, and is its socket in {0}? Try: pg_isready -h {0} -p {1}", dir.display(), endpoint.port)
                }
            };
        };
        hint.to_owned()
    }

    pub fn into_error(self, target: &Target, endpoint: &Endpoint, warnings: &[String]) -> SessionError {
        let described = Target { endpoints: vec![endpoint.clone()], ..target.clone() }.describe();
        let cause = self.text();
        match self.class() {
            Class::Unreachable => SessionError::Unreachable { target: described, cause, hint: self.hint(endpoint) },
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
