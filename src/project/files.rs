//! Reading and writing files so that nobody ever sees half of one.

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::error::CliError;

/// The text of a file.
///
/// # Errors
/// A file that is not there or is not UTF-8.
pub fn read(path: &Path) -> Result<String, CliError> {
    std::fs::read_to_string(path).map_err(|error| CliError::file("read", path, &error))
}

/// The text of a file; nothing if there is none.
///
/// # Errors
/// A file that is there and cannot be read.
pub fn read_if_there(path: &Path) -> Result<Option<String>, CliError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(CliError::file("read", path, &error)),
    }
}

/// Writes a file through a temporary one beside it: whoever reads it finds the old text or the new
/// one, also after a crash. Makes the folder; keeps the permissions of the file that was there.
///
/// # Errors
/// A folder that cannot be made or written to.
pub fn write(path: &Path, text: &str) -> Result<(), CliError> {
    write_bytes(path, text.as_bytes()).map_err(|error| CliError::file("write", path, &error))
}

fn write_bytes(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    // What a link points to is replaced, not the link.
    let path = &std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(".schema-");
    match std::fs::metadata(path) {
        Ok(there) => builder.permissions(there.permissions()),
        Err(_) => builder.permissions(new_file_permissions()),
    };
    let mut file = builder.tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// What an ordinary new file gets before the umask; `tempfile` alone would make it private.
fn new_file_permissions() -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o666)
}

/// Every file with this extension below `root`, sorted by path; `root` itself if it is a file.
/// Folders and files whose names start with a dot are left out.
///
/// # Errors
/// A folder that cannot be read.
pub fn below(root: &Path, extension: &str) -> Result<Vec<PathBuf>, CliError> {
    let mut files = Vec::new();
    if root.is_file() {
        return Ok(vec![root.to_owned()]);
    }
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let fail = |error: &std::io::Error| CliError::file("read", &folder, error);
        for entry in std::fs::read_dir(&folder).map_err(|error| fail(&error))? {
            let path = entry.map_err(|error| fail(&error))?.path();
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|own| own == extension) {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("a/b.kdl");
        write(&path, "one").expect("written");
        write(&path, "two").expect("written");
        assert_eq!(read(&path).expect("read"), "two");
        assert_eq!(std::fs::read_dir(folder.path().join("a")).expect("a folder").count(), 1);
        assert_eq!(below(folder.path(), "kdl").expect("read"), [path]);
        assert_eq!(read_if_there(&folder.path().join("c")).expect("no error"), None);
    }
}
