//! What people see when their input is wrong: one test a folder of `tests/errors`.
//!
//! A folder holds the source (`*.kdl`) and `error.snap`: the rendered diagnostics and the exit
//! code; where PostgreSQL has other words from some version on, `error.16.snap` and the like beside it. A folder with a `live.sql` (it may be empty) is planned by the built program against a
//! database that was loaded with it; afterwards that database must be as it was.
//!
//! `UPDATE_SNAPSHOTS=1 cargo test --test errors` writes the snapshots. Read them before they are
//! committed: do they tell somebody who does not know this program what happened, where, and what
//! to type?

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::{Arc, OnceLock};

use libtest_mimic::{Arguments, Failed, Trial};
use schema::cli::out::plain;
use schema::error::CliError;
use schema::pg::{DatabaseOptions, Scratch, ScratchOptions, find};

fn main() -> ExitCode {
    // Diagnostics show paths as they were given: relative to this folder they are the same anywhere.
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/errors");
    std::env::set_current_dir(&root).expect("the folder of cases is there");
    let server = Arc::new(Server::default());
    let mut trials: Vec<Trial> = folders(&root).iter().map(|name| trial(name, &server)).collect();
    let cases = trials.len();
    trials.push(Trial::test("examples_are_right", examples));
    trials.push(Trial::test("at_least_50_cases", move || if cases >= 50 { Ok(()) } else { Err(format!("only {cases}").into()) }));
    let conclusion = libtest_mimic::run(&Arguments::from_args(), trials);
    server.stop();
    conclusion.exit_code()
}

fn folders(root: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(root).expect("the folder of cases is readable");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_dir())
        .map(|path| path.file_name().unwrap_or_default().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn trial(name: &str, server: &Arc<Server>) -> Trial {
    let (case, server) = (name.to_owned(), Arc::clone(server));
    if Path::new(name).join("live.sql").exists() {
        Trial::test(name, move || compare(&case, &planned(&case, &server)?))
    } else {
        Trial::test(name, move || compare(&case, &read(&case)?))
    }
}

fn has_source(folder: &Path) -> bool {
    std::fs::read_dir(folder).is_ok_and(|mut entries| {
        entries.any(|entry| {
            entry.is_ok_and(|entry| {
                entry.path().is_dir() && has_source(&entry.path()) || entry.path().extension().is_some_and(|extension| extension == "kdl")
            })
        })
    })
}

/// What reading the source alone says.
fn read(case: &str) -> Result<String, Failed> {
    let error = match schema::source::read_folder(Path::new(case)) {
        Ok(_) => return Err("nothing is wrong with this source".into()),
        Err(schema::source::ReadError::Findings(findings)) => CliError::from(findings),
        Err(error) => CliError::new(schema::error::Code::Error, error),
    };
    let report = error.report().ok_or("there is nothing to show")?;
    Ok(finished(case, &plain(report.as_ref()), error.code() as i32))
}

/// What `schema plan` says against a database that was loaded with `live.sql`.
fn planned(case: &str, server: &Server) -> Result<String, Failed> {
    let live = std::fs::read_to_string(Path::new(case).join("live.sql")).map_err(|error| error.to_string())?;
    let url = server.database(case, &live)?;
    let before = server.fingerprint(case)?;
    let plans = tempfile::tempdir().map_err(|error| error.to_string())?;
    let output = Command::new(env!("CARGO_BIN_EXE_schema"))
        .args(["plan", "--no-color", "--source", case, "--url", &url, "--plans"])
        .arg(plans.path())
        .env_remove("DATABASE_URL")
        .output()
        .map_err(|error| error.to_string())?;
    if std::fs::read_dir(plans.path()).is_ok_and(|mut files| files.next().is_some()) {
        return Err("a plan was written".into());
    }
    if server.fingerprint(case)? != before {
        return Err("the database was touched".into());
    }
    Ok(finished(case, &String::from_utf8_lossy(&output.stderr), output.status.code().unwrap_or(-1)))
}

/// No rule may refuse what is right: the sources that the project shows to people.
fn examples() -> Result<(), Failed> {
    for entry in std::fs::read_dir("../../examples").map_err(|error| error.to_string())? {
        let source = entry.map_err(|error| error.to_string())?.path().join("schema");
        if source.is_dir() {
            schema::source::read_folder(&source).map_err(|error| plain(&error))?;
        }
    }
    Ok(())
}

fn finished(case: &str, text: &str, code: i32) -> String {
    let mut shown = String::new();
    let here = std::env::current_dir().unwrap_or_default().join(case);
    let text = text.replace(&format!("{}/", here.display()), "").replace(&format!("{case}/"), "");
    // The server that happens to be here.
    let server = find(None).map(|server| (server.version.split(' ').next().unwrap_or_default().to_owned(), server.major));
    let text = server.map_or(text.clone(), |(version, major)| {
        text.replace(&format!("PostgreSQL {version}"), "PostgreSQL NN").replace(&format!("postgresql-{major}-"), "postgresql-NN-")
    });
    for line in text.lines() {
        writeln!(shown, "{}", line.trim_end()).expect("a string takes all");
    }
    format!("{}\n\nexit code {code}\n", shown.trim_matches('\n'))
}

/// The version whose words `error.snap` has.
const PINNED: u32 = 15;

/// Of `error.snap` and `error.NN.snap`, which is what PostgreSQL says from NN on, the one for the server that is here.
fn snapshot(case: &str) -> PathBuf {
    let here = find(None).map_or(PINNED, |server| server.major);
    let newer = (PINNED + 1..=here).rev().map(|major| PathBuf::from(case).join(format!("error.{major}.snap")));
    newer.into_iter().find(|path| path.exists()).unwrap_or_else(|| PathBuf::from(case).join("error.snap"))
}

fn compare(case: &str, actual: &str) -> Result<(), Failed> {
    let path = snapshot(case);
    if !has_source(Path::new(case)) {
        return Err(format!("{case} holds no source").into());
    }
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        // What another version says in other words stands beside what 15 says.
        let here = find(None).map_or(PINNED, |server| server.major);
        let differs = here > PINNED && std::fs::read_to_string(&path).is_ok_and(|text| text != actual);
        let path = if differs { PathBuf::from(case).join(format!("error.{here}.snap")) } else { path };
        return std::fs::write(&path, actual).map_err(|error| error.to_string().into());
    }
    let expected =
        std::fs::read_to_string(&path).map_err(|_| format!("{} is missing; UPDATE_SNAPSHOTS=1 writes it:\n{actual}", path.display()))?;
    if expected == actual { Ok(()) } else { Err(format!("expected:\n{expected}\nbut it is:\n{actual}").into()) }
}

/// One server for all cases, started by the first that needs it.
#[derive(Default)]
struct Server(OnceLock<(tokio::runtime::Runtime, Scratch)>);

impl Server {
    fn get(&self) -> &(tokio::runtime::Runtime, Scratch) {
        self.0.get_or_init(|| {
            let runtime = tokio::runtime::Runtime::new().expect("a runtime");
            let installation = find(None).expect("PostgreSQL is installed");
            let scratch = runtime.block_on(Scratch::start(&installation, ScratchOptions::default())).expect("the server starts");
            (runtime, scratch)
        })
    }

    /// A new database with this content; gives its connection string.
    fn database(&self, name: &str, sql: &str) -> Result<String, Failed> {
        let (runtime, scratch) = self.get();
        runtime.block_on(async {
            scratch.create_database(name, &DatabaseOptions::default()).await.map_err(|error| error.to_string())?;
            let session = scratch.connect(name).await.map_err(|error| error.to_string())?;
            session.client().batch_execute(sql).await.map_err(|error| format!("live.sql: {error}"))?;
            Ok(format!("postgresql://postgres@/{name}?host={}", scratch.socket_dir().display()))
        })
    }

    /// All relations, columns and schemas of a database, as one text.
    fn fingerprint(&self, name: &str) -> Result<String, Failed> {
        let (runtime, scratch) = self.get();
        let sql = "SELECT concat_ws('|', (SELECT string_agg(oid::text || relname || xmin::text, ',' ORDER BY oid) FROM pg_class WHERE relnamespace <> 'pg_toast'::regnamespace), \
                   (SELECT string_agg(nspname || xmin::text, ',' ORDER BY oid) FROM pg_namespace), (SELECT count(*) FROM pg_attribute), (SELECT count(*) FROM pg_proc))";
        runtime.block_on(async {
            let session = scratch.connect(name).await.map_err(|error| error.to_string())?;
            let row = session.client().query_one(sql, &[]).await.map_err(|error| error.to_string())?;
            Ok(row.get(0))
        })
    }

    /// A value of this process is never dropped at its end: the server must be stopped by name.
    fn stop(self: Arc<Self>) {
        if let Some(server) = Arc::into_inner(self)
            && let Some((runtime, scratch)) = server.0.into_inner()
        {
            let _ = runtime.block_on(scratch.stop());
        }
    }
}
