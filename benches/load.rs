//! `cargo bench --bench load`: whole plans on tables of two million rows, with pgbench beside them.
//!
//! ```text
//! cargo bench --bench load                         the cases of CASES
//! cargo bench --bench load -- rename_column        one case of tests/load; `all` for all
//! ROWS=200000 cargo bench --bench load             fewer rows
//! ```
//!
//! A durable server (fsync, autovacuum). pgbench runs the case's statements of the old release from the start, those of the
//! new one from the end of the switch, and the old ones end before contract. What they feel is compared with the old ones
//! alone; at the end every row that no client touches must hold what it held.
#![allow(clippy::print_stdout, clippy::cast_precision_loss, reason = "it prints figures")]

#[allow(dead_code, reason = "the load test uses all of it")]
#[path = "../tests/support/clients.rs"]
mod clients;
#[allow(dead_code, reason = "the tests use all of it")]
#[path = "../tests/support/loaded.rs"]
mod loaded;
#[path = "support/pgbench.rs"]
mod pgbench;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clients::Release;
use loaded::{Case, Result, failed, plan, run};
use pgbench::{Felt, Running};
use schema::apply::Pace;
use schema::engine::Workbench;
use schema::pg::{Scratch, ScratchOptions, connect, find};
use schema::plan::plan::StageName;

/// Cases that take all the ways: a fill, a pair of names, keys of another type, proofs.
const CASES: [&str; 5] = ["set_not_null", "rename_column_retyped", "retype_column", "retype_key", "constraints"];

/// Rows that clients touch: the first ones, and new ones beyond all of them.
const TOUCHED: i64 = 100_000;
/// Longer than any plan takes.
const LONG: u64 = 7_200;

#[tokio::main]
async fn main() -> ExitCode {
    let rows = std::env::var("ROWS").ok().and_then(|text| text.parse().ok()).unwrap_or(2_000_000);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/load");
    let mut cases: Vec<String> = std::env::args().skip(1).filter(|name| !name.starts_with("--")).collect();
    if cases.is_empty() {
        cases = CASES.map(str::to_owned).into();
    } else if cases == ["all"] {
        let folders = std::fs::read_dir(&root).expect("the cases are there");
        cases = folders.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        cases.sort();
    }
    println!(
        "| case, {rows} rows | to the switch | contract | p50 alone | p99 alone | p50 beside | p99 beside | longest | transactions | failed |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    let mut good = true;
    for name in cases {
        match Box::pin(measure(&root.join(&name), rows)).await {
            Ok(figures) => {
                good &= figures.beside.iter().all(|felt| felt.failed.is_empty());
                println!("| `{name}` | {}", figures.row());
            }
            Err(error) => {
                good = false;
                println!("| `{name}` | {error}");
            }
        }
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

struct Figures {
    forward: Duration,
    contract: Duration,
    alone: Felt,
    /// Old clients, new clients.
    beside: [Felt; 2],
}

impl Figures {
    fn row(&self) -> String {
        let [old, new] = &self.beside;
        let failed: Vec<&String> = old.failed.iter().chain(&new.failed).collect();
        format!(
            "{:.0} s | {:.1} s | {:.2} ms | {:.2} ms | {:.2} ms | {:.2} ms | {:.0} ms | {} | {}{} |",
            self.forward.as_secs_f64(),
            self.contract.as_secs_f64(),
            self.alone.percentile(50),
            self.alone.percentile(99),
            old.percentile(50),
            old.percentile(99),
            old.longest().max(new.longest()),
            old.count() + new.count(),
            failed.len(),
            failed.first().map(|error| format!(" ({error})")).unwrap_or_default(),
        )
    }
}

async fn measure(folder: &Path, rows: i64) -> Result<Figures> {
    let options = ScratchOptions {
        fsync: true,
        settings: [("shared_buffers", "512MB"), ("autovacuum", "on"), ("max_wal_size", "4GB")]
            .map(|(name, value)| (name.into(), value.into()))
            .into(),
        ..ScratchOptions::default()
    };
    let installation = find(None).map_err(failed("PostgreSQL"))?;
    let scratch = Scratch::start(&installation, options).await.map_err(failed("server"))?;
    let case = Case::read(folder)?;
    let session = case.database(&scratch, rows).await?;
    let mut bench = Workbench::new();
    let plan = plan(&session, case.after.clone(), &mut bench).await?;
    bench.stop().await;
    for sql in ["VACUUM ANALYZE", "CHECKPOINT"] {
        session.client().batch_execute(sql).await.map_err(|error| format!("{sql}: {}", schema::pg::explain(&error)))?;
    }
    let target = scratch.target("load");

    let texts = tempfile::tempdir().map_err(failed("a temporary folder"))?;
    let scripts = |release: &str, first_key: i64| -> Result<Vec<PathBuf>> {
        write_scripts(&Release::read(&case.clients, release)?, &texts.path().join(release), first_key).map_err(failed("scripts"))
    };
    let (old, new) = (scripts("old", 10_000_000)?, scripts("new", 20_000_000)?);
    let alone = wait(Running::start(&scratch, "load", 20, &old)).await;
    let clients = Running::start(&scratch, "load", LONG, &old);
    let begun = Instant::now();
    run(&target, &plan, StageName::Switch, Pace::default()).await?;
    let forward = begun.elapsed();
    let newer = Running::start(&scratch, "load", LONG, &new);
    tokio::time::sleep(Duration::from_secs(10)).await;
    let old = clients.stop();
    let begun = Instant::now();
    if plan.stage(StageName::Contract).is_some() {
        run(&target, &plan, StageName::Contract, Pace::default()).await?;
    }
    let contract = begun.elapsed();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let new = newer.stop();

    // The plan was made on the other one, which is pinned to fully qualified names since.
    session.close().await;
    let session = connect(&target).await.map_err(failed("connect"))?;
    let kept = Release::read(&case.clients, "final")?.read_sql();
    let sql =
        format!("SELECT count(*) FROM ({kept}) AS kept(id, n) WHERE id > {TOUCHED} AND id <= {rows} AND n IS NOT DISTINCT FROM id % 1000");
    let found: i64 = session.client().query_one(&sql, &[]).await.map_err(|error| format!("{sql}: {}", schema::pg::explain(&error)))?.get(0);
    if found != (rows - TOUCHED).max(0) {
        return Err(format!("{found} rows of {} hold what they held", rows - TOUCHED));
    }
    session.close().await;
    scratch.stop().await.map_err(failed("stop"))?;
    Ok(Figures { forward, contract, alone, beside: [old, new] })
}

/// Without keeping the runtime from its other work.
async fn wait(running: Running) -> Felt {
    tokio::task::spawn_blocking(move || running.end()).await.expect("it does not panic")
}

/// One script for each of a release's statements. An INSERT takes a key that its client alone uses, and deletes it first.
fn write_scripts(release: &Release, folder: &Path, first_key: i64) -> std::io::Result<Vec<PathBuf>> {
    std::fs::create_dir_all(folder)?;
    let mut paths = Vec::new();
    for verb in ["insert", "upsert", "update", "read"] {
        let Some(sql) = release.get(verb) else { continue };
        let said = |sql: &str| sql.replace("$1", "(:key)::bigint").replace("$2", "(:number)::bigint");
        let text = if verb == "insert" {
            let delete = release.get("delete").map(|sql| format!("{};\n", said(sql))).unwrap_or_default();
            format!(
                "\\set key {first_key} + :client_id * 1000000 + random(1, 1000000)\n\\set number random(0, 999)\n{delete}{};\n",
                said(sql)
            )
        } else {
            format!("\\set key random(1, {TOUCHED})\n\\set number random(0, 999)\n{};\n", said(sql))
        };
        let path = folder.join(verb);
        std::fs::write(&path, text)?;
        paths.push(path);
    }
    Ok(paths)
}
