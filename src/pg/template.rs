//! Data folders that `initdb` made once, to be copied.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::server::{Installation, ServerError, User, cache_dir};

/// Changes whenever the way a template is made does.
const RECIPE: &str = "2";

/// Locales to try. C.UTF-8 classifies letters, C only ASCII; both sort by bytes.
const LOCALES: [&str; 2] = ["C.UTF-8", "C"];

/// Fills the empty folder `data` with a fresh cluster, from the cached template where there is one. `work` is a
/// folder that the server's user may use. A cache that cannot be written to is done without.
pub fn instantiate(installation: &Installation, data: &Path, work: &Path, user: Option<&User>) -> Result<(), ServerError> {
    let template = template_dir(installation);
    if template.join("PG_VERSION").is_file() {
        return copy(&template, data, user);
    }
    let fresh = work.join("initdb");
    build(installation, &fresh, work, user)?;
    let kept = keep(&fresh, &template).is_ok();
    copy(if kept { &template } else { &fresh }, data, user)?;
    fs::remove_dir_all(&fresh).map_err(ServerError::io("remove", &fresh))
}

/// The version alone does not do: two builds of one version may differ in block size.
fn template_dir(installation: &Installation) -> PathBuf {
    let mut hasher = blake3::Hasher::new();
    for part in [RECIPE, &installation.version, &installation.bin.to_string_lossy()] {
        hasher.update(part.as_bytes()).update(&[0]);
    }
    let hash = hasher.finalize().to_hex();
    cache_dir().join("templates").join(format!("{}-{}", installation.major, &hash[..16]))
}

/// Runs `initdb` in `work`.
fn build(installation: &Installation, fresh: &Path, work: &Path, user: Option<&User>) -> Result<(), ServerError> {
    let mut failure = String::new();
    let made = LOCALES.iter().any(|locale| match initdb(installation, fresh, locale, work, user) {
        Ok(()) => true,
        Err(reason) => {
            failure = reason;
            false
        }
    });
    if !made {
        return Err(ServerError::Program { program: installation.program("initdb").display().to_string(), reason: failure });
    }
    drop_recycled_wal(installation, fresh);
    Ok(())
}

/// Keeps a cluster as the template.
fn keep(fresh: &Path, template: &Path) -> Result<(), ServerError> {
    // The cache may be on another file system: copy beside the destination, then rename, so that no process ever
    // sees half a template.
    let parent = template.parent().expect("a template is in the cache folder");
    fs::create_dir_all(parent).map_err(ServerError::io("create", parent))?;
    let staged = tempfile::Builder::new().prefix(".new-").tempdir_in(parent).map_err(ServerError::io("create a folder in", parent))?;
    let staged_data = staged.path().join("data");
    copy(fresh, &staged_data, None)?;
    match fs::rename(&staged_data, template) {
        Ok(()) => Ok(()),
        // Another process was quicker; its template is as good as ours.
        Err(_) if template.join("PG_VERSION").is_file() => Ok(()),
        Err(error) => Err(ServerError::io("rename a template to", template)(error)),
    }
}

fn initdb(installation: &Installation, data: &Path, locale: &str, work: &Path, user: Option<&User>) -> Result<(), String> {
    let mut command = Command::new(installation.program("initdb"));
    command.args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-sync"]);
    // One megabyte of WAL instead of sixteen to copy for every server.
    command.args(["--wal-segsize=1", "--no-instructions"]);
    if installation.major >= 18 {
        // On by default from 18 on; a folder that lives for seconds needs none.
        command.arg("--no-data-checksums");
    }
    command.arg(format!("--locale={locale}")).arg("-D").arg(data);
    let output = as_server_user(&mut command, work, user).output().map_err(|error| cannot_run(&error, user))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(if text.is_empty() { output.status.to_string() } else { text })
}

/// Removes the WAL segments that `initdb` left to be filled later: a fifth of what every start would copy. They
/// come after the one of the last checkpoint, hold nothing, and the server makes them again when it needs them.
fn drop_recycled_wal(installation: &Installation, data: &Path) {
    let mut control = Command::new(installation.program("pg_controldata"));
    let Ok(output) = control.arg("-D").arg(data).env("LC_ALL", "C").output() else {
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let redo = text
        .lines()
        .find_map(|line| line.strip_prefix("Latest checkpoint's REDO WAL file:"))
        .map(str::trim)
        .filter(|name| data.join("pg_wal").join(name).is_file());
    let (Some(redo), Ok(segments)) = (redo, fs::read_dir(data.join("pg_wal"))) else {
        return;
    };
    for segment in segments.flatten() {
        let name = segment.file_name();
        if name.len() == redo.len() && name.to_string_lossy().as_ref() > redo {
            // It only makes the copy bigger when it stays.
            let _ = fs::remove_file(segment.path());
        }
    }
}

/// What every server program gets: its user, a folder that this user may be in, and an environment in which its
/// messages are English and its time zone needs no search.
pub fn as_server_user<'a>(command: &'a mut Command, work: &Path, user: Option<&User>) -> &'a mut Command {
    if let Some(user) = user {
        // The standard library clears supplementary groups when it changes the user.
        command.uid(user.uid).gid(user.gid);
    }
    command
        .current_dir(work)
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .env_remove("PGDATA")
        .env_remove("PGPORT")
        .env_remove("PGTZ")
        .env_remove("PGOPTIONS")
        .stdin(Stdio::null())
}

/// Explains why a program could not be started.
pub fn cannot_run(error: &std::io::Error, user: Option<&User>) -> String {
    match user {
        Some(user) if error.kind() == std::io::ErrorKind::PermissionDenied => format!(
            "{error}: PostgreSQL does not run as root, so it is run as \"{}\", who may not read its folder. \
             Move it to where everybody may, or run this command as an ordinary user",
            user.name
        ),
        _ => error.to_string(),
    }
}

/// Copies a folder tree of plain files; on file systems that can, the kernel shares the blocks. A thousand small
/// files keep several processors busy.
fn copy(from: &Path, to: &Path, user: Option<&User>) -> Result<(), ServerError> {
    let mut files = Vec::new();
    copy_folders(from, to, user, &mut files)?;
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get().min(8));
    let share = files.len().div_ceil(threads).max(1);
    std::thread::scope(|scope| {
        let running: Vec<_> =
            files.chunks(share).map(|files| scope.spawn(|| files.iter().try_for_each(|pair| copy_file(pair, user)))).collect();
        running.into_iter().try_for_each(|thread| match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })
}

/// Makes the folders of a tree, and lists its files with their destinations.
fn copy_folders(from: &Path, to: &Path, user: Option<&User>, files: &mut Vec<(PathBuf, PathBuf)>) -> Result<(), ServerError> {
    if !to.is_dir() {
        let made = fs::DirBuilder::new().mode(0o700).create(to);
        made.map_err(ServerError::io("create", to))?;
    }
    give(to, user)?;
    for entry in fs::read_dir(from).map_err(ServerError::io("read", from))? {
        let entry = entry.map_err(ServerError::io("read", from))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type().map_err(ServerError::io("read", &source))?.is_dir() {
            copy_folders(&source, &target, user, files)?;
        } else {
            files.push((source, target));
        }
    }
    Ok(())
}

fn copy_file((source, target): &(PathBuf, PathBuf), user: Option<&User>) -> Result<(), ServerError> {
    fs::copy(source, target).map_err(ServerError::io("copy", source))?;
    give(target, user)
}

/// Hands a file or folder to the user that runs the server.
pub fn give(path: &Path, user: Option<&User>) -> Result<(), ServerError> {
    match user {
        Some(user) => std::os::unix::fs::chown(path, Some(user.uid), Some(user.gid)).map_err(ServerError::io("change the owner of", path)),
        None => Ok(()),
    }
}

/// Whether the server's user may pass through every folder on the way to `dir`.
pub fn may_enter(dir: &Path, user: Option<&User>) -> bool {
    user.is_none() || dir.ancestors().all(|dir| fs::metadata(dir).is_ok_and(|metadata| metadata.permissions().mode() & 0o001 != 0))
}
