//! Databases and roles that make it hard: settings, rights, limits, locks of others.

#[path = "apply/support.rs"]
#[allow(dead_code, reason = "each harness uses its part")]
mod support;

use std::time::{Duration, Instant};

use schema::apply::{ApplyError, Event, Options, Outcome};
use schema::catalog::Ident;
use schema::plan::Transaction;
use schema::plan::op::{Cost, Lock, LockMode, Probe};
use schema::plan::plan::StageName::{Backfill, Expand};
use schema::plan::plan::{Step, Work};
use support::{Db, backfill, outside, plan, preflight, quick, run, step, steps_only};

fn notices(events: &[Event]) -> String {
    let texts = events.iter().filter_map(|event| if let Event::Notice(text) = event { Some(text.as_str()) } else { None });
    texts.collect::<Vec<_>>().join("\n")
}

/// What a role or database has as its defaults does not decide how a plan runs: its literals are read as they were
/// written, keys are compared as they are, foreign keys hold, and nothing times out.
#[tokio::test]
async fn settings_of_the_database_do_not_matter() {
    let db = Db::start().await;
    db.run(r"CREATE TABLE p (id int PRIMARY KEY); CREATE TABLE t (key float8 PRIMARY KEY, new text, p int REFERENCES p); INSERT INTO t SELECT 1 + i * 1e-13 FROM generate_series(1, 2000) i").await;
    for setting in [
        "default_transaction_read_only = on",
        "default_transaction_isolation = 'serializable'",
        "default_transaction_deferrable = on",
        "standard_conforming_strings = off",
        "session_replication_role = replica",
        "extra_float_digits = -10",
        "synchronous_commit = off",
        "statement_timeout = '500ms'",
        "lock_timeout = '1ms'",
        "idle_in_transaction_session_timeout = '500ms'",
        "idle_session_timeout = '2s'",
        "row_security = on",
        "search_path = ''",
        "datestyle = 'German, DMY'",
        "intervalstyle = 'sql_standard'",
        "quote_all_identifiers = on",
        "bytea_output = 'escape'",
        "check_function_bodies = on",
    ] {
        db.run(&format!("ALTER DATABASE postgres SET {setting}")).await;
    }
    let first = step(1, &[r"ALTER TABLE public.t ADD CONSTRAINT path CHECK (new <> 'a\d\\')", "SELECT pg_sleep(0.8)"]);
    let mut filled = backfill(2, &["key"], r"new = 'C:\new\' || key", "new IS NULL");
    filled.preflight = vec![preflight("rows", r"SELECT 1 FROM public.t WHERE new LIKE 'C:\\new%' AND pg_sleep(0.8) IS NULL")];
    let checked = step(3, &["SELECT current_setting('session_replication_role'), 1 / (current_setting('synchronous_commit') = 'on')::int"]);
    let plan = plan("0001-hostile", vec![(Expand, vec![first]), (Backfill, vec![filled, checked])]);
    let (outcome, events) = db.apply(&plan, &quick()).await;
    assert_eq!(outcome.expect("applies"), Outcome::Done);
    assert!(notices(&events).contains("default_transaction_read_only is on"), "{events:?}");
    assert_eq!(db.value("SELECT count(*) FROM t WHERE new LIKE 'C:_new_1%'").await, "2000");
    assert_eq!(db.value("SELECT rows_done FROM schema_ledger.backfills").await, "2000");
    assert_eq!(
        db.value("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'path'").await,
        r"CHECK ((new <> 'a\d\\'::text))"
    );
    // As a replica it would have been let in.
    let orphan = steps_only("0002-orphan", vec![step(1, &["INSERT INTO public.t VALUES (0, '', 7)"])]);
    let error = db.apply(&orphan, &quick()).await.0.expect_err("breaks the foreign key");
    assert!(error.to_string().contains("t_p_fkey"), "{error}");
}

/// Who may not write the ledger is told whom to ask, before anything is done.
#[tokio::test]
async fn a_ledger_of_another_role() {
    let db = Db::start().await;
    db.run("CREATE ROLE \"New App\" LOGIN; GRANT ALL ON SCHEMA public TO \"New App\"").await;
    db.apply(&steps_only("0001-a", vec![step(1, &["CREATE TABLE a ()"])]), &quick()).await.0.expect("applies");
    let plan = steps_only("0002-b", vec![step(1, &["CREATE TABLE b ()"])]);
    for grant in
        ["", "GRANT USAGE ON SCHEMA schema_ledger TO \"New App\"; GRANT SELECT ON ALL TABLES IN SCHEMA schema_ledger TO \"New App\""]
    {
        db.run(grant).await;
        let error = db.apply_as("New App", &plan, &quick()).await.0.expect_err("is refused");
        assert_eq!(error.exit_code(), 3, "{error}");
        let text = error.to_string();
        for part in [
            "role New App may not write",
            "nothing was touched",
            "belongs to postgres",
            "GRANT USAGE ON SCHEMA schema_ledger TO \"New App\";",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
    let error = db.apply_as("New App", &plan, &quick()).await.0.expect_err("is refused").to_string();
    for grant in error.lines().filter_map(|line| line.trim().strip_suffix(';').filter(|line| line.starts_with("GRANT"))) {
        db.run(grant).await;
    }
    assert_eq!(db.apply_as("New App", &plan, &quick()).await.0.expect("applies"), Outcome::Done);
}

/// Who may not make the ledger is told what to ask for, before anything is done.
#[tokio::test]
async fn a_ledger_that_cannot_be_made() {
    let db = Db::start().await;
    db.run("CREATE ROLE \"New App\" LOGIN; GRANT ALL ON SCHEMA public TO \"New App\"").await;
    let plan = steps_only("0001-a", vec![step(1, &["CREATE TABLE a ()"])]);
    let error = db.apply_as("New App", &plan, &quick()).await.0.expect_err("is refused");
    assert_eq!(error.exit_code(), 3, "{error}");
    let text = error.to_string();
    assert!(text.contains("nothing was touched"), "{text}");
    let grant = text.lines().find_map(|line| line.trim().strip_prefix("GRANT")).expect("says what to grant");
    db.run(&format!("GRANT{grant}")).await;
    assert_eq!(db.apply_as("New App", &plan, &quick()).await.0.expect("applies"), Outcome::Done);
}

/// A role that may open two connections has none for the looks: that is said at once, and not taken for a lost connection.
#[tokio::test]
async fn no_connection_left_to_look() {
    let db = Db::start().await;
    db.run("CREATE ROLE app LOGIN CONNECTION LIMIT 2; GRANT CREATE ON DATABASE postgres TO app; GRANT ALL ON SCHEMA public TO app").await;
    let looked = Step { preflight: vec![preflight("rows", "SELECT 1 WHERE false")], ..step(1, &["CREATE TABLE a ()"]) };
    let plan = steps_only("0001-looked", vec![looked]);
    let begun = Instant::now();
    let error = db.apply_as("app", &plan, &quick()).await.0.expect_err("is refused");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(error.exit_code(), 4);
    assert!(error.to_string().contains("too many connections"), "{error}");
    db.until("SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'", "0").await;
    let without = Options { preflight: false, ..quick() };
    assert_eq!(db.apply_as("app", &plan, &without).await.0.expect("applies"), Outcome::Done);
}

/// A look that passed is not made again: neither when the connection is lost, nor when the run is resumed.
#[tokio::test]
async fn looks_are_not_repeated() {
    let db = Db::start().await;
    db.run("CREATE TABLE log (n int); CREATE TABLE t (a int)").await;
    let looked = Step { preflight: vec![preflight("bad rows", "SELECT a FROM t WHERE a < 0")], ..step(2, &["INSERT INTO log VALUES (2)"]) };
    let plan = steps_only(
        "0001-looked",
        vec![
            step(1, &["SELECT pg_sleep(1)", "INSERT INTO log VALUES (1)"]),
            looked,
            step(3, &["SELECT 1 / (SELECT count(*) FROM log WHERE n = 0)"]),
        ],
    );
    let looks = |events: &[Event]| events.iter().filter(|event| matches!(event, Event::PreflightLook { .. })).count();
    // Rows that are found are corrected: it is looked again.
    db.run("INSERT INTO t VALUES (-1)").await;
    let (outcome, events) = db.apply(&plan, &quick()).await;
    assert!(matches!(outcome, Err(ApplyError::Preflight(_))));
    assert_eq!(looks(&events), 1);
    db.run("DELETE FROM t").await;
    let options = quick();
    let ((outcome, events), ()) = tokio::join!(db.apply(&plan, &options), async {
        db.until("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(1)%'", "1").await;
        db.value("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()").await;
    });
    assert!(matches!(outcome, Err(ApplyError::Step(_))), "{outcome:?}");
    assert!(events.iter().any(|event| matches!(event, Event::Reconnected { .. })), "{events:?}");
    assert_eq!(looks(&events), 1, "{events:?}");
    // Step 2 is undone by hand, so that its look is due again in another run.
    db.run("UPDATE schema_ledger.steps SET state = 'pending' WHERE number = 2; INSERT INTO log VALUES (0)").await;
    let (outcome, events) = db.apply(&plan, &quick()).await;
    assert_eq!(outcome.expect("applies"), Outcome::Done);
    assert_eq!(looks(&events), 0, "{events:?}");
    assert!(notices(&events).contains("one look for rows that would make a step fail passed in an earlier run"), "{events:?}");
}

/// Another applier was at work between the look at the database and the lock.
#[tokio::test]
async fn who_was_overtaken_looks_again() {
    let db = Db::start().await;
    let plan = |name: &str| steps_only(name, vec![step(1, &[&format!("CREATE TABLE \"{name}\" ()")])]);
    let seen = |epoch| Options { seen_epoch: Some(epoch), ..quick() };
    assert_eq!(db.apply(&plan("0001-a"), &seen(0)).await.0.expect("nobody was"), Outcome::Done);
    let error = db.apply(&plan("0002-b"), &seen(0)).await.0.expect_err("is refused");
    assert!(matches!(error, ApplyError::Overtaken { .. }), "{error}");
    assert_eq!(db.value("SELECT count(*) FROM schema_ledger.plans").await, "1");
    assert_eq!(db.apply(&plan("0002-b"), &seen(1)).await.0.expect("looked again"), Outcome::Done);
}

/// A build that waits for an old transaction does not keep an applier that is to stop; what it left is cleared up by the
/// next run.
#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_waits_gives_way() {
    let db = Db::start().await;
    db.run("CREATE TABLE t AS SELECT i AS a FROM generate_series(1, 100) i").await;
    let blocker = db.connect().await;
    blocker.client().batch_execute("BEGIN; INSERT INTO t VALUES (0)").await.expect("writes");
    let plan = steps_only("0001-build", vec![outside(1, "CREATE INDEX CONCURRENTLY i ON t (a)", "i")]);
    let begun = Instant::now();
    let brief = Options { max_time: Some(Duration::from_secs(2)), ..quick() };
    let (outcome, events) = db.apply(&plan, &brief).await;
    let Outcome::Interrupted { reason, .. } = outcome.expect("is interrupted") else { panic!("{events:?}") };
    assert!(begun.elapsed() < Duration::from_secs(12), "{:?}", begun.elapsed());
    assert!(reason.contains("while it waited for other sessions"), "{reason}");
    blocker.client().batch_execute("COMMIT").await.expect("ends");
    assert_eq!(db.apply(&plan, &quick()).await.0.expect("goes on"), Outcome::Done);
    assert_eq!(
        db.value("SELECT string_agg(indexrelid::regclass || ' ' || indisvalid, ',') FROM pg_index WHERE indrelid = 't'::regclass").await,
        "i true"
    );
}

/// A check that reads for long is cancelled when the run is to stop, and made again by the next.
#[tokio::test(flavor = "multi_thread")]
async fn a_check_is_cancelled() {
    let db = Db::start().await;
    db.run("CREATE TABLE t (id int PRIMARY KEY, new int); INSERT INTO t SELECT i FROM generate_series(1, 10) i").await;
    let mut filled = backfill(1, &["id"], "new = id", "new IS NULL");
    filled.verify[0].sql = "SELECT (SELECT count(*) FROM t WHERE new IS NULL) + length(pg_sleep(5)::text)".to_owned();
    let plan = plan("0001-checked", vec![(Backfill, vec![filled])]);
    let begun = Instant::now();
    let brief = Options { max_time: Some(Duration::from_secs(2)), ..quick() };
    let outcome = db.apply(&plan, &brief).await.0.expect("is interrupted");
    assert!(matches!(outcome, Outcome::Interrupted { .. }), "{outcome:?}");
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert_eq!(db.apply(&plan, &quick()).await.0.expect("goes on"), Outcome::Done);
    assert_eq!(db.value("SELECT rows_done FROM schema_ledger.backfills").await, "10");
}

/// DETACH CONCURRENTLY, as its recipe has it.
fn detaching() -> Step {
    let probe = "SELECT coalesce((SELECT CASE WHEN inhdetachpending THEN 'leftover' ELSE 'absent' END FROM pg_inherits WHERE inhrelid = 'part'::regclass), 'done')";
    let lock = |relation: &str, mode| Lock { relation: relation.to_owned(), mode, cost: Cost::Instant };
    Step {
        transaction: Transaction::Outside,
        work: Work::Sql(vec!["ALTER TABLE whole DETACH PARTITION part CONCURRENTLY".to_owned()]),
        locks: vec![lock("public.whole", LockMode::ShareUpdateExclusive), lock("public.part", LockMode::AccessExclusive)],
        probe: Some(Probe { sql: probe.to_owned(), cleanup: vec!["ALTER TABLE whole DETACH PARTITION part FINALIZE".to_owned()] }),
        ..step(1, &[])
    }
}

/// Somebody reads a partition for long while it is detached: others that read it never wait longer than a lock timeout,
/// and it is detached in the end.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_queues_behind_a_detach() {
    let db = Db::start().await;
    db.run("CREATE TABLE whole (a int) PARTITION BY LIST (a); CREATE TABLE part PARTITION OF whole FOR VALUES IN (1); CREATE TABLE rest PARTITION OF whole FOR VALUES IN (2); INSERT INTO whole VALUES (1), (2)").await;
    let long = db.connect().await;
    let plan = steps_only("0001-detach", vec![detaching()]);
    let options = Options { lock_timeout: Duration::from_millis(300), ..quick() };
    let client = db.connect().await;
    let target = db.scratch.target("postgres");
    // Not yet long enough to be waited for.
    long.client().batch_execute("BEGIN; SELECT * FROM part").await.expect("reads");
    let ((outcome, events), longest) = tokio::join!(run(&target, &plan, &options), async {
        let begun = Instant::now();
        let mut longest = Duration::ZERO;
        while begun.elapsed() < Duration::from_secs(9) {
            let asked = Instant::now();
            client.client().batch_execute("SELECT count(*) FROM part; SELECT count(*) FROM whole").await.expect("reads");
            longest = longest.max(asked.elapsed());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        long.client().batch_execute("COMMIT").await.expect("ends");
        longest
    });
    assert_eq!(outcome.expect("applies"), Outcome::Done, "{events:?}");
    assert!(longest < Duration::from_secs(3), "{longest:?}");
    assert_eq!(db.value("SELECT count(*) FROM pg_inherits WHERE inhparent = 'whole'::regclass").await, "1");
    assert_eq!(db.value("SELECT count(*) FROM part").await, "1");
}

/// A prepared key with a backslash in it is a key like any other.
#[tokio::test]
async fn keys_with_backslashes() {
    let db = Db::start().await;
    db.run(
        r"CREATE TABLE t (key text PRIMARY KEY, new int); INSERT INTO t SELECT i || E'\\' || i || E'\\' FROM generate_series(1, 1500) i",
    )
    .await;
    db.run("ALTER DATABASE postgres SET standard_conforming_strings = off").await;
    let plan = plan("0001-keys", vec![(Backfill, vec![backfill(1, &[Ident::new("key").as_str()], "new = 1", "new IS NULL")])]);
    assert_eq!(db.apply(&plan, &quick()).await.0.expect("applies"), Outcome::Done);
    assert_eq!(db.value("SELECT rows_done || ' ' || pass FROM schema_ledger.backfills").await, "1500 1");
}

/// A standby is refused for what it is, with nothing done.
#[tokio::test]
async fn a_standby_is_refused() {
    let mut db = Db::with(&[("wal_level", "replica"), ("hot_standby", "on")]).await;
    db.run("CREATE TABLE t (a int); CHECKPOINT").await;
    std::fs::write(db.data_dir().join("standby.signal"), "").expect("is written");
    db.scratch.crash().await.expect("starts again");
    let error = db.apply(&steps_only("0001-a", vec![step(1, &["CREATE TABLE a ()"])]), &quick()).await.0.expect_err("is refused");
    assert_eq!(error.exit_code(), 4);
    assert!(matches!(error, ApplyError::Standby { .. }), "{error}");
    assert!(error.to_string().contains("is a standby, nothing can be changed there: name its primary"), "{error}");
}
