//! What makes a backfill hold, on real servers: a replica whose replay is paused, a slot that nobody reads, archiving that
//! fails, dead rows, a client that waits.

#[path = "apply/support.rs"]
#[allow(dead_code, reason = "shared with the tests of apply")]
mod support;

use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use schema::apply::{Event, Options, Outcome, Pace};
use schema::pg::{Session, Target, connect};
use schema::plan::plan::Plan;
use schema::plan::plan::StageName::Backfill;
use support::{Db, backfill, plan, quick};

fn filling() -> Plan {
    plan("0001-fill", vec![(Backfill, vec![backfill(1, &["id"], "new = repeat('x', 200)", "new IS NULL")])])
}

const TABLE: &str = "CREATE TABLE t (id int PRIMARY KEY, new text); INSERT INTO t SELECT i FROM generate_series(1, 20000) i";

/// Every reason to hold, in order.
fn reasons(events: &[Event]) -> Vec<String> {
    events.iter().filter_map(|event| if let Event::BackfillHeld { reason, .. } = event { Some(reason.clone()) } else { None }).collect()
}

/// Applied until `max_time`: it must have been held, and rows be left.
async fn held(db: &Db, pace: Pace, reason: &str) -> Vec<String> {
    let options = Options { max_time: Some(Duration::from_secs(6)), pace, ..quick() };
    let (outcome, events) = db.apply(&filling(), &options).await;
    assert!(matches!(outcome.expect("ends cleanly"), Outcome::Interrupted { .. }), "{events:?}");
    let reasons = reasons(&events);
    assert!(reasons.iter().any(|told| told.contains(reason)), "{reason} in {reasons:?}");
    assert_ne!(db.value("SELECT count(*) FROM t WHERE new IS NULL").await, "0");
    reasons
}

/// A copy of the server that follows it, ended with the test.
struct Replica {
    child: Child,
    session: Session,
    folder: PathBuf,
}

impl Replica {
    async fn of(db: &Db) -> Self {
        let data = db.data_dir();
        let owner = std::fs::metadata(&data).expect("is there");
        let folder = data.parent().expect("has one").join("replica");
        let run = |program: &str, args: &[&str]| {
            let mut command = Command::new(db.program(program));
            command.args(args).current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            if owner.uid() != rustix::process::getuid().as_raw() {
                command.uid(owner.uid()).gid(owner.gid());
            }
            command
        };
        let socket = db.socket_dir();
        let port = db.port().to_string();
        let (at, socket) = (folder.to_str().expect("plain"), socket.to_str().expect("plain"));
        let copied = run("pg_basebackup", &["-D", at, "-h", socket, "-p", &port, "-U", "postgres", "-R", "-c", "fast"]).status();
        assert!(copied.expect("runs").success());
        let set = |text: &str| text.to_owned();
        let listen = set("listen_addresses=");
        let place = format!("unix_socket_directories={at}");
        // The settings of the server stand on its command line; a follower needs as many of everything.
        let mut settings = vec![listen, place, format!("port={port}")];
        settings.extend(["hot_standby=on", "max_connections=100", "max_locks_per_transaction=1024", "fsync=off"].map(set));
        let mut args = vec!["-D", at];
        args.extend(settings.iter().flat_map(|setting| ["-c", setting.as_str()]));
        let child = run("postgres", &args).spawn().expect("starts");
        let target = Target::parse(&format!("host={at} port={port} user=postgres dbname=postgres")).expect("parses");
        let begun = Instant::now();
        let session = loop {
            match connect(&target).await {
                Ok(session) => break session,
                Err(error) => assert!(begun.elapsed() < Duration::from_mins(1), "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        db.until("SELECT count(*)::text FROM pg_stat_replication WHERE state = 'streaming'", "1").await;
        Self { child, session, folder }
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

const REPLICATED: [(&str, &str); 2] = [("wal_level", "replica"), ("max_wal_senders", "5")];

/// A replica stops replaying: the server's own `replay_lag` stands still then, and the backfill holds all the same.
#[tokio::test]
async fn a_replica_that_stops_replaying_holds_it() {
    let db = Db::with(&REPLICATED).await;
    db.run(TABLE).await;
    let replica = Replica::of(&db).await;
    replica.session.client().batch_execute("SELECT pg_wal_replay_pause()").await.expect("pauses");
    let pace = Pace { replay_lag: Some(Duration::from_secs(2)), ..Pace::default() };
    // Slowly enough that it does not end before.
    let slow = Pace { pause: 30.0, ..pace.clone() };
    let reasons = held(&db, slow, "replays").await;
    assert!(
        reasons.iter().any(|told| told.contains("replica walreceiver replays") && told.contains("it goes on below 2 s")),
        "{reasons:?}"
    );
    // By bytes too.
    let by_bytes = Pace { replay_lag: None, replay_wal: Some(1 << 16), ..Pace::default() };
    held(&db, by_bytes, "of WAL to replay; it goes on below 64 kB").await;
    // It goes on, and ends, as soon as the replica does.
    let options = Options { pace, ..quick() };
    let release = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        replica.session.client().batch_execute("SELECT pg_wal_replay_resume()").await.expect("resumes");
    };
    let plan = filling();
    let ((outcome, _), ()) = tokio::join!(db.apply(&plan, &options), release);
    assert_eq!(outcome.expect("fills"), Outcome::Done);
    let end = db.value("SELECT pg_current_wal_lsn()").await;
    let begun = Instant::now();
    loop {
        let sql = format!("SELECT count(new) = 20000 AND pg_last_wal_replay_lsn() >= '{end}' FROM t");
        if replica.session.client().query_one(&sql, &[]).await.expect("reads").get::<_, Option<bool>>(0) == Some(true) {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "the replica never had every row");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A role that may not see the replicas holds, and says what to do.
#[tokio::test]
async fn a_replica_that_cannot_be_seen_holds_it() {
    let db = Db::with(&REPLICATED).await;
    db.run(TABLE).await;
    db.run("CREATE ROLE app LOGIN; ALTER TABLE t OWNER TO app; GRANT CREATE ON DATABASE postgres TO app").await;
    let _replica = Replica::of(&db).await;
    let options = Options { max_time: Some(Duration::from_secs(2)), ..quick() };
    let (outcome, events) = db.apply_as("app", &filling(), &options).await;
    assert!(matches!(outcome.expect("ends"), Outcome::Interrupted { .. }));
    assert!(reasons(&events).iter().any(|told| told.contains("GRANT pg_monitor")), "{events:?}");
    assert_eq!(db.value("SELECT count(new) FROM t").await, "0");
    db.run("GRANT pg_monitor TO app").await;
    assert_eq!(db.apply_as("app", &filling(), &quick()).await.0.expect("fills"), Outcome::Done);
}

#[tokio::test]
async fn a_slot_that_nobody_reads_holds_it() {
    let db = Db::with(&REPLICATED).await;
    db.run(TABLE).await;
    db.run("SELECT pg_create_physical_replication_slot('forgotten', true)").await;
    let pace = Pace { slot_wal: Some(2 << 20), ..Pace::default() };
    let told = held(&db, pace.clone(), "replication slot forgotten, which nobody reads, keeps").await;
    assert!(told[0].ends_with("it goes on below 2.0 MB"), "{told:?}");
    db.run("SELECT pg_drop_replication_slot('forgotten')").await;
    assert_eq!(db.apply(&filling(), &Options { pace, ..quick() }).await.0.expect("fills"), Outcome::Done);
}

#[tokio::test]
async fn archiving_that_fails_holds_it() {
    let db = Db::with(&[("wal_level", "replica"), ("archive_mode", "on"), ("archive_command", "test -f may_archive")]).await;
    db.run(TABLE).await;
    db.run("SELECT pg_switch_wal()").await;
    db.until("SELECT (failed_count > 0)::text FROM pg_stat_archiver", "true").await;
    held(&db, Pace::default(), "fails to archive its WAL").await;
    assert_eq!(db.value("SELECT count(new) FROM t").await, "0");
    std::fs::write(db.data_dir().join("may_archive"), "").expect("writes");
    // After three failures the archiver rests for a minute, unless a new segment wakes it.
    for _ in 0..50 {
        db.run("INSERT INTO t VALUES (0); DELETE FROM t WHERE id = 0; SELECT pg_switch_wal()").await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        if db.value("SELECT archived_count > 0 FROM pg_stat_archiver").await == "true" {
            break;
        }
    }
    assert_eq!(db.apply(&filling(), &quick()).await.0.expect("fills"), Outcome::Done);
}

#[tokio::test]
async fn dead_rows_hold_it() {
    let db = Db::with(&[("autovacuum", "off")]).await;
    // A few rows, dead a million times.
    db.run("CREATE TABLE t (id int PRIMARY KEY, new text); CREATE TABLE many AS SELECT i FROM generate_series(1, 1100000) i").await;
    db.run("BEGIN; INSERT INTO t SELECT i FROM many; ROLLBACK; INSERT INTO t SELECT i FROM generate_series(1, 20000) i").await;
    db.until("SELECT (n_dead_tup > 1000000)::text FROM pg_stat_all_tables WHERE relname = 't'", "true").await;
    held(&db, Pace::default(), "public.t has 1,100,000 dead rows, more than 1,000,000; autovacuum is off for it: VACUUM it").await;
    db.run("VACUUM t").await;
    assert_eq!(db.apply(&filling(), &quick()).await.0.expect("fills"), Outcome::Done);
}

/// A client waits for a row of a batch: it is noticed, and batches get shorter.
#[tokio::test]
async fn a_client_that_waits_shortens_the_batches() {
    // 800 rows of a millisecond each at a stretch.
    let waited = client_behind_a_batch(800, Pace { burst: None, ..Pace::default() }).await;
    assert!(waited > Duration::from_millis(150), "{waited:?}");
}

/// Between two bursts the batch ends for the client, which would wait for two seconds and more.
#[tokio::test]
async fn a_client_that_waits_ends_the_batch() {
    let waited = client_behind_a_batch(2000, Pace::default()).await;
    assert!(waited < Duration::from_millis(1500), "{waited:?}");
}

/// How long a client waited for a row that was written by the first batch of a slow backfill.
async fn client_behind_a_batch(batch_rows: u32, pace: Pace) -> Duration {
    let db = Db::start().await;
    db.run("CREATE TABLE t (id int PRIMARY KEY, new text); INSERT INTO t SELECT i FROM generate_series(1, 2000) i").await;
    let slow = plan("0001-slow", vec![(Backfill, vec![backfill(1, &["id"], "new = 'x' || pg_sleep(0.001)", "new IS NULL")])]);
    let options = Options { batch_target: Duration::from_secs(10), batch_rows, pace, ..quick() };
    let client = db.connect().await;
    let ((outcome, events), longest) = tokio::join!(db.apply(&slow, &options), async {
        db.until("SELECT count(*)::text FROM pg_stat_activity WHERE query LIKE 'UPDATE%pg_sleep%' AND state = 'active'", "1").await;
        let begun = Instant::now();
        client
            .client()
            .batch_execute("SET application_name = 'shop'; UPDATE t SET new = new WHERE id BETWEEN 1 AND 2")
            .await
            .expect("writes");
        begun.elapsed()
    });
    assert_eq!(outcome.expect("fills"), Outcome::Done);
    let told = reasons(&events);
    assert!(told.iter().any(|told| told.contains("a session waited behind a batch") && told.contains("application shop")), "{told:?}");
    let sizes: Vec<u64> = events
        .iter()
        .filter_map(|event| if let Event::BackfillProgress { rows_seen, .. } = event { Some(*rows_seen) } else { None })
        .collect();
    assert!(sizes[1] - sizes[0] <= u64::from(batch_rows) / 2, "{sizes:?}");
    assert_eq!(db.value("SELECT count(*) || ' ' || count(new) FROM t").await, "2000 2000");
    longest
}
