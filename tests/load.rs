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
#[path = "support/folders.rs"]
mod folders;
#[path = "support/loaded.rs"]
mod loaded;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clients::{Client, Felt, Kind, Release};
use libtest_mimic::{Arguments, Failed};
use loaded::{Case, failed, hurried, plan, run};
use schema::engine::Workbench;
use schema::pg::{Target, connect};
use schema::plan::Plan;
use schema::plan::plan::StageName;

/// Rows of a case of which nobody says another number.
const ROWS: i64 = 200_000;

/// Rows that a client touches of those that were there before.
const OWN: i64 = 500;

/// Clients of each group.
const CLIENTS: i64 = 2;

/// How long old and new clients work side by side.
const SIDE_BY_SIDE: Duration = Duration::from_millis(1_200);

/// What the first try of a locking step may take: lock timeout (200 ms) and work (1 s); and what a client may wait beyond.
const STALL: Duration = Duration::from_millis(1_200 + 100);

type Result<T> = std::result::Result<T, Failed>;

fn main() -> ExitCode {
    // One after the other: what clients feel is measured.
    folders::trials("tests/load", &Arguments { test_threads: Some(1), ..Arguments::from_args() }, case)
}

async fn case(folder: PathBuf) -> Result<()> {
    let rows = std::env::var("SCHEMA_LOAD_ROWS").ok().and_then(|text| text.parse().ok()).unwrap_or(ROWS);
    let case = Case::read(&folder)?;
    let (old, new) = (Release::read(&case.clients, "old")?, Release::read(&case.clients, "new")?);

    let mut bench = Workbench::new();
    bench.start(None).await.map_err(failed("server"))?;
    let scratch = bench.scratch().expect("it was started");
    let session = case.database(scratch, rows).await?;
    let target = scratch.target("load");
    let plan = plan(&session, case.after, &mut bench).await?;
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
    run(&target, &plan, StageName::Switch, hurried()).await?;
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
        run(&target, &plan, StageName::Contract, hurried()).await?;
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
    compare(&target, &case.clients, rows, &all).await?;
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
