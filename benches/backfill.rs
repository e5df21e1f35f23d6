//! `cargo bench --bench backfill`: how fast a backfill is beside a loop written by hand, and what pgbench beside it feels.
//!
//! The same rows, the same expression, in the same run: (a) a loop of batched UPDATEs by key without pauses, (b) a backfill of
//! `apply` without pauses, (c) one with the default pace, with pgbench beside it, against pgbench alone. `ROWS=…` (default
//! 500,000) and `SECONDS=…` (default 20) change the size, `TARGET=…` (milliseconds of a batch), `BURST=…` (microseconds at a
//! stretch) and `PAUSE=…` (percent of them) the pace of the third, `TURNS=…` (default 3) how often they take turns.
#![allow(clippy::print_stdout, clippy::cast_precision_loss, reason = "it prints figures")]

#[path = "support/pgbench.rs"]
mod pgbench;

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
    for _ in 0..number("TURNS", 3) {
        batch(&session, &table).await;
        by_hand = by_hand.min(hand_written(&session).await);
        batch(&session, &table).await;
        ours = ours.min(filled(&scratch, Pace { pause: 0.0, ..Pace::default() }).await);
    }
    println!("by hand    {:>9.0} rows/s", per_second(by_hand));
    println!("apply      {:>9.0} rows/s without pauses, {:.2} of it", per_second(ours), by_hand.as_secs_f64() / ours.as_secs_f64());
    let made = pgbench::command(&scratch).args(["-i", "-s", "10", "-q", "postgres"]).stderr(std::process::Stdio::null()).status();
    assert!(made.expect("pgbench starts").success());
    // Alone and beside in turns, and the transactions of all turns together: what else the machine does hits both.
    let turns = number("TURNS", 3);
    let (mut alone, mut beside) = (pgbench::Felt::default(), pgbench::Felt::default());
    let (mut fills, mut filling) = (0_u32, Duration::ZERO);
    let pace =
        Pace { pause: number("PAUSE", 200) as f64 / 100.0, burst: Some(Duration::from_micros(number("BURST", 500))), ..Pace::default() };
    for turn in 1..=turns {
        batch(&session, &table).await;
        let by_itself = pgbench::Running::start(&scratch, "postgres", seconds, &[]).end();
        let running = pgbench::Running::start(&scratch, "postgres", seconds, &[]);
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(seconds) {
            filling += filled(&scratch, pace.clone()).await;
            fills += 1;
            if begun.elapsed() < Duration::from_secs(seconds) {
                batch(&session, "ALTER TABLE t DROP COLUMN new; ALTER TABLE t ADD new int").await;
            }
        }
        let together = running.end();
        println!("turn {turn}: p99 {:>6.2} ms alone, {:>6.2} ms beside", by_itself.percentile(99), together.percentile(99));
        alone.add(by_itself);
        beside.add(together);
    }
    for (what, felt) in [("pgbench alone", &alone), ("pgbench and backfills", &beside)] {
        assert!(felt.failed.is_empty(), "{:?}", felt.failed);
        let (p50, p99, max) = (felt.percentile(50), felt.percentile(99), felt.longest());
        println!("{what:<22} p50 {p50:>6.2} ms  p99 {p99:>6.2} ms  longest {max:>7.2} ms  {} transactions", felt.count());
    }
    let rate = per_second(filling) * f64::from(fills);
    println!("p99 beside {fills} backfills of {rate:.0} rows/s: {:.2} of it alone", beside.percentile(99) / alone.percentile(99));
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
    let batch_target = Duration::from_millis(number("TARGET", 500));
    let options = Options { pace, batch_target, who: "bench".to_owned(), ..Options::default() };
    let begun = Instant::now();
    let outcome = apply(session, &scratch.target("postgres"), &plan, &text, &hash, &options, &mut |_| ()).await;
    assert_eq!(outcome.expect("fills"), Outcome::Done);
    begun.elapsed()
}
