//! Applying plans to a real server: results, crashes, locks, refusals.

#[path = "apply/support.rs"]
mod support;

use std::time::{Duration, Instant};

use schema::apply::{ApplyError, Event, Kept, Options, Outcome, PlanState, WaitingFor, set_control, status};
use schema::plan::Transaction;
use schema::plan::op::Verify;
use schema::plan::plan::StageName::{Backfill, Contract, Expand, Switch};
use schema::plan::plan::{Plan, Step, Work};
use support::{Db, backfill, killed_index, outside, plan, quick, step, steps_only, stopped};

fn two_stages() -> Plan {
    let expand = vec![step(1, &["CREATE TABLE t (a int)", "INSERT INTO t VALUES (1)"]), step(2, &["ALTER TABLE t ADD b int"])];
    let contract = vec![step(4, &["ALTER TABLE t DROP COLUMN a"])];
    plan("0001-two", vec![(Expand, expand), (Switch, vec![step(3, &["ALTER TABLE t ALTER b SET DEFAULT 3"])]), (Contract, contract)])
}

#[tokio::test]
async fn stage_by_stage() {
    let db = Db::start().await;
    let plan = two_stages();
    let expand = Options { through: Expand, ..quick() };
    let (outcome, events) = db.apply(&plan, &expand).await;
    assert_eq!(outcome.expect("applies"), Outcome::Waiting { stage: Switch, reason: WaitingFor::Through });
    let begun = events.iter().filter(|event| matches!(event, Event::StepStarted { .. })).count();
    assert_eq!(begun, 2);

    let contract = Options { through: Contract, ..quick() };
    let (outcome, events) = db.apply(&plan, &contract).await;
    assert_eq!(outcome.expect("applies"), Outcome::Waiting { stage: Contract, reason: WaitingFor::OldClientsGone });
    let skipped: Vec<u32> =
        events.iter().filter_map(|event| if let Event::StepSkipped { number, .. } = event { Some(*number) } else { None }).collect();
    assert_eq!(skipped, [1, 2]);
    let stages = "SELECT string_agg(stage || ' ' || state, ', ' ORDER BY stage) FROM schema_ledger.stages";
    assert_eq!(db.value(stages).await, "contract waiting, expand done, switch done");
    let stand = &status::plans(db.session.client()).await.expect("reads")[0];
    assert_eq!((stand.state, stand.reached(Switch), stand.reached(Contract), stand.begun()), (PlanState::Waiting, true, false, true));

    let gone = Options { confirm_old_clients_gone: true, ..contract };
    assert_eq!(db.apply(&plan, &gone).await.0.expect("applies"), Outcome::Done);
    assert_eq!(db.apply(&plan, &gone).await.0.expect("applies again"), Outcome::Done);
    assert_eq!(
        db.value("SELECT string_agg(attname, ',') FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 0 AND NOT attisdropped")
            .await,
        "b"
    );
    assert_eq!(db.value("SELECT sum(attempt)::text FROM schema_ledger.steps").await, "4");
    assert_eq!(db.value("SELECT epoch::text FROM schema_ledger.applier").await, "4");
    let text = status::plan_text(db.session.client(), "0001-two").await.expect("reads").expect("is there");
    assert_eq!(serde_json::from_str::<Plan>(&text).expect("is whole"), plan);
}

#[tokio::test]
async fn a_wrong_verify_keeps_nothing() {
    let db = Db::start().await;
    let mut wrong = step(1, &["CREATE TABLE t (a int)"]);
    wrong.verify = vec![Verify { sql: "SELECT count(*) FROM t".to_owned(), expect: "1".to_owned() }];
    let (outcome, _) = db.apply(&steps_only("0001-wrong", vec![wrong]), &quick()).await;
    let error = outcome.expect_err("fails");
    let ApplyError::Step(failure) = &error else { panic!("{error}") };
    assert_eq!((failure.step, failure.kept.clone(), error.exit_code()), (1, Kept::Nothing, 1));
    let text = error.to_string();
    for part in [
        "plan 0001-wrong, step 1",
        "gave 0 and must give 1",
        "SELECT count(*) FROM t",
        "Nothing of this step was kept",
        "schema apply 0001-wrong",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert_eq!(db.value("SELECT to_regclass('t') IS NULL").await, "true");
    assert_eq!(db.value("SELECT p.state || ' ' || s.state FROM schema_ledger.plans p, schema_ledger.steps s").await, "failed failed");
    // Nothing of it was applied, so the file may be corrected.
    let right = steps_only("0001-wrong", vec![step(1, &["CREATE TABLE t (a int)"]), step(2, &["SELECT 1/0"])]);
    let error = db.apply(&right, &quick()).await.0.expect_err("fails in step 2");
    assert!(error.to_string().contains("division by zero (SQLSTATE 22012)"), "{error}");
    // Now step 1 is applied.
    let edited = steps_only("0001-wrong", vec![step(1, &["CREATE TABLE t (a int)"]), step(2, &["SELECT 1"])]);
    let error = db.apply(&edited, &quick()).await.0.expect_err("refuses");
    assert!(matches!(error, ApplyError::Edited { done: 1, .. }), "{error}");
    assert_eq!(error.exit_code(), 3);
}

/// The process is killed before, in and after a step: the step is executed once.
#[tokio::test]
async fn transactional_steps_survive_crashes() {
    for at in ["before", "middle", "after"] {
        let db = Db::start().await;
        db.run("CREATE TABLE log (n int)").await;
        let plan = steps_only("0001-crash", (1..=3).map(|n| step(n, &[&format!("INSERT INTO log VALUES ({n})")])).collect());
        let child = db.child(&plan, Some(&format!("step:2:{at}"))).wait_with_output().expect("ends");
        assert!(stopped(&child), "{at}: {}", String::from_utf8_lossy(&child.stderr));
        let expected = if at == "after" { "1,2" } else { "1" };
        assert_eq!(db.value("SELECT string_agg(n::text, ',' ORDER BY n) FROM log").await, expected);
        assert_eq!(db.apply(&plan, &quick()).await.0.expect("resumes"), Outcome::Done);
        assert_eq!(db.value("SELECT string_agg(n::text, ',' ORDER BY n) FROM log").await, "1,2,3");
    }
}

fn build_index() -> Plan {
    steps_only("0002-index", vec![outside(1, "CREATE INDEX CONCURRENTLY t_a ON t (a)", "t_a")])
}

/// The applier is killed in CREATE INDEX CONCURRENTLY; its orphan on the server finishes, and the next run waits for it.
#[tokio::test]
async fn an_orphan_is_waited_for() {
    let db = Db::start().await;
    let blocker = killed_index(&db, &build_index()).await;
    let release = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(4)).await;
        blocker.client().batch_execute("COMMIT").await.expect("commits");
    });
    let (outcome, events) = db.apply(&build_index(), &quick()).await;
    assert_eq!(outcome.expect("resumes"), Outcome::Done);
    release.await.expect("releases");
    assert_eq!(db.value("SELECT string_agg(indisvalid::text, ',') FROM pg_index WHERE indexrelid = 't_a'::regclass").await, "true");
    let notices: Vec<&String> = events.iter().filter_map(|event| if let Event::Notice(text) = event { Some(text) } else { None }).collect();
    assert!(notices.iter().any(|text| text.contains("pg_terminate_backend") || text.contains("half done")), "{notices:?}");
}

/// The orphan is ended by hand: it leaves an INVALID index, which is taken away and built again.
#[tokio::test]
async fn a_leftover_is_taken_away() {
    let db = Db::start().await;
    let blocker = killed_index(&db, &build_index()).await;
    db.value("SELECT count(pg_terminate_backend(pid))::text FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX CONCURRENTLY%'").await;
    assert_eq!(db.value("SELECT indisvalid::text FROM pg_index WHERE indexrelid = 't_a'::regclass").await, "false");
    drop(blocker);
    let (outcome, events) = db.apply(&build_index(), &quick()).await;
    assert_eq!(outcome.expect("resumes"), Outcome::Done);
    assert!(events.iter().any(|event| matches!(event, Event::Notice(text) if text.contains("half done"))), "{events:?}");
    assert_eq!(db.value("SELECT indisvalid::text FROM pg_index WHERE indexrelid = 't_a'::regclass").await, "true");
}

/// Killed between the statement and its ledger row: the probe sees that it is done.
#[tokio::test]
async fn a_finished_build_is_not_repeated() {
    let db = Db::start().await;
    db.run("CREATE TABLE t AS SELECT i AS a FROM generate_series(1, 100) i").await;
    let child = db.child(&build_index(), Some("step:1:middle")).wait_with_output().expect("ends");
    assert!(stopped(&child));
    let oid = db.value("SELECT 't_a'::regclass::oid::text").await;
    assert_eq!(db.apply(&build_index(), &quick()).await.0.expect("resumes"), Outcome::Done);
    assert_eq!(db.value("SELECT 't_a'::regclass::oid::text").await, oid);
}

/// Killed behind the first of several statements: what follows an index that is built belongs to it.
#[tokio::test]
async fn what_follows_a_finished_build_is_done() {
    let db = Db::start().await;
    db.run("CREATE TABLE t AS SELECT i AS a FROM generate_series(1, 100) i").await;
    let mut build = outside(1, "CREATE INDEX CONCURRENTLY t_a ON t (abs(a))", "t_a");
    build.work =
        Work::Sql(vec!["CREATE INDEX CONCURRENTLY t_a ON t (abs(a))".into(), "ALTER INDEX t_a ALTER COLUMN 1 SET STATISTICS 700".into()]);
    let plan = steps_only("0002-index", vec![build]);
    let child = db.child(&plan, Some("statement:1")).wait_with_output().expect("ends");
    assert!(stopped(&child));
    let oid = db.value("SELECT 't_a'::regclass::oid::text").await;
    assert_eq!(db.apply(&plan, &quick()).await.0.expect("resumes"), Outcome::Done);
    assert_eq!(db.value("SELECT 't_a'::regclass::oid::text").await, oid);
    assert_eq!(db.value("SELECT attstattarget::text FROM pg_attribute WHERE attrelid = 't_a'::regclass").await, "700");
}

/// A unique index that fails on duplicates does not stay behind INVALID.
#[tokio::test]
async fn a_failed_build_is_cleaned_up() {
    let db = Db::start().await;
    db.run("CREATE TABLE t AS SELECT i % 50 AS a FROM generate_series(1, 100) i").await;
    let unique = steps_only("0002-unique", vec![outside(1, "CREATE UNIQUE INDEX CONCURRENTLY t_a ON t (a)", "t_a")]);
    let error = db.apply(&unique, &quick()).await.0.expect_err("fails");
    let ApplyError::Step(failure) = &error else { panic!("{error}") };
    assert_eq!(failure.kept, Kept::CleanedUp);
    assert!(failure.message.contains("is duplicated"), "{error}");
    assert_eq!(db.value("SELECT to_regclass('t_a') IS NULL").await, "true");
    db.run("DELETE FROM t WHERE ctid NOT IN (SELECT min(ctid) FROM t GROUP BY a)").await;
    assert_eq!(db.apply(&unique, &quick()).await.0.expect("goes on"), Outcome::Done);
}

/// Every row exactly once, whatever the key and wherever it was killed.
#[tokio::test]
async fn a_killed_backfill_goes_on() {
    let tables = [
        ("id bigint PRIMARY KEY", "i", &["id"][..]),
        (
            "id timestamptz NOT NULL, z text COLLATE \"C\" NOT NULL, UNIQUE (id, z)",
            "'epoch'::timestamptz + i / 7 * interval '1 hour', 'x''\\' || i",
            &["id", "z"][..],
        ),
        ("id int NOT NULL", "i", &[][..]),
    ];
    for (columns, values, key) in tables {
        for at in ["batch:3:before", "batch:3", "batch:1"] {
            let db = Db::start().await;
            // One statement a table: with the key, by ctid.
            db.run(&format!("CREATE TABLE t ({columns}, old int, new int, touched int NOT NULL DEFAULT 0)")).await;
            db.run(&format!("INSERT INTO t SELECT {values}, i FROM generate_series(1, 20000) i; ANALYZE t; ALTER ROLE postgres SET datestyle = german; ALTER ROLE postgres SET statement_timeout = '1s'")).await;
            let plan = plan("0003-fill", vec![(Backfill, vec![backfill(1, key, "new = old * 2, touched = touched + 1", "new IS NULL")])]);
            let child = db.child(&plan, Some(at)).wait_with_output().expect("ends");
            assert!(stopped(&child), "{at}: {}", String::from_utf8_lossy(&child.stderr));
            let left: i64 = db.value("SELECT count(*)::text FROM t WHERE new IS NULL").await.parse().expect("a number");
            assert!(left > 10_000, "{left}");
            assert_eq!(
                db.value("SELECT coalesce(max(rows_done), 0)::text FROM schema_ledger.backfills").await,
                (20_000 - left).to_string()
            );
            assert_eq!(db.apply(&plan, &quick()).await.0.expect("resumes"), Outcome::Done);
            let result =
                db.value("SELECT count(*) || ' ' || sum(new - 2 * old) || ' ' || min(touched) || ' ' || max(touched) FROM t").await;
            assert_eq!(result, "20000 0 1 1", "{at} {columns}");
            assert_eq!(db.value("SELECT rows_done || ' ' || pass FROM schema_ledger.backfills").await, "20000 1");
            if !key.is_empty() {
                assert_eq!(db.value("SELECT rows_seen::text FROM schema_ledger.backfills").await, "20000");
            }
        }
    }
}

/// A client holds a row: it is named, the batch shrinks and goes on when the client is done.
#[tokio::test]
async fn a_locked_row_is_waited_for() {
    let db = Db::start().await;
    db.run("CREATE TABLE t (id int PRIMARY KEY, new int); INSERT INTO t SELECT i FROM generate_series(1, 1000) i").await;
    let blocker = db.connect().await;
    blocker.client().batch_execute("SET application_name = 'editor'; BEGIN; UPDATE t SET new = 0 WHERE id = 500").await.expect("writes");
    let release = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        blocker.client().batch_execute("COMMIT").await.expect("commits");
    });
    let plan = plan("0003-row", vec![(Backfill, vec![backfill(1, &["id"], "new = id", "new IS NULL")])]);
    let (outcome, events) = db.apply(&plan, &quick()).await;
    release.await.expect("releases");
    assert_eq!(outcome.expect("fills"), Outcome::Done);
    let named = events.iter().any(|event| matches!(event, Event::LockWait { blockers, .. } if blockers[0].application == "editor"));
    assert!(named, "{events:?}");
    assert_eq!(db.value("SELECT count(*) || ' ' || sum(new) FROM t").await, format!("1000 {}", 1000 * 1001 / 2 - 500));
}

/// By ctid through every partition; a partition without rows, and rows that want nothing.
#[tokio::test]
async fn a_backfill_of_partitions_by_ctid() {
    let db = Db::start().await;
    db.run(
        "CREATE TABLE t (id int, new int, touched int NOT NULL DEFAULT 0) PARTITION BY RANGE (id);
            CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (5000); CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (5000) TO (9000);
            CREATE TABLE t3 PARTITION OF t DEFAULT; INSERT INTO t SELECT i, CASE WHEN i % 10 = 0 THEN 1 END FROM generate_series(0, 4999) i;
            INSERT INTO t SELECT i FROM generate_series(9000, 9999) i",
    )
    .await;
    let settings = backfill(1, &[], "new = current_setting('app.mark')::int, touched = touched + 1", "new IS NULL");
    let plan = plan("0003-parts", vec![(Backfill, vec![with_setting(settings)])]);
    assert_eq!(db.apply(&plan, &quick()).await.0.expect("fills"), Outcome::Done);
    assert_eq!(
        db.value("SELECT count(*) FILTER (WHERE touched = 1 AND new = 7) || ' ' || count(*) FILTER (WHERE touched = 0) FROM t").await,
        "5500 500"
    );
}

fn with_setting(mut step: Step) -> Step {
    if let Work::Backfill(backfill) = &mut step.work {
        backfill.settings = vec![("app.mark".to_owned(), "7".to_owned())];
    }
    step
}

/// Rows that appear behind the cursor are found by a second pass.
#[tokio::test]
async fn a_second_pass_and_its_bound() {
    let db = Db::start().await;
    db.run("CREATE TABLE t (id int PRIMARY KEY, new int, touched int NOT NULL DEFAULT 0); INSERT INTO t SELECT i FROM generate_series(1, 2000) i;
            CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN IF NEW.id = 1500 THEN UPDATE t SET new = NULL WHERE id = 3;END IF;RETURN NULL;END';
            CREATE TRIGGER late AFTER UPDATE ON t FOR EACH ROW EXECUTE FUNCTION late()")
        .await;
    let fill = plan("0003-late", vec![(Backfill, vec![backfill(1, &["id"], "new = id, touched = touched + 1", "new IS NULL")])]);
    assert_eq!(db.apply(&fill, &quick()).await.0.expect("fills"), Outcome::Done);
    assert_eq!(db.value("SELECT string_agg(id || ':' || touched, ',') FROM t WHERE touched <> 1").await, "3:2");
    assert_eq!(db.value("SELECT pass::text FROM schema_ledger.backfills").await, "2");
    let mut never = backfill(1, &["id"], "touched = touched", "new > 1990");
    never.verify = vec![Verify { sql: "SELECT count(*) FROM t WHERE new > 1990".to_owned(), expect: "0".to_owned() }];
    let error = db.apply(&plan("0004-never", vec![(Backfill, vec![never])]), &quick()).await.0.expect_err("gives up");
    assert!(error.to_string().contains("must give 0"), "{error}");
}

#[tokio::test]
async fn backfills_pause_stop_and_end_in_time() {
    let db = Db::start().await;
    db.run("CREATE TABLE t (id int PRIMARY KEY, new int); INSERT INTO t SELECT i FROM generate_series(1, 3000) i").await;
    let plan = plan("0003-slow", vec![(Backfill, vec![backfill(1, &["id"], "new = id + length(pg_sleep(0.0003)::text)", "new IS NULL")])]);
    let brief = Options { max_time: Some(Duration::from_millis(300)), ..quick() };
    let (outcome, _) = db.apply(&plan, &brief).await;
    let outcome = outcome.expect("ends cleanly");
    assert!(
        matches!(&outcome, Outcome::Interrupted { stage: Backfill, step: 1, command, .. } if command == "schema apply 0003-slow"),
        "{outcome:?}"
    );
    assert_eq!(outcome.exit_code(), 5);
    assert_eq!(set_control(db.session.client(), Some("0003-slow"), "pause").await.expect("pauses"), 1);
    let before = db.value("SELECT count(new)::text FROM t").await;
    let brief = Options { max_time: Some(Duration::from_millis(700)), ..quick() };
    let (outcome, events) = db.apply(&plan, &brief).await;
    assert!(matches!(outcome.expect("ends"), Outcome::Interrupted { .. }));
    let held = events.iter().any(|event| matches!(event, Event::BackfillHeld { reason, .. } if reason.contains("backfill resume")));
    assert!(held, "{events:?}");
    assert_eq!(db.value("SELECT count(new)::text FROM t").await, before);
    set_control(db.session.client(), None, "run").await.expect("resumes");
    let (outcome, events) = db.apply(&plan, &quick()).await;
    assert_eq!(outcome.expect("fills"), Outcome::Done);
    assert!(events.iter().any(|event| matches!(event, Event::BackfillProgress { rows_done: 3000, eta: Some(_), .. })), "{events:?}");
}

#[tokio::test]
async fn a_second_applier_is_refused() {
    let db = Db::start().await;
    let slow = steps_only("0001-slow", vec![step(1, &["SELECT pg_sleep(4)"])]);
    let mut child = db.child(&slow, None);
    db.until("SELECT count(*)::text FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(4)'", "1").await;
    let pid = db.value("SELECT pid::text FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(4)'").await;
    let error = db.apply(&two_stages(), &quick()).await.0.expect_err("is refused");
    assert_eq!(error.exit_code(), 3);
    let text = error.to_string();
    for part in
        [&format!("pid {pid}, user postgres, application schema"), &format!("pg_terminate_backend({pid})"), "pg_sleep(4)"] as [&str; 3]
    {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(matches!(error, ApplyError::Held(holder) if !holder.orphan));
    assert!(child.wait().expect("ends").success());
    assert_eq!(db.apply(&two_stages(), &quick()).await.0.expect("applies").exit_code(), 0);
}

/// A session idle in its transaction holds the table: it is named, clients never queue for longer than the lock
/// timeout, and the step succeeds when it ends.
#[tokio::test]
async fn a_blocker_is_named_and_clients_go_on() {
    let db = Db::start().await;
    db.run("CREATE TABLE t (a int); INSERT INTO t VALUES (1)").await;
    let blocker = db.connect().await;
    blocker.client().batch_execute("SET application_name = 'sleepy'; BEGIN; SELECT * FROM t").await.expect("reads");
    let client = db.connect().await;
    let reader = tokio::spawn(async move {
        let (begun, mut longest) = (Instant::now(), Duration::ZERO);
        while begun.elapsed() < Duration::from_secs(3) {
            let one = Instant::now();
            client.client().batch_execute("SELECT count(*) FROM t").await.expect("reads");
            longest = longest.max(one.elapsed());
        }
        blocker.client().batch_execute("COMMIT").await.expect("ends");
        longest
    });
    let plan = steps_only("0001-add", vec![locking(step(1, &["ALTER TABLE t ADD b int"]))]);
    let (outcome, events) = db.apply(&plan, &Options { lock_timeout: Duration::from_millis(100), ..quick() }).await;
    assert_eq!(outcome.expect("succeeds"), Outcome::Done);
    let blockers: Vec<_> =
        events.iter().filter_map(|event| if let Event::LockWait { blockers, .. } = event { Some(blockers) } else { None }).collect();
    assert!(blockers.len() >= 2, "{events:?}");
    let named = &blockers[0][0];
    assert_eq!(
        (named.application.as_str(), named.state.as_str(), named.query.contains("SELECT * FROM t")),
        ("sleepy", "idle in transaction", true)
    );
    assert!(named.pid.is_some() && named.age.is_some());
    let longest = reader.await.expect("ends");
    assert!(longest < Duration::from_millis(600), "{longest:?}");
    assert!(db.value("SELECT waited_ms::text FROM schema_ledger.steps").await.parse::<i64>().expect("a number") > 0);
}

fn locking(mut step: Step) -> Step {
    use schema::plan::op::{Cost, Lock, LockMode};
    step.locks = vec![Lock { relation: "public.t".to_owned(), mode: LockMode::AccessExclusive, cost: Cost::Instant }];
    step
}

/// Nothing ends the blocker: the step gives up within its bound, and names it. Prepared transactions too.
#[tokio::test]
async fn locks_are_not_waited_for_without_a_bound() {
    let db = Db::with(&[("max_prepared_transactions", "2")]).await;
    db.run("CREATE TABLE t (a int); BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'forgotten'").await;
    let plan = steps_only("0001-add", vec![locking(step(1, &["ALTER TABLE t ADD b int"]))]);
    let error = db.apply(&plan, &Options { retry_for: Duration::from_secs(2), ..quick() }).await.0.expect_err("gives up");
    let text = error.to_string();
    for part in ["did not get its locks", "ROLLBACK PREPARED 'forgotten'", "SQLSTATE 55P03", "Nothing of this step was kept"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

/// A transaction whose locks should be instant is stopped as a whole, however its time is spent.
#[tokio::test]
async fn a_locking_transaction_has_a_deadline() {
    let db = Db::start().await;
    db.run("CREATE TABLE t (a int)").await;
    let mut slow = locking(step(1, &["ALTER TABLE t ADD b int", "SELECT pg_sleep(0.7)", "SELECT pg_sleep(0.7)"]));
    slow.title = "Slow".to_owned();
    let error = db
        .apply(&steps_only("0001-slow", vec![slow]), &Options { retry_for: Duration::from_millis(100), ..quick() })
        .await
        .0
        .expect_err("is stopped");
    assert!(error.to_string().contains("it took longer than 1.2 s"), "{error}");
}

#[tokio::test]
async fn an_applier_that_was_overtaken_stops() {
    let db = Db::start().await;
    let plan =
        steps_only("0001-fence", vec![step(1, &["UPDATE schema_ledger.applier SET epoch = epoch + 1"]), step(2, &["CREATE TABLE t ()"])]);
    let error = db.apply(&plan, &quick()).await.0.expect_err("is fenced off");
    assert!(matches!(error, ApplyError::Fenced { .. }), "{error}");
    assert_eq!(db.value("SELECT to_regclass('t') IS NULL").await, "true");
    let unlock = steps_only("0002-unlock", vec![step(1, &["SELECT pg_advisory_unlock_all()"]), step(2, &["CREATE TABLE t ()"])]);
    let error = db.apply(&unlock, &quick()).await.0.expect_err("has lost its lock");
    assert!(matches!(error, ApplyError::Fenced { .. }), "{error}");
}

/// A policy that hides rows from the applier would make it pass them over: an error instead.
#[tokio::test]
async fn hidden_rows_are_an_error() {
    let db = Db::start().await;
    db.run("CREATE ROLE app LOGIN; GRANT CREATE ON DATABASE postgres TO app; GRANT CREATE ON SCHEMA public TO app; SET ROLE app; CREATE TABLE t (id int PRIMARY KEY, new int)").await;
    db.run("ALTER TABLE t ENABLE ROW LEVEL SECURITY; ALTER TABLE t FORCE ROW LEVEL SECURITY; RESET ROLE; INSERT INTO t VALUES (1, NULL)")
        .await;
    let fill = plan("0001-rls", vec![(Backfill, vec![backfill(1, &["id"], "new = id", "new IS NULL")])]);
    let (outcome, _) = db.apply_as("app", &fill, &quick()).await;
    let error = outcome.expect_err("fails");
    assert!(error.to_string().contains("policies hide rows of public.t from role app"), "{error}");
    assert_eq!(error.exit_code(), 3);
    db.run("ALTER ROLE app BYPASSRLS").await;
    db.apply_as("app", &fill, &quick()).await.0.expect("applies");
}

#[tokio::test]
async fn direct_mode_keeps_no_ledger() {
    let db = Db::start().await;
    let mut value = step(2, &["ALTER TYPE mood ADD VALUE 'glad'"]);
    value.transaction = Transaction::CommitAfter;
    let plan =
        steps_only("", vec![step(1, &["CREATE TYPE mood AS ENUM ('sad')"]), value, step(3, &["CREATE TABLE t (m mood DEFAULT 'glad')"])]);
    assert_eq!(db.apply(&plan, &Options::direct()).await.0.expect("applies"), Outcome::Done);
    assert_eq!(db.value("SELECT to_regnamespace('schema_ledger') IS NULL").await, "true");
    assert_eq!(db.value("SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory'").await, "0");
}

/// A newer release's ledger is left alone.
#[tokio::test]
async fn a_newer_ledger_is_refused() {
    let db = Db::start().await;
    let two = Options { through: Expand, ..quick() };
    db.apply(&two_stages(), &two).await.0.expect("applies");
    db.run("UPDATE schema_ledger.format SET format = 99").await;
    let error = db.apply(&two_stages(), &two).await.0.expect_err("is refused");
    assert!(matches!(error, ApplyError::NewerLedger { found: 99, known } if known == schema::apply::ledger::FORMAT), "{error}");
}

/// Asked to stop, it lets a running step that is over in an instant end; the next one is where the same command goes on.
#[tokio::test]
async fn a_stop_ends_behind_the_running_step() {
    let db = Db::start().await;
    db.run("CREATE TABLE t ()").await;
    let first = locking(step(1, &["CREATE TABLE a ()", "SELECT pg_sleep(1)"]));
    let plan = steps_only("0001-stop", vec![first, step(2, &["CREATE TABLE b ()"])]);
    let options = quick();
    let stop = options.stop.clone();
    let ((outcome, events), ()) = tokio::join!(db.apply(&plan, &options), async {
        db.until("SELECT count(*)::text FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(1)%'", "1").await;
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    let outcome = outcome.expect("ends cleanly");
    assert!(matches!(outcome, Outcome::Interrupted { stage: Expand, step: 2, .. }), "{outcome:?}");
    assert!(events.iter().any(|event| matches!(event, Event::Notice(text) if text.contains("ends first"))), "{events:?}");
    assert_eq!(db.value("SELECT to_regclass('a') IS NOT NULL AND to_regclass('b') IS NULL").await, "true");
    assert_eq!(db.apply(&plan, &quick()).await.0.expect("goes on"), Outcome::Done);
}

/// CONCURRENTLY waits for old transactions without a lock timeout: whom it waits for is told.
#[tokio::test]
async fn a_waiting_build_names_its_blocker() {
    let db = Db::start().await;
    db.run("CREATE TABLE t (a int)").await;
    let blocker = db.connect().await;
    blocker.client().batch_execute("SET application_name = 'report'; BEGIN; INSERT INTO t VALUES (0)").await.expect("writes");
    let release = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(3)).await;
        blocker.client().batch_execute("COMMIT").await.expect("commits");
    });
    let (outcome, events) = db.apply(&build_index(), &quick()).await;
    release.await.expect("releases");
    assert_eq!(outcome.expect("builds"), Outcome::Done);
    let named = events
        .iter()
        .any(|event| matches!(event, Event::LockWait { failed: 0, blockers, next_try: None, .. } if blockers[0].application == "report"));
    assert!(named, "{events:?}");
}

/// Not a test of its own: what `Db::child` runs in another process, which is then killed.
#[tokio::test]
#[ignore = "run by other tests"]
async fn child() {
    support::run_child().await;
}
