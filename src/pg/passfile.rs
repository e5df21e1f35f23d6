//! The password file (PostgreSQL manual, 34.16 "The Password File").

use std::path::Path;

use super::target::{Endpoint, Host, Secret};

/// Socket directories that libpq builds use by default; a password file calls them `localhost`.
const DEFAULT_SOCKET_DIRS: [&str; 3] = ["/var/run/postgresql", "/run/postgresql", "/tmp"];

/// What looking into a password file gave.
#[derive(Debug, Default)]
pub struct Lookup {
    /// The password of the first line that matches.
    pub password: Option<Secret>,
    /// Why the file was passed over, in libpq's sense a warning and no error.
    pub warning: Option<String>,
}

/// Looks for the password of `user` for `database` at `endpoint`.
///
/// As in libpq, a file that others may read, or that is no plain file, is passed over with a warning; a file
/// that is not there is nothing to warn about.
#[must_use]
pub fn look_up(file: &Path, endpoint: &Endpoint, database: &str, user: &str) -> Lookup {
    use std::os::unix::fs::PermissionsExt as _;

    let Ok(metadata) = std::fs::metadata(file) else {
        return Lookup::default();
    };
    let warning = |text: String| Lookup { password: None, warning: Some(text) };
    if !metadata.is_file() {
        return warning(format!("the password file {} is not a plain file and is ignored", file.display()));
    }
    if metadata.permissions().mode() & 0o077 != 0 {
        return warning(format!("the password file {0} is ignored because others may read it; type: chmod 0600 {0}", file.display()));
    }
    match std::fs::read_to_string(file) {
        Ok(text) => Lookup { password: find(&text, endpoint, database, user), warning: None },
        Err(error) => warning(format!("the password file {} cannot be read: {error}", file.display())),
    }
}

/// The password in the first line of `text` that matches.
fn find(text: &str, endpoint: &Endpoint, database: &str, user: &str) -> Option<Secret> {
    let host = match &endpoint.host {
        Host::Tcp(name) => name.as_str(),
        Host::Unix(dir) => match dir.to_str()? {
            dir if DEFAULT_SOCKET_DIRS.contains(&dir) => "localhost",
            dir => dir,
        },
    };
    let port = endpoint.port.to_string();
    text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let (fields, password) = split(line)?;
        let wanted = [host, &port, database, user];
        let matches = fields.iter().zip(wanted).all(|(field, wanted)| field.is_none() || field.as_deref() == Some(wanted));
        (matches && !password.is_empty()).then(|| Secret::new(password))
    })
}

/// The four fields of a line (`None` for the wildcard `*`) and its password, escapes undone.
fn split(line: &str) -> Option<([Option<String>; 4], String)> {
    let mut fields: [Option<String>; 4] = [const { None }; 4];
    let mut rest = line.chars();
    for field in &mut fields {
        let mut text = String::new();
        let mut escaped = false;
        loop {
            match rest.next()? {
                ':' => break,
                '\\' => {
                    escaped = true;
                    text.push(rest.next()?);
                }
                c => text.push(c),
            }
        }
        // An escaped asterisk is a name, a bare one the wildcard.
        *field = (escaped || text != "*").then_some(text);
    }
    let mut password = String::new();
    while let Some(c) = rest.next() {
        match c {
            '\\' => password.extend(rest.next()),
            // What follows a colon is kept for future fields.
            ':' => break,
            c => password.push(c),
        }
    }
    Some((fields, password.trim_end_matches('\r').to_owned()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn at(host: Host, port: u16) -> Endpoint {
        Endpoint { host, address: None, port }
    }

    fn password(text: &str, endpoint: &Endpoint) -> Option<String> {
        find(text, endpoint, "db", "me").map(|secret| secret.expose().to_owned())
    }

    #[test]
    fn first_match_wins_with_wildcards_and_escapes() {
        let tcp = at(Host::Tcp("h1".into()), 5432);
        let text = "# h1:5432:db:me:comment\nh2:*:*:*:two\nh1:*:other:me:three\n*:5432:db:me:a\\:b\\\\c\n*:*:*:*:last";
        assert_eq!(password(text, &tcp).as_deref(), Some("a:b\\c"));
        assert_eq!(password(text, &at(Host::Tcp("h1".into()), 1)).as_deref(), Some("last"));
        assert_eq!(password("h1:5432:db", &tcp), None);
        assert_eq!(password("::1:5432:db:me:x\n\\:\\:1:5432:db:me:six", &at(Host::Tcp("::1".into()), 5432)).as_deref(), Some("six"));
    }

    #[test]
    fn default_socket_dirs_are_called_localhost() {
        let text = "localhost:*:*:*:one\n/srv/pg:*:*:*:two";
        let unix = |dir: &str| at(Host::Unix(dir.into()), 5432);
        assert_eq!(password(text, &unix("/var/run/postgresql")).as_deref(), Some("one"));
        assert_eq!(password(text, &unix("/srv/pg")).as_deref(), Some("two"));
    }

    #[test]
    fn a_file_that_others_may_read_is_ignored_with_a_warning() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let file = dir.path().join("pgpass");
        std::fs::write(&file, "*:*:*:*:secret").expect("written");
        let endpoint = at(Host::Tcp("h".into()), 5432);
        for (mode, found) in [(0o600, true), (0o640, false), (0o604, false)] {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("set");
            let lookup = look_up(&file, &endpoint, "db", "me");
            assert_eq!(lookup.password.is_some(), found);
            assert_eq!(lookup.warning.is_some(), !found);
        }
        let absent = look_up(&dir.path().join("none"), &endpoint, "db", "me");
        assert!(absent.password.is_none() && absent.warning.is_none());
    }
}
