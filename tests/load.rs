//! Every multi-stage recipe on a table of 200,000 rows, with clients of both releases beside it.
//!
//! A case is a folder of `tests/load`: the state before and after, the rows (`seed.sql`; `:rows` is their number, row
//! `n` holds the number `n % 1000`), and what clients say (`clients.sql`, see `support/clients.rs`). Clients of the old
//! release work from the start, those of the new one from the end of the switch, and some that write by one and read
//! by the other; the old ones stop before contract, the new ones go on to the end. No statement may fail, nothing may
//! be lost or differ, and nobody may wait longer than a locking step may take.
//!
//! `SCHEMA_LOAD_ROWS` is another number of rows.

#[path = "support/clients.rs"]
mod clients;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clients::{Client, Felt, Kind, Release};
use libtest_mimic::{Arguments, Failed, Trial};
use schema::apply::{Event, Options, Outcome, apply};
use schema::catalog::Fingerprint;
use schema::engine::fill::fill;
use schema::engine::{Request, Scope, Workbench, compute};
use schema::pg::introspect::introspect;
use schema::pg::{DatabaseOptions, Session, Target, connect};
use schema::plan::plan::StageName;
use schema::plan::{Plan, Policy};
use schema::source::{Desired, read_text};

/// Rows of a case of which nobody says another number.
const ROWS: i64 = 200_000;

/// Rows that a client touches of those that were there before.
const OWN: i64 = 500;

/// Clients of each group.
const CLIENTS: i64 = 2;

/// How long old and new clients work side by side.
const SIDE_BY_SIDE: Duration = Duration::from_secs(2);

/// What the first try of a locking step may take: lock timeout (200 ms) and work (1 s); and what a client may wait beyond.
const STALL: Duration = Duration::from_millis(1_200 + 100);

type Result<T> = std::result::Result<T, Failed>;

fn failed<E: std::fmt::Display>(what: &str) -> impl FnOnce(E) -> Failed {
    move |error| format!("{what}: {error}").into()
}

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/load");
    let mut folders: Vec<PathBuf> =
        std::fs::read_dir(root).expect("the folder of cases is readable").map(|entry| entry.expect("an entry").path()).collect();
    folders.sort();
    let trials = folders
        .into_iter()
        .map(|folder| {
            let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            Trial::test(name, move || {
                let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
                runtime.map_err(failed("runtime"))?.block_on(Box::pin(case(&folder)))
            })
        })
        .collect();
    // One after the other: what clients feel is measured.
    let arguments = Arguments { test_threads: Some(1), ..Arguments::from_args() };
    libtest_mimic::run(&arguments, trials).exit_code()
}

async fn case(folder: &Path) -> Result<()> {
    let rows = std::env::var("SCHEMA_LOAD_ROWS").ok().and_then(|text| text.parse().ok()).unwrap_or(ROWS);
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).map_err(failed(name));
    let state = |name: &str| -> Result<Desired> { Ok(read_text(name, &read(name)?).map_err(|error| schema::cli::out::plain(&error))?) };
    let (before, after) = (state("before.kdl")?, state("after.kdl")?);
    let says = read("clients.sql")?;
    let (old, new) = (Release::read(&says, "old")?, Release::read(&says, "new")?);

    let mut bench = Workbench::new();
    bench.start(None).await.map_err(failed("server"))?;
    let session = database(&bench, &before).await?;
    let seed = read("seed.sql")?.replace(":rows", &rows.to_string());
    for sql in [seed.as_str(), "ANALYZE"] {
        session.client().batch_execute(sql).await.map_err(|error| format!("{sql}: {}", schema::pg::explain(&error)))?;
    }
    let target = bench.scratch().expect("it was started").target("load");
    let plan = plan(&session, after, &mut bench).await?;
    session.close().await;

    // Each client has some of the rows for itself; the others nobody touches.
    let mut owner = 0;
    let mut kind = |name: &str, releases: &[&Release]| {
        owner += 1;
        let own = (0..OWN).map(|at| owner * OWN + at).filter(|key| *key <= rows).map(|key| (key, key % 1_000)).collect();
        let releases = releases.iter().map(|release| (*release).clone()).collect();
        Kind {
            name: name.to_owned(),
            releases,
            first_key: owner * 1_000_000_000,
            own,
            prepares: owner % 2 == 0 && !names(&plan, "prepared"),
        }
    };
    let mut all = Felt::default();
    let mut olds = Vec::new();
    for _ in 0..CLIENTS {
        olds.push(Client::start(&target, kind("old", &[&old])).await?);
    }
    run(&target, &plan, StageName::Switch).await?;
    let mut news = Vec::new();
    for _ in 0..CLIENTS {
        news.push(Client::start(&target, kind("new", &[&new])).await?);
        olds.push(Client::start(&target, kind("both", &[&old, &new])).await?);
    }
    tokio::time::sleep(SIDE_BY_SIDE).await;
    for client in olds {
        all.add(client.stop().await);
    }
    if plan.stage(StageName::Contract).is_some() {
        run(&target, &plan, StageName::Contract).await?;
    }
    tokio::time::sleep(SIDE_BY_SIDE / 4).await;
    for client in news {
        all.add(client.stop().await);
    }

    if !all.wrong.is_empty() {
        return Err(format!("{} things went wrong of {} statements:\n{}", all.wrong.len(), all.statements, all.wrong.join("\n")).into());
    }
    if all.longest.0 > STALL {
        return Err(format!("a client waited {:?} for {}", all.longest.0, all.longest.1).into());
    }
    if all.statements < 500 {
        return Err(format!("only {} statements ran", all.statements).into());
    }
    compare(&target, &says, rows, &all).await?;
    bench.stop().await;
    Ok(())
}

/// Every row holds what it must.
async fn compare(target: &Target, says: &str, rows: i64, all: &Felt) -> Result<()> {
    let session = connect(target).await.map_err(failed("connect"))?;
    let sql = Release::read(says, "final").map_err(|_| "clients.sql has no section `final read`")?.read_sql();
    let found: BTreeMap<i64, Option<i64>> =
        session.client().query(&sql, &[]).await.map_err(failed(&sql))?.iter().map(|row| (row.get(0), row.get(1))).collect();
    let mut expected: BTreeMap<i64, Option<i64>> = (1..=rows).map(|key| (key, Some(key % 1_000))).collect();
    for (key, number) in &all.rows {
        match number {
            Some(number) => expected.insert(*key, Some(*number)),
            None => expected.remove(key),
        };
    }
    session.close().await;
    let differ: Vec<String> = expected
        .keys()
        .chain(found.keys())
        .filter(|key| expected.get(key) != found.get(key))
        .map(|key| format!("row {key} holds {:?}, not {:?}", found.get(key), expected.get(key)))
        .take(5)
        .collect();
    if differ.is_empty() { Ok(()) } else { Err(differ.join("\n").into()) }
}

fn names(plan: &Plan, hazard: &str) -> bool {
    plan.hazards.iter().any(|note| note.hazard.name() == hazard)
}

async fn database(bench: &Workbench, before: &Desired) -> Result<Session> {
    let scratch = bench.scratch().expect("it was started");
    scratch.create_database("load", &DatabaseOptions::default()).await.map_err(failed("database"))?;
    let session = scratch.connect("load").await.map_err(failed("connect"))?;
    let rejected = fill(&session, &before.catalog, |_| true).await.map_err(failed("fill"))?;
    if let Some(one) = rejected.first() {
        return Err(format!("{}: {}\n{}", one.id, schema::pg::explain(&one.error), one.sql).into());
    }
    session.client().batch_execute("RESET ALL").await.map_err(failed("reset"))?;
    Ok(session)
}

async fn plan(session: &Session, desired: Desired, bench: &mut Workbench) -> Result<Plan> {
    let scope = Scope::default();
    let mut live = introspect(session, scope.managed).await.map_err(failed("introspect"))?;
    live.read_dependencies(session).await.map_err(failed("dependencies"))?;
    let request = Request {
        session: Some(session),
        live: live.catalog,
        live_is_elaborated: true,
        desired,
        scope: &scope,
        policy: Policy { small_table_rows: 1_000, ..Policy::default() },
        prove: true,
        server: None,
    };
    let mut plan = compute(request, bench)
        .await
        .map_err(|error| {
            let error = schema::error::CliError::from(error);
            error.report().map_or_else(|| error.to_string(), |report| schema::cli::out::plain(report.as_ref()))
        })?
        .plan;
    "0001-load".clone_into(&mut plan.name);
    Ok(plan)
}

/// One run of `schema apply` through a stage, with its own defaults.
async fn run(target: &Target, plan: &Plan, through: StageName) -> Result<()> {
    let begun = Instant::now();
    let session = connect(target).await.map_err(failed("connect"))?;
    let text = serde_json::to_string(plan).map_err(failed("plan"))?;
    let hash = Fingerprint::of_bytes(text.as_bytes()).0;
    let confirmed = through == StageName::Contract;
    let options = Options { through, confirm_old_clients_gone: confirmed, who: "test".to_owned(), ..Options::default() };
    let mut told = Vec::new();
    let outcome = apply(session, target, plan, &text, &hash, &options, &mut |event: Event| told.push(event)).await;
    match outcome.map_err(|error| format!("{error}\n{told:?}"))? {
        Outcome::Done => Ok(()),
        Outcome::Waiting { stage, .. } if stage > through => Ok(()),
        other => Err(format!("after {:?} it ends as {other:?}", begun.elapsed()).into()),
    }
}
