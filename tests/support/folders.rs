//! Cases that are folders: each is a trial.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

/// Runs every folder below `root` (of this package) as a trial of its own.
pub fn trials<W>(root: &str, arguments: &Arguments, case: fn(PathBuf) -> W) -> ExitCode
where
    W: Future<Output = std::result::Result<(), Failed>> + 'static,
{
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(root);
    let mut folders: Vec<PathBuf> =
        std::fs::read_dir(root).expect("the folder of cases is readable").map(|entry| entry.expect("an entry").path()).collect();
    folders.sort();
    let trial = |folder: PathBuf| {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Trial::test(name, move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            runtime.map_err(|error| format!("runtime: {error}"))?.block_on(Box::pin(case(folder)))
        })
    };
    libtest_mimic::run(arguments, folders.into_iter().map(trial).collect()).exit_code()
}
