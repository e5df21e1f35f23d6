//! Where to connect: a parsed connection string with the environment and libpq's defaults filled in.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_postgres::config::{ChannelBinding, LoadBalanceHosts};

use super::conninfo::{self, Parameters};
use super::error::SessionError;

/// How long one host may take to answer when `connect_timeout` is not given. libpq waits for ever, which is no
/// use to a pipeline whose database does not answer.
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a host may leave what was sent to it unacknowledged, when `tcp_user_timeout` is not given.
const SILENCE: Duration = Duration::from_mins(2);

/// Each libpq parameter with the variable that fills it in (manual, 34.15 "Environment Variables").
const VARIABLES: [(&str, &str); 17] = [
    ("host", "PGHOST"),
    ("hostaddr", "PGHOSTADDR"),
    ("port", "PGPORT"),
    ("dbname", "PGDATABASE"),
    ("user", "PGUSER"),
    ("password", "PGPASSWORD"),
    ("passfile", "PGPASSFILE"),
    ("options", "PGOPTIONS"),
    ("application_name", "PGAPPNAME"),
    ("sslmode", "PGSSLMODE"),
    ("sslrootcert", "PGSSLROOTCERT"),
    ("sslcert", "PGSSLCERT"),
    ("sslkey", "PGSSLKEY"),
    ("connect_timeout", "PGCONNECT_TIMEOUT"),
    ("target_session_attrs", "PGTARGETSESSIONATTRS"),
    ("channel_binding", "PGCHANNELBINDING"),
    ("load_balance_hosts", "PGLOADBALANCEHOSTS"),
];

/// Parameters of libpq that change nothing for us; they are accepted so that a working string goes on working.
const WITHOUT_EFFECT: [&str; 18] = [
    "client_encoding",
    "fallback_application_name",
    "gssencmode",
    "gsslib",
    "gssdelegation",
    "krbsrvname",
    "min_protocol_version",
    "max_protocol_version",
    "replication",
    "requiressl",
    "sslcertmode",
    "sslcompression",
    "sslnegotiation",
    "sslsni",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "keepalives_count",
    "ssl",
];

/// A password. Its `Debug` hides it, and it has no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a password.
    pub fn new(password: impl Into<String>) -> Self {
        Self(password.into())
    }

    /// The password itself, to be handed to the server and to nobody else.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// A host name or address, or the folder of a Unix socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A name or an address.
    Tcp(String),
    /// A folder that holds `.s.PGSQL.<port>`.
    Unix(PathBuf),
}

/// One of the servers that may be tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// What the user called it; TLS verifies this name.
    pub host: Host,
    /// libpq's `hostaddr`: the address to go to instead of resolving the name.
    pub address: Option<IpAddr>,
    /// The TCP port, or the number in the socket's name.
    pub port: u16,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Tcp(name) if name.contains(':') => write!(f, "[{name}]:{}", self.port),
            Host::Tcp(name) => write!(f, "{name}:{}", self.port),
            Host::Unix(dir) => write!(f, "{}:{}", dir.display(), self.port),
        }
    }
}

/// libpq's `sslmode` (manual, 34.19.3 "Protection Provided in Different Modes").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SslMode {
    /// Plain only.
    Disable,
    /// Plain first, then encrypted.
    Allow,
    /// Encrypted first, then plain: the default.
    Prefer,
    /// Encrypted, nothing verified (unless a root certificate is named: then as `verify-ca`).
    Require,
    /// Encrypted, the chain verified.
    VerifyCa,
    /// Encrypted, chain and host name verified.
    VerifyFull,
}

/// libpq's `target_session_attrs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionAttrs {
    /// Any server will do.
    Any,
    /// `read-write` and `primary`.
    ReadWrite,
    /// `read-only` and `standby`.
    ReadOnly,
    /// A standby if there is one, any server otherwise.
    PreferStandby,
}

/// A database to connect to. Neither `Display` nor `Debug` shows a password.
#[derive(Debug, Clone)]
pub struct Target {
    /// Servers in the order in which they are tried; never empty.
    pub endpoints: Vec<Endpoint>,
    /// The role.
    pub user: String,
    /// The database.
    pub database: String,
    /// The password, when the string or the environment gave one.
    pub password: Option<Secret>,
    /// The file to look for a password in when none was given.
    pub passfile: Option<PathBuf>,
    /// Whether and how to encrypt.
    pub sslmode: SslMode,
    /// The file with root certificates; `system` means the operating system's.
    pub sslrootcert: Option<PathBuf>,
    /// The client's certificate and its key.
    pub client_certificate: Option<(PathBuf, PathBuf)>,
    /// `application_name`, when the user chose one.
    pub application_name: Option<String>,
    /// Command-line options for the server.
    pub options: Option<String>,
    /// How long one host may take, name resolution, TLS and authentication included; `None`: for ever.
    pub connect_timeout: Option<Duration>,
    /// What kind of server is wanted.
    pub session_attrs: SessionAttrs,
    pub(super) channel_binding: ChannelBinding,
    pub(super) load_balance_hosts: LoadBalanceHosts,
    /// `keepalives`, `keepalives_idle`, `keepalives_interval`, `tcp_user_timeout`.
    pub(super) keepalives: bool,
    pub(super) keepalives_idle: Duration,
    pub(super) keepalives_interval: Option<Duration>,
    pub(super) tcp_user_timeout: Option<Duration>,
}

impl Target {
    /// Reads a URL or a `key=value` string; what it leaves open comes from the `PG*` variables, then from
    /// libpq's defaults.
    ///
    /// # Errors
    /// [`SessionError::BadUrl`], which never quotes the string.
    pub fn parse(url: &str) -> Result<Self, SessionError> {
        Self::resolve(url, &|name| std::env::var(name).ok())
    }

    /// The target that the `PG*` variables alone describe, as for `psql` without arguments.
    ///
    /// # Errors
    /// [`SessionError::BadUrl`] when a variable has a value that libpq would refuse.
    pub fn from_env() -> Result<Self, SessionError> {
        Self::parse("")
    }

    /// [`Target::parse`] with the environment as an argument.
    ///
    /// # Errors
    /// See [`Target::parse`].
    pub fn resolve(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, SessionError> {
        let bad = |reason: String| SessionError::BadUrl { reason };
        let env = |name: &str| env(name).filter(|value| !value.is_empty());
        let mut given = conninfo::parse(text).map_err(bad)?;
        let service = find(&given, "service").or_else(|| env("PGSERVICE"));
        if let Some(service) = service {
            // What stands in the string wins over the service, the service over the variables.
            let mut all = conninfo::service(&service, &env).map_err(bad)?;
            all.append(&mut given);
            given = all;
        }
        for (key, variable) in VARIABLES {
            if let Some(value) = env(variable).filter(|_| find(&given, key).is_none()) {
                given.push((key.to_owned(), value));
            }
        }
        Self::from_parameters(&given, &env).map_err(bad)
    }

    fn from_parameters(given: &Parameters, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, String> {
        let known = |key: &str| {
            VARIABLES.iter().any(|(name, _)| *name == key)
                || WITHOUT_EFFECT.contains(&key)
                || ["service", "keepalives", "keepalives_idle", "keepalives_interval", "tcp_user_timeout"].contains(&key)
        };
        if let Some((key, _)) = given.iter().find(|(key, _)| !known(key)) {
            return Err(format!("there is no connection parameter \"{key}\""));
        }
        let get = |key: &str| find(given, key);
        let Some(user) = get("user").or_else(os_user) else {
            return Err("no user is given and the running user has no name; add user@".to_owned());
        };
        let home = |file: &str| env("HOME").map(|home| Path::new(&home).join(file));
        let sslrootcert = get("sslrootcert").map(PathBuf::from);
        let system_roots = sslrootcert.as_deref() == Some(Path::new("system"));
        let sslmode = match get("sslmode").as_deref() {
            // The system's roots sign anybody: libpq insists on the host name too.
            None if system_roots => SslMode::VerifyFull,
            Some("disable") => SslMode::Disable,
            Some("allow") => SslMode::Allow,
            None | Some("prefer") => SslMode::Prefer,
            Some("require") => SslMode::Require,
            Some("verify-ca") => SslMode::VerifyCa,
            Some("verify-full") => SslMode::VerifyFull,
            Some(_) => {
                return Err("sslmode is none of disable, allow, prefer, require, verify-ca, verify-full".to_owned());
            }
        };
        if system_roots && sslmode != SslMode::VerifyFull {
            return Err("sslrootcert=system needs sslmode=verify-full".to_owned());
        }
        let client_certificate = match (get("sslcert"), get("sslkey")) {
            (Some(certificate), key) => {
                let key = key.map(PathBuf::from).or_else(|| home(".postgresql/postgresql.key"));
                Some((certificate.into(), key.ok_or("sslcert is given without sslkey")?))
            }
            (None, _) => home(".postgresql/postgresql.crt")
                .filter(|file| file.is_file())
                .zip(get("sslkey").map(PathBuf::from).or_else(|| home(".postgresql/postgresql.key"))),
        };
        let session_attrs = match get("target_session_attrs").as_deref() {
            None | Some("any") => SessionAttrs::Any,
            // `primary` differs from `read-write` only where default_transaction_read_only is on, where a
            // schema change could not be made either.
            Some("read-write" | "primary") => SessionAttrs::ReadWrite,
            Some("read-only" | "standby") => SessionAttrs::ReadOnly,
            Some("prefer-standby") => SessionAttrs::PreferStandby,
            Some(_) => {
                return Err("target_session_attrs is none of any, read-write, read-only, primary, standby, prefer-standby".to_owned());
            }
        };
        let channel_binding = match get("channel_binding").as_deref() {
            None | Some("prefer") => ChannelBinding::Prefer,
            Some("disable") => ChannelBinding::Disable,
            Some("require") => ChannelBinding::Require,
            Some(_) => return Err("channel_binding is none of disable, prefer, require".to_owned()),
        };
        let load_balance_hosts = match get("load_balance_hosts").as_deref() {
            None | Some("disable") => LoadBalanceHosts::Disable,
            Some("random") => LoadBalanceHosts::Random,
            Some(_) => return Err("load_balance_hosts is none of disable, random".to_owned()),
        };
        let connect_timeout = match number(given, "connect_timeout")? {
            None => Some(DEFAULT_CONNECT_TIMEOUT),
            Some(seconds) if seconds <= 0 => None,
            Some(seconds) => Some(Duration::from_secs(seconds.unsigned_abs())),
        };
        let positive = |key: &str| -> Result<Option<Duration>, String> {
            Ok(number(given, key)?.filter(|value| *value > 0).map(|value| Duration::from_secs(value.unsigned_abs())))
        };
        Ok(Self {
            endpoints: endpoints(given)?,
            database: get("dbname").unwrap_or_else(|| user.clone()),
            user,
            password: get("password").map(Secret::new),
            passfile: get("passfile").map(PathBuf::from).or_else(|| home(".pgpass")),
            sslmode,
            sslrootcert: sslrootcert.or_else(|| home(".postgresql/root.crt").filter(|file| file.is_file())),
            client_certificate,
            application_name: get("application_name"),
            options: get("options"),
            connect_timeout,
            session_attrs,
            channel_binding,
            load_balance_hosts,
            keepalives: number(given, "keepalives")? != Some(0),
            // A CREATE INDEX CONCURRENTLY is silent for hours; two hours, the system's default, is longer than
            // what most NAT tables and load balancers remember.
            keepalives_idle: positive("keepalives_idle")?.unwrap_or(Duration::from_mins(1)),
            // A host that is gone without a word (a failover, a cut cable) is noticed within minutes, not after a quarter of an hour:
            // the system's defaults are 75 s nine times over, and as long for what was sent and not acknowledged.
            keepalives_interval: positive("keepalives_interval")?.or(Some(Duration::from_secs(10))),
            tcp_user_timeout: match number(given, "tcp_user_timeout")? {
                None => Some(SILENCE),
                Some(millis) if millis <= 0 => None,
                Some(millis) => Some(Duration::from_millis(millis.unsigned_abs())),
            },
        })
    }

    /// A server's Unix socket, without password or TLS.
    #[must_use]
    pub fn unix(dir: &Path, port: u16, user: &str, database: &str) -> Self {
        let host = Host::Unix(dir.to_owned());
        Self {
            endpoints: vec![Endpoint { host, address: None, port }],
            user: user.to_owned(),
            database: database.to_owned(),
            password: None,
            passfile: None,
            sslmode: SslMode::Disable,
            sslrootcert: None,
            client_certificate: None,
            application_name: None,
            options: None,
            connect_timeout: Some(DEFAULT_CONNECT_TIMEOUT),
            session_attrs: SessionAttrs::Any,
            channel_binding: ChannelBinding::Prefer,
            load_balance_hosts: LoadBalanceHosts::Disable,
            keepalives: true,
            keepalives_idle: Duration::from_mins(1),
            keepalives_interval: None,
            tcp_user_timeout: None,
        }
    }

    /// The same server, another database.
    #[must_use]
    pub fn with_database(&self, name: &str) -> Self {
        Self { database: name.to_owned(), ..self.clone() }
    }

    /// `digital_twin at db1:5432`; several servers are separated by commas.
    #[must_use]
    pub fn describe(&self) -> String {
        let hosts: Vec<String> = self.endpoints.iter().map(ToString::to_string).collect();
        format!("{} at {}", self.database, hosts.join(","))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe())
    }
}

/// The last value given for `key`; an empty one counts as none, as in libpq.
fn find(given: &Parameters, key: &str) -> Option<String> {
    let value = given.iter().rev().find(|(name, _)| name == key);
    value.map(|(_, value)| value.clone()).filter(|value| !value.is_empty())
}

fn number(given: &Parameters, key: &str) -> Result<Option<i64>, String> {
    match find(given, key) {
        None => Ok(None),
        Some(value) => match value.trim().parse() {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(format!("{key} is not a whole number")),
        },
    }
}

/// Pairs hosts, addresses and ports: one port serves all hosts, otherwise the lists have the same length.
fn endpoints(given: &Parameters) -> Result<Vec<Endpoint>, String> {
    let list = |key: &str| -> Vec<String> { find(given, key).map_or_else(Vec::new, |value| value.split(',').map(str::to_owned).collect()) };
    let (hosts, addresses, ports) = (list("host"), list("hostaddr"), list("port"));
    let count = hosts.len().max(addresses.len()).max(1);
    if !hosts.is_empty() && !addresses.is_empty() && hosts.len() != addresses.len() {
        return Err(format!("there are {} hosts but {} hostaddr", hosts.len(), addresses.len()));
    }
    if ports.len() > 1 && ports.len() != count {
        return Err(format!("there are {count} hosts but {} ports", ports.len()));
    }
    (0..count)
        .map(|index| {
            let address: Option<IpAddr> = match addresses.get(index).filter(|text| !text.is_empty()) {
                None => None,
                Some(text) => Some(text.parse().map_err(|_| format!("hostaddr \"{text}\" is not an IP address"))?),
            };
            let host = match (hosts.get(index).filter(|name| !name.is_empty()), address) {
                (Some(name), _) if name.starts_with('/') => Host::Unix(PathBuf::from(name)),
                (Some(name), _) => Host::Tcp(name.clone()),
                (None, Some(address)) => Host::Tcp(address.to_string()),
                (None, None) => default_host(),
            };
            let port = match ports.get(index).or_else(|| ports.first().filter(|_| ports.len() == 1)) {
                None => 5432,
                Some(text) if text.is_empty() => 5432,
                Some(text) => match text.trim().parse::<u16>() {
                    Ok(port) if port > 0 => port,
                    _ => return Err(format!("the port \"{text}\" is not between 1 and 65535")),
                },
            };
            Ok(Endpoint { host, address, port })
        })
        .collect()
}

/// The socket folder that this machine's libpq would use: a matter of how it was built, so we look.
fn default_host() -> Host {
    ["/var/run/postgresql", "/tmp"]
        .into_iter()
        .map(PathBuf::from)
        .find(|dir| {
            let names = std::fs::read_dir(dir).into_iter().flatten().flatten();
            names.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with(".s.PGSQL."))
        })
        .map_or_else(|| Host::Tcp("localhost".to_owned()), Host::Unix)
}

/// The name of the running user, as libpq takes it: from the user database, not from `USER`.
fn os_user() -> Option<String> {
    super::server::user_name(rustix::process::geteuid().as_raw()).or_else(|| std::env::var("USER").ok())
}

#[cfg(test)]
#[path = "target_tests.rs"]
mod tests;
