//! What an applier does when its sessions, its server or its turn are taken from it.

#[path = "apply/pooler.rs"]
mod pooler;
#[path = "apply/support.rs"]
#[allow(dead_code, reason = "each harness uses its part")]
mod support;

use std::io::Read as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use schema::apply::{ApplyError, Event, Options, Outcome, apply};
use schema::catalog::Fingerprint;
use schema::pg::{Target, connect};
use schema::plan::plan::StageName::Backfill;
use schema::plan::plan::{Plan, Undo};
use support::{Db, backfill, plan, quick, step, steps_only};

/// Ends every session of an applier.
const END: &str = "SELECT count(pg_terminate_backend(pid))::text FROM pg_stat_activity \
                   WHERE datname = 'postgres' AND backend_type = 'client backend' AND pid <> pg_backend_pid()";

async fn run(target: &Target, plan: &Plan, options: &Options) -> (Result<Outcome, ApplyError>, Vec<Event>) {
    let text = serde_json::to_string(plan).expect("serializes");
    let hash = Fingerprint::of_bytes(text.as_bytes()).0;
    let mut events = Vec::new();
    let session = connect(target).await.expect("connects");
    let outcome = apply(session, target, plan, &text, &hash, options, &mut |event| events.push(event)).await;
    (outcome, events)
}

fn pid(child: &Child) -> Pid {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a number")
}

/// Waits until a child has suspended itself.
fn until_stopped(child: &Child) {
    let (_, status) = waitpid(Some(pid(child)), WaitOptions::UNTRACED).expect("waits").expect("something happened");
    assert!(status.stopped(), "{status:?}");
}

/// The server ends the session in a step: nothing of the try is kept, and the run goes on by itself.
#[tokio::test]
async fn an_ended_session_is_replaced() {
    let db = Db::start().await;
    let plan = steps_only("0001-lost", vec![step(1, &["CREATE TABLE a ()"]), step(2, &["CREATE TABLE t ()", "SELECT pg_sleep(1.5)"])]);
    let options = quick();
    let ((outcome, events), ()) = tokio::join!(db.apply(&plan, &options), async {
        db.until("SELECT count(*)::text FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(1.5)%'", "1").await;
        db.value(END).await;
    });
    assert_eq!(outcome.expect("goes on"), Outcome::Done);
    let lost = events.iter().position(|event| matches!(event, Event::ConnectionLost { doing, .. } if doing == "step 2 (Step 2) ran"));
    let back = events.iter().position(|event| matches!(event, Event::Reconnected { .. }));
    assert!(lost.expect("is told") < back.expect("is told"), "{events:?}");
    let count = |wanted: fn(&Event) -> bool| events.iter().filter(|event| wanted(event)).count();
    assert_eq!(count(|event| matches!(event, Event::StepDone { .. })), 2);
    assert_eq!(count(|event| matches!(event, Event::StageStarted { .. })), 1);
    assert_eq!(count(|event| matches!(event, Event::StepSkipped { .. })), 0);
    assert_eq!(db.value("SELECT string_agg(attempt::text, ',' ORDER BY number) FROM schema_ledger.steps").await, "1,2");
    assert_eq!(db.value("SELECT epoch::text FROM schema_ledger.applier").await, "2");
}

/// The second connection alone: without it a backfill would not see why it should hold.
#[tokio::test]
async fn the_second_connection_is_replaced_too() {
    let db = Db::start().await;
    db.run("CREATE TABLE t (id int PRIMARY KEY, new int); INSERT INTO t SELECT i FROM generate_series(1, 3000) i").await;
    let plan = plan("0003-fill", vec![(Backfill, vec![backfill(1, &["id"], "new = id + length(pg_sleep(0.0003)::text)", "new IS NULL")])]);
    let options = quick();
    let ((outcome, events), ()) = tokio::join!(db.apply(&plan, &options), async {
        db.until("SELECT (count(new) > 0)::text FROM t", "true").await;
        let last = "SELECT count(pg_terminate_backend(pid))::text FROM (SELECT pid FROM pg_stat_activity WHERE \
                    datname = 'postgres' AND pid <> pg_backend_pid() AND backend_type = 'client backend' ORDER BY backend_start DESC LIMIT 1) s";
        assert_eq!(db.value(last).await, "1");
    });
    assert_eq!(outcome.expect("goes on"), Outcome::Done);
    assert!(events.iter().any(|event| matches!(event, Event::Reconnected { .. })), "{events:?}");
    assert_eq!(db.value("SELECT count(new)::text FROM t").await, "3000");
    assert_eq!(db.value("SELECT rows_done::text FROM schema_ledger.backfills").await, "3000");
}

/// A statement that ends its own server process does so every time: it is not repeated until somebody notices.
#[tokio::test]
async fn a_session_is_not_lost_for_ever() {
    let db = Db::start().await;
    let plan = steps_only("0001-fatal", vec![step(1, &["CREATE TABLE a ()"]), step(2, &["SELECT pg_terminate_backend(pg_backend_pid())"])]);
    let error = db.apply(&plan, &quick()).await.0.expect_err("gives up");
    assert_eq!(error.exit_code(), 5);
    let text = error.to_string();
    for part in ["lost while step 2 (Step 2) ran", "the 4. time in the same place", "Go on with: schema apply 0001-fatal"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert_eq!(db.value("SELECT string_agg(attempt::text, ',' ORDER BY number) FROM schema_ledger.steps").await, "1,4");
}

/// The server does not come back: the error says what stands, within the retry budget.
#[tokio::test]
async fn a_server_that_stays_away_is_given_up() {
    let db = Db::start().await;
    let plan = steps_only("0001-gone", vec![step(1, &["CREATE TABLE a ()"]), step(2, &["SELECT pg_sleep(30)"])]);
    let options = Options { retry_for: Duration::from_secs(2), ..quick() };
    let begun = Instant::now();
    let ((outcome, events), ()) = tokio::join!(db.apply(&plan, &options), async {
        db.until("SELECT count(*)::text FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(30)%'", "1").await;
        let server = i32::try_from(db.scratch.pid()).ok().and_then(Pid::from_raw).expect("a number");
        kill_process(server, Signal::QUIT).expect("stops");
    });
    let error = outcome.expect_err("gives up");
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    assert_eq!(error.exit_code(), 5);
    let text = error.to_string();
    for part in ["was lost while step 2 (Step 2) ran", "Connecting again failed", "What is committed stays", "schema apply 0001-gone"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let tries = events.iter().filter(|event| matches!(event, Event::ConnectionLost { .. })).count();
    assert!(tries >= 2, "{events:?}");
}

/// The whole server is killed in a backfill and starts again: every row once.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_restart_is_survived() {
    let mut db = Db::start().await;
    db.run("CREATE TABLE t (id int PRIMARY KEY, old int, new int, touched int NOT NULL DEFAULT 0)").await;
    db.run("INSERT INTO t SELECT i, i FROM generate_series(1, 3000) i; CHECKPOINT").await;
    let set = "new = old * 2, touched = touched + 1 + 0 * length(pg_sleep(0.0003)::text)";
    let plan = plan("0003-fill", vec![(Backfill, vec![backfill(1, &["id"], set, "new IS NULL")])]);
    let target = db.scratch.target("postgres");
    let (options, scratch, session) = (quick(), &mut db.scratch, &db.session);
    let ((outcome, events), ()) = tokio::join!(run(&target, &plan, &options), async {
        while session.client().query_one("SELECT count(new) FROM t", &[]).await.expect("reads").get::<_, i64>(0) == 0 {}
        scratch.crash().await.expect("starts again");
    });
    assert_eq!(outcome.expect("goes on"), Outcome::Done);
    assert!(events.iter().any(|event| matches!(event, Event::Reconnected { .. })), "{events:?}");
    db.session = db.connect().await;
    let result = "SELECT count(*) || ' ' || sum(new - 2 * old) || ' ' || min(touched) || ' ' || max(touched) FROM t";
    assert_eq!(db.value(result).await, "3000 0 1 1");
}

/// In direct mode nothing tells what was committed, so it ends.
#[tokio::test]
async fn direct_mode_does_not_guess() {
    let db = Db::start().await;
    let plan = steps_only("", vec![step(1, &["SELECT pg_terminate_backend(pg_backend_pid())"])]);
    let (outcome, events) = db.apply(&plan, &Options::direct()).await;
    assert!(matches!(outcome.expect_err("is lost"), ApplyError::Lost { .. }));
    assert!(!events.iter().any(|event| matches!(event, Event::ConnectionLost { .. })), "{events:?}");
}

fn log() -> Plan {
    steps_only("0001-stale", (1..=3).map(|n| step(n, &[&format!("INSERT INTO log VALUES ({n})")])).collect())
}

/// An applier is suspended in a step, its sessions are ended, another one does the plan: the first one wakes up, and
/// writes nothing.
#[tokio::test]
async fn a_stale_applier_that_wakes_up_writes_nothing() {
    for at in ["step:2:before", "step:2:middle", "step:2:after"] {
        let db = Db::start().await;
        db.run("CREATE TABLE log (n int)").await;
        let mut child = db.child_that(&log(), Some(at), "stop");
        until_stopped(&child);
        db.value(END).await;
        assert_eq!(db.apply(&log(), &quick()).await.0.expect("takes over"), Outcome::Done);
        let all = "SELECT string_agg(n::text, ',' ORDER BY n) FROM log";
        assert_eq!(db.value(all).await, "1,2,3");
        kill_process(pid(&child), Signal::CONT).expect("wakes up");
        // It finds the plan done.
        assert!(child.wait().expect("ends").success());
        assert_eq!(db.value(all).await, "1,2,3", "{at}");
        assert_eq!(db.value("SELECT string_agg(attempt::text, ',' ORDER BY number) FROM schema_ledger.steps").await, {
            if at == "step:2:middle" { "1,2,1" } else { "1,1,1" }
        });
    }
}

/// The same, and the other one is still at work: the first one is refused.
#[tokio::test]
async fn a_stale_applier_does_not_come_between() {
    let db = Db::start().await;
    db.run("CREATE TABLE log (n int)").await;
    let mut child = db.child_that(&log(), Some("step:2:middle"), "stop");
    until_stopped(&child);
    db.value(END).await;
    let other = db.child_that(&log(), Some("step:3:middle"), "stop");
    until_stopped(&other);
    kill_process(pid(&child), Signal::CONT).expect("wakes up");
    assert!(!child.wait().expect("ends").success());
    let mut said = String::new();
    child.stdout.take().expect("is piped").read_to_string(&mut said).expect("is text");
    child.stderr.take().expect("is piped").read_to_string(&mut said).expect("is text");
    assert!(said.contains("Held(Holder"), "{said}");
    kill_process(pid(&other), Signal::CONT).expect("goes on");
    assert!(other.wait_with_output().expect("ends").status.success());
    assert_eq!(db.value("SELECT string_agg(n::text, ',' ORDER BY n) FROM log").await, "1,2,3");
}

/// What was rolled back meanwhile is not done again by whoever wakes up.
#[tokio::test]
async fn what_was_rolled_back_meanwhile_stays_so() {
    let db = Db::start().await;
    db.run("CREATE TABLE log (n int)").await;
    let rolled_back = step(2, &["INSERT INTO log VALUES (2)", "SELECT pg_sleep(1.5)"]);
    let plan = steps_only("0001-back", vec![step(1, &["INSERT INTO log VALUES (1)"]), rolled_back]);
    let options = Options { again: true, ..quick() };
    let (applied, ()) = tokio::join!(db.apply(&plan, &options), async {
        db.until("SELECT count(*)::text FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(1.5)%'", "1").await;
        db.run("UPDATE schema_ledger.plans SET state = 'rolled-back'").await;
        db.value(END).await;
    });
    let error = applied.0.expect_err("is refused");
    assert!(matches!(error, ApplyError::RolledBack { .. }), "{error}");
    assert_eq!(db.value("SELECT string_agg(n::text, ',') FROM log").await, "1");
}

/// Through a pooler that lends a session for one transaction: refused by name, and nothing is left in the sessions
/// that serve other clients.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_mode_pooler_is_refused() {
    for (order, sessions) in [(pooler::Order::LastFirst, 3), (pooler::Order::InTurn, 3), (pooler::Order::InTurn, 2)] {
        let db = Db::start().await;
        let target = pooler::start(&db, order, sessions).await;
        let plan = steps_only("0001-pooled", vec![step(1, &["CREATE TABLE t ()"])]);
        // Where sessions are lent in turn, already our first statements may not find each other.
        let error = match connect(&target).await {
            Ok(session) => {
                let error = apply(session, &target, &plan, "", "", &quick(), &mut |_| {}).await.expect_err("is refused");
                assert!(matches!(error, ApplyError::Pooler { .. } | ApplyError::Unreachable(_)), "{error:?}");
                error.to_string()
            }
            Err(error) => error.to_string(),
        };
        assert!(error.contains("pooler in transaction mode"), "{order:?}, {sessions}: {error}");
        assert!(error.contains("connect to the server directly"), "{error}");
        assert_eq!(db.value("SELECT to_regclass('t') IS NULL AND to_regnamespace('schema_ledger') IS NULL").await, "true");
        assert_eq!(db.value("SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory'").await, "0");
    }
}

/// SIGTERM to the program itself, in a backfill: the running batch is committed, exit code 5, and the same command
/// goes on.
#[tokio::test]
async fn sigterm_ends_behind_the_running_batch() {
    let db = Db::start().await;
    db.run("CREATE TABLE t (id int PRIMARY KEY, new int); INSERT INTO t SELECT i FROM generate_series(1, 1500) i; ANALYZE t").await;
    let folder = tempfile::tempdir().expect("a folder");
    let mut fill = backfill(1, &["id"], "new = id + 0 * length(pg_sleep(0.001)::text)", "new IS NULL");
    fill.undo = Undo::Nothing;
    let plan = plan("0001-fill", vec![(Backfill, vec![fill])]);
    std::fs::write(folder.path().join("0001-fill.kdl"), schema::plan::file::write(&plan)).expect("is written");
    let command = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_schema"));
        command.args(["apply", "--yes", "--url", &db.address(), "--plans"]).arg(folder.path()).current_dir(folder.path());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let child = command().spawn().expect("starts");
    db.until("SELECT (count(new) > 0)::text FROM t", "true").await;
    let begun = Instant::now();
    kill_process(pid(&child), Signal::TERM).expect("is told");
    let output = child.wait_with_output().expect("ends");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    for part in ["Stopping: a batch", "it was asked to stop", "schema apply 0001-fill"] {
        assert!(said.contains(part), "{part} in {said}");
    }
    let filled: i64 = db.value("SELECT count(new)::text FROM t").await.parse().expect("a number");
    assert!(filled > 0 && filled < 1500, "{filled}");
    // What is filled is what the ledger knows.
    assert_eq!(db.value("SELECT rows_done::text FROM schema_ledger.backfills").await, filled.to_string());
    let output = command().output().expect("goes on");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(db.value("SELECT count(new) || ' ' || sum(new - id) FROM t").await, "1500 0");
}

/// Not a test of its own: what `Db::child` runs in another process.
#[tokio::test]
#[ignore = "run by other tests"]
async fn child() {
    support::run_child().await;
}
