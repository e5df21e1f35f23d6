//! Who is in the way of a locking step: named, and nobody queues behind a step that cannot get its lock.

#[path = "apply/support.rs"]
#[allow(dead_code, reason = "shared with the tests of apply")]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use schema::apply::{Event, Options, Outcome};
use schema::pg::Session;
use schema::plan::op::{Cost, Lock, LockMode};
use schema::plan::plan::Plan;
use support::{Db, quick, step, steps_only};

fn adding() -> Plan {
    let mut add = step(1, &["ALTER TABLE t ADD b int"]);
    add.locks = vec![Lock { relation: "public.t".to_owned(), mode: LockMode::AccessExclusive, cost: Cost::Instant }];
    steps_only("0001-add", vec![add])
}

/// Reads and writes until told to stop; the longest time that one of them took.
async fn client(session: Session, stop: Arc<AtomicBool>) -> (Duration, u32) {
    let (mut longest, mut count) = (Duration::ZERO, 0);
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        session.client().batch_execute("SELECT count(*) FROM t; INSERT INTO t (a) VALUES (1)").await.expect("works");
        longest = longest.max(begun.elapsed());
        count += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    (longest, count)
}

async fn beside(db: &Db, options: &Options) -> (Result<Outcome, schema::apply::ApplyError>, Vec<Event>, Duration) {
    let stop = Arc::new(AtomicBool::new(false));
    let beside = tokio::spawn(client(db.connect().await, Arc::clone(&stop)));
    let (outcome, events) = db.apply(&adding(), options).await;
    stop.store(true, Ordering::Relaxed);
    let (longest, count) = beside.await.expect("ends");
    assert!(count > 50, "the client came to {count} rounds only");
    (outcome, events, longest)
}

async fn sleepy(db: &Db) -> Session {
    let blocker = db.connect().await;
    blocker.client().batch_execute("SET application_name = 'sleepy'; BEGIN; SELECT 'idle' FROM t").await.expect("reads");
    blocker
}

/// For as long as it has not been there for five seconds it is tried, and no client waits longer than the lock timeout of
/// the try that it met.
#[tokio::test]
async fn clients_wait_no_longer_than_the_lock_timeout() {
    let db = Db::start().await;
    db.run("CREATE TABLE t (a int)").await;
    let blocker = sleepy(&db).await;
    let first = Duration::from_millis(200);
    let options = Options { lock_timeout: first, retry_for: Duration::from_millis(3500), ..quick() };
    let (outcome, events, longest) = beside(&db, &options).await;
    let error = outcome.expect_err("gives up").to_string();
    let pid = blocker.backend_pid;
    for part in [
        "did not get its locks",
        &format!("blocked by pid {pid}, user postgres, application sleepy, idle in transaction"),
        "SELECT 'idle' FROM t",
    ] {
        assert!(error.contains(part), "{part} in {error}");
    }
    let failed = events.iter().filter(|event| matches!(event, Event::LockWait { .. })).count();
    assert!(failed >= 1, "{events:?}");
    // Each try is half as patient again as the one before it.
    let last = first.mul_f64(1.5_f64.powi(i32::try_from(failed).expect("a few")));
    assert!(longest < last + Duration::from_millis(150), "a client waited {longest:?}, the lock timeout was {last:?} at most");
}

/// One that has held the table for longer is waited for without a try: nobody queues at all, and when it ends the step goes
/// through.
#[tokio::test]
async fn nobody_queues_behind_a_step_that_cannot_succeed() {
    let db = Db::start().await;
    db.run("CREATE TABLE t (a int)").await;
    let blocker = sleepy(&db).await;
    tokio::time::sleep(Duration::from_millis(5200)).await;
    let pid = blocker.backend_pid;
    let release = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(3)).await;
        blocker.client().batch_execute("COMMIT").await.expect("commits");
    });
    let (outcome, events, longest) = beside(&db, &Options { lock_timeout: Duration::from_secs(2), ..quick() }).await;
    release.await.expect("ends");
    assert_eq!(outcome.expect("applies"), Outcome::Done);
    let named =
        events.iter().find_map(|event| if let Event::LockWait { failed: 0, blockers, .. } = event { blockers.first() } else { None });
    let named = named.expect("it is named");
    assert_eq!(
        (named.pid, named.user.as_str(), named.application.as_str(), named.state.as_str()),
        (Some(pid), "postgres", "sleepy", "idle in transaction")
    );
    assert!(named.age.is_some_and(|age| age > Duration::from_secs(5)) && named.query.contains("SELECT 'idle' FROM t"), "{named}");
    assert!(longest < Duration::from_millis(500), "a client waited {longest:?}");
}

/// A prepared transaction that was forgotten is named with the line that ends it.
#[tokio::test]
async fn a_forgotten_prepared_transaction_is_named() {
    let db = Db::with(&[("max_prepared_transactions", "2")]).await;
    db.run("CREATE TABLE t (a int); BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'forgotten'").await;
    tokio::time::sleep(Duration::from_millis(5200)).await;
    let (outcome, events, longest) = beside(&db, &Options { retry_for: Duration::from_secs(3), ..quick() }).await;
    assert!(outcome.expect_err("gives up").to_string().contains("ROLLBACK PREPARED 'forgotten'"));
    let named =
        events.iter().any(|event| matches!(event, Event::LockWait { blockers, .. } if blockers.iter().any(|one| one.query == "forgotten")));
    assert!(named, "{events:?}");
    // Only the last try, made at the end of the budget all the same, was felt.
    assert!(longest < Duration::from_millis(500), "{longest:?}");
}

/// A vacuum that prevents wraparound does not give way, as any other does: it is named before a try is made.
#[tokio::test]
async fn a_vacuum_that_prevents_wraparound_is_named() {
    let db = Db::with(&[("autovacuum", "on"), ("autovacuum_naptime", "1s")]).await;
    // No other vacuum comes. Every page that it visits costs it a tenth of a second.
    db.run("CREATE TABLE t (a int, pad text) WITH (autovacuum_enabled = false, autovacuum_freeze_max_age = 100000, autovacuum_vacuum_cost_limit = 1, autovacuum_vacuum_cost_delay = 100); INSERT INTO t SELECT i, repeat('x', 1000) FROM generate_series(1, 4000) i")
        .await;
    db.session
        .client()
        .batch_execute(
            "CREATE PROCEDURE burn() LANGUAGE plpgsql AS 'BEGIN FOR i IN 1..110000 LOOP PERFORM txid_current(); COMMIT; END LOOP; END'",
        )
        .await
        .expect("is made");
    db.run("CALL burn()").await;
    // The launcher comes to a database once its counters are known, which a session reports when it is at rest.
    tokio::time::sleep(Duration::from_secs(3)).await;
    db.until("SELECT count(*)::text FROM pg_stat_activity WHERE query LIKE 'autovacuum: VACUUM public.t (to prevent wraparound)'", "1")
        .await;
    let (outcome, events, longest) = beside(&db, &Options { retry_for: Duration::from_secs(3), ..quick() }).await;
    let named =
        events.iter().find_map(|event| if let Event::LockWait { failed: 0, blockers, .. } = event { blockers.first() } else { None });
    let named = named.unwrap_or_else(|| panic!("it is not named: {events:?}"));
    assert_eq!((named.user.as_str(), named.query.as_str()), ("autovacuum worker", "autovacuum: VACUUM public.t (to prevent wraparound)"));
    let error = outcome.expect_err("gives up").to_string();
    assert!(error.contains("to prevent wraparound"), "{error}");
    // Only the last try, made at the end of the budget all the same, was felt.
    assert!(longest < Duration::from_millis(500), "a client waited {longest:?}");
}
