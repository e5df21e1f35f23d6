//! `cargo bench --bench backfill`: how fast a backfill is beside a loop written by hand, and what pgbench beside it feels.
//!
//! The same rows, the same expression, in the same run: (a) a loop of batched UPDATEs by key without pauses, (b) a backfill of
//! `apply` without pauses, (c) one with the default pace, with pgbench beside it, against pgbench alone. `ROWS=…` (default
//! 500,000) and `SECONDS=…` (default 20) change the size.
#![allow(clippy::print_stdout, clippy::cast_precision_loss, reason = "it prints figures")]

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use schema::apply::{Options, Outcome, Pace, apply};
use schema::catalog::{Fingerprint, Id, Ident};
use schema::pg::{Scratch, ScratchOptions, Session, find};
use schema::plan::Transaction;
use schema::plan::plan::{Backfill, Plan, Stage, StageName, Step, Undo, Work};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let (rows, seconds) = (number("ROWS", 500_000), number("SECONDS", 20));
    let options = ScratchOptions {
        fsync: true,
        settings: vec![
            ("shared_buffers".to_owned(), "256MB".to_owned()),
            ("autovacuum".to_owned(), "on".to_owned()),
            ("max_wal_size".to_owned(), "4GB".to_owned()),
        ],
        ..ScratchOptions::default()
    };
    let scratch = Scratch::start(&find(None).expect("PostgreSQL is installed"), options).await.expect("starts");
    let session = scratch.connect("postgres").await.expect("connects");
    let table = format!(
        "DROP TABLE IF EXISTS t; CREATE TABLE t (id bigint PRIMARY KEY, a int, pad text, new int); \
         INSERT INTO t SELECT i, i, repeat('x', 100) FROM generate_series(1, {rows}) i; ANALYZE t; CHECKPOINT"
    );
    let per_second = |took: Duration| rows as f64 / took.as_secs_f64();
    // In turns, and the best of each: what else the machine does hits both.
    let (mut by_hand, mut ours) = (Duration::MAX, Duration::MAX);
    for _ in 0..3 {
        batch(&session, &table).await;
        by_hand = by_hand.min(hand_written(&session).await);
        batch(&session, &table).await;
        ours = ours.min(filled(&scratch, Pace { pause: 0.0, ..Pace::default() }).await);
    }
    println!("by hand    {:>9.0} rows/s", per_second(by_hand));
    println!("apply      {:>9.0} rows/s without pauses, {:.2} of it", per_second(ours), by_hand.as_secs_f64() / ours.as_secs_f64());
    pgbench(&scratch, &["-i", "-s", "10", "-q"]);
    let alone = latencies(&scratch, seconds);
    batch(&session, &table).await;
    let time = seconds.to_string();
    let child = spawn(&scratch, &time);
    let begun = Instant::now();
    let mut fills = 0_u32;
    while begun.elapsed() < Duration::from_secs(seconds) {
        batch(&session, "UPDATE t SET new = NULL WHERE id < 0").await;
        filled(&scratch, Pace::default()).await;
        fills += 1;
        if begun.elapsed() < Duration::from_secs(seconds) {
            batch(&session, "ALTER TABLE t DROP COLUMN new; ALTER TABLE t ADD new int").await;
        }
    }
    let output = child.wait_with_output().expect("ends");
    assert!(output.status.success());
    let beside = percentiles(&scratch);
    println!("pgbench alone          p50 {:>6.2} ms  p99 {:>6.2} ms", alone.0, alone.1);
    println!(
        "pgbench and backfills  p50 {:>6.2} ms  p99 {:>6.2} ms, {:.2} of it ({fills} backfills)",
        beside.0,
        beside.1,
        beside.1 / alone.1
    );
}

async fn batch(session: &Session, sql: &str) {
    session.client().batch_execute(sql).await.expect(sql);
}

/// What a person would write: key ranges of a fixed size, a commit each.
async fn hand_written(session: &Session) -> Duration {
    let begun = Instant::now();
    let mut from = 0_i64;
    loop {
        let next: Option<i64> = session
            .client()
            .query_one("SELECT max(id) FROM (SELECT id FROM t WHERE id > $1 ORDER BY id LIMIT 5000) page", &[&from])
            .await
            .expect("reads")
            .get(0);
        let Some(next) = next else { return begun.elapsed() };
        let update = "UPDATE t SET new = a * 2 WHERE id > $1 AND id <= $2 AND new IS NULL";
        session.client().execute(update, &[&from, &next]).await.expect("writes");
        from = next;
    }
}

/// The same by `apply`.
async fn filled(scratch: &Scratch, pace: Pace) -> Duration {
    let session = scratch.connect("postgres").await.expect("connects");
    batch(&session, "DROP SCHEMA IF EXISTS schema_ledger CASCADE").await;
    let backfill = Backfill {
        table: Id::new("table", ["public", "t"]),
        key: vec![Ident::new("id")],
        set: "new = a * 2".to_owned(),
        filter: "new IS NULL".to_owned(),
        settings: Vec::new(),
        rows: None,
        copy: None,
    };
    let step = Step {
        number: 1,
        title: "Backfill t".to_owned(),
        recipe: "bench".to_owned(),
        work: Work::Backfill(backfill),
        transaction: Transaction::Inside,
        locks: Vec::new(),
        undo: Undo::Nothing,
        loses: Vec::new(),
        makes: Vec::new(),
        takes: Vec::new(),
        probe: None,
        verify: Vec::new(),
        preflight: Vec::new(),
    };
    let stages = vec![Stage { name: StageName::Backfill, note: String::new(), steps: vec![step] }];
    let plan = Plan { name: "0001-bench".to_owned(), stages, ..Plan::default() };
    let text = schema::plan::file::write(&plan);
    let hash = Fingerprint::of_bytes(text.as_bytes()).0;
    let options = Options { pace, who: "bench".to_owned(), ..Options::default() };
    let begun = Instant::now();
    let outcome = apply(session, &scratch.target("postgres"), &plan, &text, &hash, &options, &mut |_| ()).await;
    assert_eq!(outcome.expect("fills"), Outcome::Done);
    begun.elapsed()
}

fn command(scratch: &Scratch) -> Command {
    let mut command = Command::new(scratch.installation().program("pgbench"));
    let port = scratch.target("postgres").endpoints[0].port.to_string();
    command.arg("-h").arg(scratch.socket_dir()).args(["-p", &port, "-U", "postgres"]).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn pgbench(scratch: &Scratch, args: &[&str]) {
    assert!(command(scratch).args(args).arg("postgres").status().expect("runs").success());
}

/// Paced clients: the latency is the server's, not that of a full machine. Logged to `log.*` in a folder of their own.
fn spawn(scratch: &Scratch, time: &str) -> std::process::Child {
    let folder = logs(scratch);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("makes");
    let prefix = folder.join("log");
    let prefix = format!("--log-prefix={}", prefix.display());
    command(scratch).args(["-c", "4", "-T", time, "-R", "200", "-n", "-l", &prefix, "postgres"]).spawn().expect("starts")
}

fn logs(scratch: &Scratch) -> std::path::PathBuf {
    std::env::temp_dir().join(format!("schema-bench-{}", scratch.pid()))
}

fn latencies(scratch: &Scratch, seconds: u64) -> (f64, f64) {
    assert!(spawn(scratch, &seconds.to_string()).wait().expect("ends").success());
    percentiles(scratch)
}

/// p50 and p99 in milliseconds; the third column of the log is the latency in microseconds.
fn percentiles(scratch: &Scratch) -> (f64, f64) {
    let folder = logs(scratch);
    let mut all: Vec<f64> = Vec::new();
    for entry in std::fs::read_dir(&folder).expect("is there") {
        let text = std::fs::read_to_string(entry.expect("an entry").path()).expect("reads");
        all.extend(text.lines().filter_map(|line| line.split(' ').nth(2)?.parse::<f64>().ok()));
    }
    let _ = std::fs::remove_dir_all(&folder);
    all.sort_by(f64::total_cmp);
    let at = |share: usize| all[(all.len() * share / 100).min(all.len() - 1)] / 1000.0;
    (at(50), at(99))
}
