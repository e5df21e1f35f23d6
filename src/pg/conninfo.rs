//! Connection strings as libpq reads them (PostgreSQL manual, 34.1.1 "Connection Strings").
//!
//! A string becomes an ordered list of parameters; what they mean is decided in [`super::target`]. We do not use
//! `tokio_postgres::Config`'s own parser because it rejects parameters that libpq knows (`sslrootcert`,
//! `sslmode=verify-full`) and because its errors cannot be told apart.

use std::path::PathBuf;

/// Parameters of a connection in the order given; a later one wins.
pub type Parameters = Vec<(String, String)>;

/// Reads a URL (`postgres://…`, `postgresql://…`) or a `key=value` string.
///
/// # Errors
/// A sentence that says what is wrong. It never quotes a value, since values may be passwords.
pub fn parse(text: &str) -> Result<Parameters, String> {
    let text = text.trim();
    if let Some(rest) = text.strip_prefix("postgresql://").or_else(|| text.strip_prefix("postgres://")) {
        return parse_url(rest);
    }
    if let Some((scheme, _)) = text.split_once("://")
        && !scheme.contains(['=', ' '])
    {
        return Err(match scheme.split_once('+') {
            Some((base @ ("postgres" | "postgresql"), driver)) => {
                format!("the scheme \"{base}+{driver}://\" names a driver of another library; write \"postgresql://\"")
            }
            _ => format!("the scheme \"{scheme}://\" is not PostgreSQL's; write \"postgresql://\""),
        });
    }
    parse_pairs(text)
}

/// `user:password@host:port,host:port/database?key=value&…`, the scheme already taken off.
fn parse_url(rest: &str) -> Result<Parameters, String> {
    let mut parameters = Parameters::new();
    let (rest, query) = match rest.split_once('?') {
        Some((rest, query)) => (rest, Some(query)),
        None => (rest, None),
    };
    // The first slash ends the hosts, unless it belongs to the password: libpq takes the user part first.
    let (credentials, rest) = match (rest.find('@'), rest.find('/')) {
        (Some(at), slash) if slash.is_none_or(|slash| at < slash) => (Some(&rest[..at]), &rest[at + 1..]),
        (Some(_), Some(_)) => {
            return Err("there is a \"/\" before the \"@\"; write a slash in a password as %2F".to_owned());
        }
        _ => (None, rest),
    };
    if rest.contains('@') {
        return Err("there is more than one \"@\"; write an @ in a password as %40".to_owned());
    }
    if let Some(credentials) = credentials {
        let (user, password) = match credentials.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (credentials, None),
        };
        if !user.is_empty() {
            parameters.push(("user".to_owned(), decode(user, "user")?));
        }
        if let Some(password) = password.filter(|password| !password.is_empty()) {
            parameters.push(("password".to_owned(), decode(password, "password")?));
        }
    }
    let (hosts, database) = match rest.split_once('/') {
        Some((hosts, database)) => (hosts, Some(database)),
        None => (rest, None),
    };
    if !hosts.is_empty() {
        let mut names = Vec::new();
        let mut ports = Vec::new();
        for part in hosts.split(',') {
            let (host, port) = split_host_port(part)?;
            names.push(decode(host, "host")?);
            ports.push(decode(port, "port")?);
        }
        if names.iter().any(|name| !name.is_empty()) {
            parameters.push(("host".to_owned(), names.join(",")));
        }
        if ports.iter().any(|port| !port.is_empty()) {
            parameters.push(("port".to_owned(), ports.join(",")));
        }
    }
    if let Some(database) = database.filter(|database| !database.is_empty()) {
        parameters.push(("dbname".to_owned(), decode(database, "database")?));
    }
    for pair in query.unwrap_or("").split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').ok_or("a parameter after \"?\" has no \"=\"")?;
        let key = decode(key, "parameter name")?;
        let value = decode(value, &key)?;
        // libpq does the same for what JDBC URLs say.
        if key == "ssl" && value == "true" {
            parameters.push(("sslmode".to_owned(), "require".to_owned()));
        } else {
            parameters.push((key, value));
        }
    }
    Ok(parameters)
}

/// Splits `host:port`, where an IPv6 address stands in brackets.
fn split_host_port(text: &str) -> Result<(&str, &str), String> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or("an IPv6 address has no closing bracket")?;
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, port)),
            None if rest.is_empty() => Ok((host, "")),
            None => Err("something stands between an IPv6 address and its port".to_owned()),
        };
    }
    Ok(text.split_once(':').unwrap_or((text, "")))
}

/// Undoes percent encoding. `what` names the part for the error.
fn decode(text: &str, what: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        let (Some(high), Some(low)) = (digit(rest.next()), digit(rest.next())) else {
            return Err(format!("the {what} has a \"%\" without two hexadecimal digits; write a percent sign as %25"));
        };
        bytes.push(u8::try_from(high * 16 + low).expect("two hexadecimal digits fit a byte"));
    }
    if bytes.contains(&0) {
        return Err(format!("the {what} holds %00"));
    }
    String::from_utf8(bytes).map_err(|_| format!("the {what} is not UTF-8"))
}

/// `key = value`, `key='a value with \' and \\'`, separated by white space.
fn parse_pairs(text: &str) -> Result<Parameters, String> {
    let mut parameters = Parameters::new();
    let mut rest = text.chars().peekable();
    loop {
        while rest.next_if(|c| c.is_whitespace()).is_some() {}
        if rest.peek().is_none() {
            return Ok(parameters);
        }
        let mut key = String::new();
        while let Some(c) = rest.next_if(|c| *c != '=' && !c.is_whitespace()) {
            key.push(c);
        }
        while rest.next_if(|c| c.is_whitespace()).is_some() {}
        if rest.next() != Some('=') {
            return Err("it is neither a URL (postgresql://user@host/database) nor a list of key=value".to_owned());
        }
        while rest.next_if(|c| c.is_whitespace()).is_some() {}
        let quoted = rest.next_if_eq(&'\'').is_some();
        let mut value = String::new();
        let mut closed = !quoted;
        while let Some(c) = rest.next() {
            match c {
                '\'' if quoted => {
                    closed = true;
                    break;
                }
                c if !quoted && c.is_whitespace() => break,
                '\\' => value.extend(rest.next()),
                c => value.push(c),
            }
        }
        if !closed {
            return Err(format!("the value of \"{key}\" has no closing quote"));
        }
        parameters.push((key, value));
    }
}

/// The parameters of a section of the connection service file (manual, 34.17): `PGSERVICEFILE` or
/// `~/.pg_service.conf`, then `pg_service.conf` in `PGSYSCONFDIR`.
///
/// # Errors
/// When no file has that section: to go on without it would connect to the wrong database.
pub fn service(name: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Parameters, String> {
    let user_file =
        env("PGSERVICEFILE").map(PathBuf::from).or_else(|| env("HOME").map(|home| PathBuf::from(home).join(".pg_service.conf")));
    let system_file = env("PGSYSCONFDIR").map(|dir| PathBuf::from(dir).join("pg_service.conf"));
    for file in user_file.into_iter().chain(system_file) {
        let Ok(text) = std::fs::read_to_string(&file) else {
            continue;
        };
        let mut found: Option<Parameters> = None;
        for line in text.lines().map(str::trim) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(section) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
                if found.is_some() {
                    break;
                }
                if section == name {
                    found = Some(Parameters::new());
                }
            } else if let (Some(found), Some((key, value))) = (&mut found, line.split_once('=')) {
                found.push((key.to_owned(), value.to_owned()));
            }
        }
        if let Some(found) = found {
            return Ok(found);
        }
    }
    Err(format!("the service \"{name}\" is in no service file (PGSERVICEFILE, ~/.pg_service.conf, PGSYSCONFDIR)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        parse(text).expect("parses")
    }

    fn as_text(text: &str) -> String {
        let list: Vec<String> = pairs(text).into_iter().map(|(key, value)| format!("{key}={value}")).collect();
        list.join(" | ")
    }

    #[test]
    fn urls() {
        assert_eq!(as_text("postgres://"), "");
        assert_eq!(
            as_text("postgresql://u%40x:p%2Fq:r@db1:5433/my%20db?sslmode=verify-full&application_name=a"),
            "user=u@x | password=p/q:r | host=db1 | port=5433 | dbname=my db | sslmode=verify-full | application_name=a"
        );
        assert_eq!(as_text("postgresql://a:1,[::1]:2,c/d"), "host=a,::1,c | port=1,2, | dbname=d");
        assert_eq!(as_text("postgresql://%2Fvar%2Frun%2Fpostgresql/d"), "host=/var/run/postgresql | dbname=d");
        assert_eq!(as_text("postgresql:///d?host=/tmp&user=u&ssl=true"), "dbname=d | host=/tmp | user=u | sslmode=require");
    }

    #[test]
    fn key_value_strings() {
        assert_eq!(as_text(r"host=db1 user = me password='a \' b\\' dbname=''"), r"host=db1 | user=me | password=a ' b\ | dbname=");
    }

    #[test]
    fn errors_do_not_quote_passwords() {
        for text in [
            "postgres://u:sec/ret@h/d",
            "postgres://u:sec@ret@h/d",
            "postgres://u:sec%ret@h/d",
            "password='secret",
            "secret",
            "mysql://u:secret@h",
            "postgresql+asyncpg://u:secret@h",
        ] {
            let message = parse(text).expect_err(text);
            assert!(!message.contains("ret"), "{message}");
        }
    }

    #[test]
    fn service_files() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let file = dir.path().join("services");
        std::fs::write(&file, "# mine\n[one]\nhost=a\n[two]\nhost=b\nport=6\n[three]\nhost=c\n").expect("written");
        let path = file.display().to_string();
        let env = move |name: &str| (name == "PGSERVICEFILE").then(|| path.clone());
        assert_eq!(service("two", &env), Ok(vec![("host".into(), "b".into()), ("port".into(), "6".into())]));
        assert!(service("four", &env).is_err());
    }
}
