//! Finding a PostgreSQL installation on this machine.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Something is wrong with the server programs, or with the scratch server that runs on them.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// No suitable installation.
    #[error("no PostgreSQL {wanted}server programs on this machine{found}\n{hint}")]
    NotFound {
        /// `15 `, or nothing when any would do.
        wanted: String,
        /// What was found instead.
        found: String,
        /// The command that installs one.
        hint: String,
    },
    /// A folder that was named is no installation.
    #[error("{place} holds no PostgreSQL server: {reason}\n{hint}", place = .path.display())]
    Unusable {
        /// The folder with the programs.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
        /// What to do.
        hint: String,
    },
    /// A program could not be run, or failed.
    #[error("{program} failed: {reason}")]
    Program {
        /// The program with its path.
        program: String,
        /// What it said.
        reason: String,
    },
    /// A scratch server did not start, or died.
    #[error("the scratch server {did}: {reason}\nIts log ends with:\n{log}")]
    Scratch {
        /// What happened.
        did: &'static str,
        /// Why.
        reason: String,
        /// The last lines of its log.
        log: String,
    },
    /// A download failed.
    #[error("downloading PostgreSQL {wanted}failed: {reason}\n{hint}")]
    Download {
        /// `15 `, or nothing when any would do.
        wanted: String,
        /// The chain of causes.
        reason: String,
        /// The command that installs one without our download.
        hint: String,
    },
    /// A file or folder could not be made, copied or removed.
    #[error("cannot {action} {path}: {source}", path = .path.display())]
    Io {
        /// What was tried: "create", "copy", ….
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A scratch server refused a connection or a statement.
    #[error(transparent)]
    Session(#[from] super::error::SessionError),
}

impl ServerError {
    /// Turns an IO error into [`ServerError::Io`].
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

/// A folder with the programs of one PostgreSQL version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    /// The folder that holds `postgres`, `initdb`, and usually `psql` and `pg_dump`.
    pub bin: PathBuf,
    /// 15 for 15.18.
    pub major: u32,
    /// As `postgres --version` gives it: `15.18 (Debian …)`.
    pub version: String,
}

impl Installation {
    /// Looks at the folder `bin`.
    ///
    /// # Errors
    /// [`ServerError::Unusable`] when `initdb` or `postgres` is not in it or does not run.
    pub fn at(bin: &Path) -> Result<Self, ServerError> {
        let unusable = |reason: String| ServerError::Unusable {
            path: bin.to_owned(),
            reason,
            hint: "Name the folder that holds postgres and initdb, such as /usr/lib/postgresql/15/bin.".to_owned(),
        };
        if let Some(absent) = ["postgres", "initdb"].iter().find(|name| !bin.join(name).is_file()) {
            return Err(unusable(format!("{absent} is not in it")));
        }
        let output = run_version(&bin.join("postgres")).map_err(unusable)?;
        let (version, major) = parse_version(&output).ok_or_else(|| unusable(format!("postgres --version says \"{output}\"")))?;
        Ok(Self { bin: bin.to_owned(), major, version })
    }

    /// The path of one of its programs.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    /// What `pg_dump --version` says, as `15.18 (Debian …)`; `None` when this installation has no `pg_dump`.
    #[must_use]
    pub fn pg_dump_version(&self) -> Option<String> {
        let output = run_version(&self.program("pg_dump")).ok()?;
        parse_version(&output).map(|(version, _)| version)
    }

    /// Whether the control file of an extension is in one of the folders where installations keep them.
    #[must_use]
    pub fn has_extension(&self, name: &str) -> bool {
        let control = format!("extension/{name}.control");
        let prefix = self.bin.parent().unwrap_or(&self.bin);
        let debian = PathBuf::from(format!("/usr/share/postgresql/{}", self.major));
        [prefix.join("share"), prefix.join("share/postgresql"), debian].iter().any(|share| share.join(&control).is_file())
    }
}

/// The output of `program --version`.
fn run_version(program: &Path) -> Result<String, String> {
    match Command::new(program).arg("--version").output() {
        Ok(output) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Err(format!("{} does not run: {error}", program.display())),
    }
}

/// `postgres (PostgreSQL) 15.18 (Debian …)` gives `15.18 (Debian …)` and 15; so do `19devel` and `19beta1`.
fn parse_version(output: &str) -> Option<(String, u32)> {
    let (_, version) = output.split_once("(PostgreSQL) ")?;
    let digits = version.split(|c: char| !c.is_ascii_digit()).next()?;
    Some((version.to_owned(), digits.parse().ok()?))
}

/// Finds an installation: of version `major`, or the newest one. An installation that `SCHEMA_PG_BIN` names wins
/// over a newer one.
///
/// The order: `SCHEMA_PG_BIN` (one or more folders, as in PATH), `pg_config`, `initdb` and `postgres` on PATH, the
/// folders where packages put them, servers that were downloaded before.
///
/// # Errors
/// [`ServerError::NotFound`] with the command that installs one; [`ServerError::Unusable`] when `SCHEMA_PG_BIN`
/// is wrong.
pub fn find(major: Option<u32>) -> Result<Installation, ServerError> {
    let named = std::env::var_os("SCHEMA_PG_BIN").filter(|value| !value.is_empty());
    let mut all = Vec::new();
    for bin in named.iter().flat_map(std::env::split_paths) {
        all.push(Installation::at(&bin)?);
    }
    if let Some(found) = choose(&all, major) {
        return Ok(found);
    }
    for bin in candidates() {
        if !all.iter().any(|known| known.bin == bin)
            && let Ok(installation) = Installation::at(&bin)
        {
            all.push(installation);
        }
    }
    choose(&all, major).ok_or_else(|| ServerError::NotFound {
        wanted: wanted(major),
        found: if all.is_empty() {
            String::new()
        } else {
            let versions: Vec<String> = all.iter().map(|one| one.major.to_string()).collect();
            format!(" (found: {})", versions.join(", "))
        },
        hint: install_hint(major),
    })
}

/// The first of the wanted version, or the first of the newest.
fn choose(all: &[Installation], major: Option<u32>) -> Option<Installation> {
    match major {
        Some(major) => all.iter().find(|one| one.major == major).cloned(),
        // `max_by_key` takes the last of equals, and the first found is the preferred one.
        None => all.iter().rev().max_by_key(|one| one.major).cloned(),
    }
}

/// `15 ` or nothing, to stand in a sentence.
pub(super) fn wanted(major: Option<u32>) -> String {
    major.map(|major| format!("{major} ")).unwrap_or_default()
}

/// Every folder worth a look, the preferred first.
fn candidates() -> Vec<PathBuf> {
    let mut bins = Vec::new();
    if let Ok(output) = Command::new("pg_config").arg("--bindir").output()
        && output.status.success()
    {
        bins.push(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    for dir in std::env::split_paths(&path) {
        // A link such as /usr/local/bin/initdb leads to the folder where its siblings are.
        let links = ["initdb", "postgres"].map(|name| dir.join(name).canonicalize());
        bins.extend(links.into_iter().flatten().filter_map(|file| file.parent().map(Path::to_owned)));
    }
    for (parent, prefix, rest) in [
        ("/usr/lib/postgresql", "", "bin"),
        ("/usr", "pgsql-", "bin"),
        ("/opt/homebrew/opt", "postgresql@", "bin"),
        ("/usr/local/opt", "postgresql@", "bin"),
        ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
    ] {
        bins.extend(children(Path::new(parent), prefix).into_iter().map(|dir| dir.join(rest)));
    }
    bins.extend(children(&downloads_dir(), "").into_iter().map(|dir| dir.join("bin")));
    let mut seen = std::collections::BTreeSet::new();
    bins.retain(|bin| bin.is_dir() && seen.insert(bin.clone()));
    bins
}

/// The folders in `parent` whose names begin with `prefix`, the last in alphabetical order first.
fn children(parent: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries
        .filter(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name.starts_with(prefix) && !name.starts_with('.')
        })
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found.reverse();
    found
}

/// The command that installs PostgreSQL here.
pub(super) fn install_hint(major: Option<u32>) -> String {
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let command = install_command(&release, cfg!(target_os = "macos"), major);
    format!("Install it: {command}\nOr set SCHEMA_PG_BIN to the folder that holds postgres and initdb.")
}

fn install_command(os_release: &str, macos: bool, major: Option<u32>) -> String {
    let ids: Vec<&str> = os_release
        .lines()
        .filter_map(|line| line.strip_prefix("ID=").or_else(|| line.strip_prefix("ID_LIKE=")))
        .flat_map(|value| value.trim_matches(['"', '\'']).split_whitespace())
        .collect();
    let is = |names: &[&str]| ids.iter().any(|id| names.contains(id));
    let dashed = major.map(|major| format!("-{major}")).unwrap_or_default();
    let plain = major.map(|major| major.to_string()).unwrap_or_default();
    if macos {
        format!("brew install postgresql@{}", major.unwrap_or(18))
    } else if is(&["debian", "ubuntu"]) {
        format!("sudo apt-get install postgresql{dashed}")
    } else if is(&["fedora", "rhel", "centos"]) {
        "sudo dnf install postgresql-server".to_owned()
    } else if is(&["alpine"]) {
        format!("apk add postgresql{plain}")
    } else if is(&["arch"]) {
        "sudo pacman -S postgresql".to_owned()
    } else if is(&["suse", "opensuse"]) {
        format!("sudo zypper install postgresql{plain}-server")
    } else {
        "see https://www.postgresql.org/download/".to_owned()
    }
}

/// Where we keep what can be made again: `SCHEMA_CACHE_DIR`, else `$XDG_CACHE_HOME/schema`, else
/// `~/.cache/schema`.
#[must_use]
pub fn cache_dir() -> PathBuf {
    let var = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    var("SCHEMA_CACHE_DIR")
        .or_else(|| var("XDG_CACHE_HOME").map(|dir| dir.join("schema")))
        .or_else(|| var("HOME").map(|dir| dir.join(".cache/schema")))
        .unwrap_or_else(|| std::env::temp_dir().join(format!("schema-cache-{}", rustix::process::geteuid().as_raw())))
}

/// Where downloaded servers are. Root's cache is in root's home, into which the user that has to run the server
/// may not look; `/var/cache` is what the file system standard has for that.
#[must_use]
pub fn downloads_dir() -> PathBuf {
    if rustix::process::geteuid().is_root() && std::env::var_os("SCHEMA_CACHE_DIR").is_none() {
        return PathBuf::from("/var/cache/schema/servers");
    }
    cache_dir().join("servers")
}

/// A line of `/etc/passwd`, as far as we need it.
pub(super) struct User {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
}

fn users() -> Vec<User> {
    let text = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?.to_owned();
            let uid = fields.nth(1)?.parse().ok()?;
            let gid = fields.next()?.parse().ok()?;
            Some(User { name, uid, gid })
        })
        .collect()
}

/// The name of a user id.
pub(super) fn user_name(uid: u32) -> Option<String> {
    users().into_iter().find(|user| user.uid == uid).map(|user| user.name)
}

/// Whom servers have to run as: nobody else, unless we are root, as whom PostgreSQL refuses to run.
pub(super) fn unprivileged_user() -> Option<User> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let mut users = users();
    let index = ["postgres", "nobody"].iter().find_map(|name| users.iter().position(|user| user.name == *name));
    let fallback = || User { name: "nobody".to_owned(), uid: 65534, gid: 65534 };
    Some(index.map_or_else(fallback, |index| users.swap_remove(index)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        let parsed = parse_version("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)");
        assert_eq!(parsed, Some(("15.18 (Debian 15.18-0+deb12u1)".to_owned(), 15)));
        assert_eq!(parse_version("postgres (PostgreSQL) 19devel"), Some(("19devel".to_owned(), 19)));
        assert_eq!(parse_version("something else"), None);
    }

    #[test]
    fn the_wanted_or_the_newest_is_chosen() {
        let one = |bin: &str, major| Installation { bin: bin.into(), major, version: String::new() };
        let all = [one("a", 15), one("b", 17), one("c", 17), one("d", 16)];
        assert_eq!(choose(&all, None).map(|one| one.bin), Some("b".into()));
        assert_eq!(choose(&all, Some(16)).map(|one| one.bin), Some("d".into()));
        assert_eq!(choose(&all, Some(18)), None);
    }

    #[test]
    fn install_commands() {
        let command = |release: &str| install_command(release, false, Some(16));
        assert_eq!(command("NAME=x\nID=debian\n"), "sudo apt-get install postgresql-16");
        assert_eq!(command("ID=linuxmint\nID_LIKE=\"ubuntu debian\""), "sudo apt-get install postgresql-16");
        assert_eq!(command("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\""), "sudo dnf install postgresql-server");
        assert_eq!(install_command("", true, None), "brew install postgresql@18");
        assert!(command("").contains("https://"));
    }

    #[test]
    fn a_wrong_folder_is_named() {
        let error = Installation::at(Path::new("/nowhere")).expect_err("nothing there").to_string();
        assert!(error.starts_with("/nowhere holds no PostgreSQL server: postgres is not in it"), "{error}");
    }
}
