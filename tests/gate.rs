//! The gate before contract, on a real server: it opens only on evidence, and says what it waits for.

#[path = "apply/support.rs"]
#[allow(dead_code, reason = "shared with the tests of apply")]
mod support;

use std::time::Duration;

use schema::apply::gate::look;
use schema::apply::{Options, Outcome, WaitingFor};
use schema::catalog::Id;
use schema::plan::plan::StageName::{Contract, Expand, Switch};
use schema::plan::plan::{Gate, Plan};
use support::{Db, plan, quick, step};

/// `severity` is about to go from `t`.
fn dropping(gate: Gate) -> Plan {
    let mut drop = step(2, &["ALTER TABLE t DROP COLUMN severity"]);
    drop.takes = vec![Id::new("column", ["public", "t", "severity"])];
    let add = vec![step(1, &["ALTER TABLE t ADD severity_level int"])];
    Plan { gate: Some(gate), ..plan("0001-drop", vec![(Expand, add), (Contract, vec![drop])]) }
}

fn contract() -> Options {
    Options { through: Contract, ..quick() }
}

async fn unmet(db: &Db, plan: &Plan) -> Vec<String> {
    match db.apply(plan, &contract()).await.0.expect("waits") {
        Outcome::Waiting { stage: Contract, reason: WaitingFor::Gate(unmet) } => unmet,
        other => panic!("{other:?}"),
    }
}

async fn there(db: &Db) -> String {
    db.value("SELECT count(*) FROM pg_attribute WHERE attrelid = 't'::regclass AND attname = 'severity'").await
}

#[tokio::test]
async fn an_old_client_keeps_it_shut() {
    let db = Db::start().await;
    db.run("CREATE TABLE t (severity int); CREATE ROLE app LOGIN").await;
    let idle = Duration::from_secs(3);
    let plan = dropping(Gate { clients: Some("app/1.*".into()), user: Some("postgres".into()), idle, statements: false });
    let old = db.connect().await;
    old.client().batch_execute("SET application_name = 'app/1.4'").await.expect("names itself");
    let new = db.connect().await;
    new.client().batch_execute("SET application_name = 'app/2.0'").await.expect("names itself");
    // Up to the switch: the first look is there, and starts the clock.
    let switch = Options { through: Switch, ..quick() };
    assert_eq!(db.apply(&plan, &switch).await.0.expect("applies"), Outcome::Waiting { stage: Contract, reason: WaitingFor::Through });
    assert_eq!(db.value("SELECT looks FROM schema_ledger.gates").await, "1");
    let told = unmet(&db, &plan).await;
    let pid = old.backend_pid;
    assert_eq!(told[0], format!("app/1.4 (user postgres, session {pid}) is connected"));
    assert!(told[1].starts_with("it is looked since") && told[1].ends_with("3s are asked for"), "{told:?}");
    assert_eq!(told.len(), 2);
    // Gone, but not long enough.
    old.close().await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let told = unmet(&db, &plan).await;
    assert!(told[0].starts_with(&format!("app/1.4 (user postgres, session {pid}) was seen 1 s ago")), "{told:?}");
    assert_eq!(there(&db).await, "1");
    // A person may know better; here time passes instead, and what is seen can be read.
    tokio::time::sleep(idle).await;
    let evidence = look(db.session.client(), &plan, plan.gate.as_slice()).await.expect("looks");
    assert_eq!((evidence.unmet.as_slice(), evidence.seen.len(), evidence.looks), (&[][..], 1, 4));
    assert_eq!(db.apply(&plan, &contract()).await.0.expect("applies"), Outcome::Done);
    assert_eq!(there(&db).await, "0");
}

#[tokio::test]
async fn a_persons_word_opens_it() {
    let db = Db::start().await;
    db.run("CREATE TABLE t (severity int)").await;
    let plan = dropping(Gate { user: Some("*".into()), idle: Duration::from_hours(24), ..Gate::default() });
    let other = db.connect().await;
    other.client().batch_execute("SET application_name = 'psql'").await.expect("names itself");
    assert_eq!(unmet(&db, &plan).await.len(), 2);
    let known = Options { confirm_old_clients_gone: true, ..contract() };
    assert_eq!(db.apply(&plan, &known).await.0.expect("applies"), Outcome::Done);
}

/// A statement that names the old column keeps it shut, whoever runs it; one that names the new one does not.
#[tokio::test]
async fn a_statement_on_the_old_column_keeps_it_shut() {
    let db = Db::with(&[("shared_preload_libraries", "pg_stat_statements")]).await;
    db.run("CREATE TABLE t (severity int); CREATE TABLE u (severity int)").await;
    let plan = dropping(Gate { statements: true, idle: Duration::from_secs(2), ..Gate::default() });
    // Without the extension nothing is known, and that counts as bad.
    let told = unmet(&db, &plan).await;
    assert!(told.iter().any(|one| one.contains("pg_stat_statements is not in this database")), "{told:?}");
    db.run("CREATE EXTENSION pg_stat_statements; SELECT severity FROM t").await;
    // Called before the first look that could count: no sign.
    let told = unmet(&db, &plan).await;
    assert_eq!(told.len(), 1, "{told:?}");
    db.run("SELECT severity FROM u; SELECT severity_level FROM t").await;
    let told = unmet(&db, &plan).await;
    assert_eq!(told.len(), 1, "{told:?}");
    db.run("SELECT severity FROM t").await;
    let told = unmet(&db, &plan).await;
    assert!(told[0].starts_with("statement SELECT severity FROM t (user postgres) was seen"), "{told:?}");
    assert_eq!(there(&db).await, "1");
    // Emptied counters may hide something: the clock starts again.
    tokio::time::sleep(Duration::from_millis(2100)).await;
    db.run("SELECT pg_stat_statements_reset()").await;
    let told = unmet(&db, &plan).await;
    assert!(
        told.iter().any(|one| one.contains("ms only; 2s are asked for (the clock began again once: pg_stat_statements was emptied")),
        "{told:?}"
    );
    tokio::time::sleep(Duration::from_millis(2100)).await;
    assert_eq!(db.apply(&plan, &contract()).await.0.expect("applies"), Outcome::Done);
}

/// What a role may not see counts as bad.
#[tokio::test]
async fn hidden_statements_keep_it_shut() {
    let db = Db::with(&[("shared_preload_libraries", "pg_stat_statements")]).await;
    db.run("CREATE EXTENSION pg_stat_statements; CREATE ROLE app LOGIN; GRANT CREATE ON DATABASE postgres TO app; GRANT ALL ON SCHEMA public TO app; CREATE TABLE t (severity int); ALTER TABLE t OWNER TO app; SELECT severity FROM t").await;
    let plan = dropping(Gate { statements: true, idle: Duration::ZERO, ..Gate::default() });
    let (outcome, _) = db.apply_as("app", &plan, &contract()).await;
    let Outcome::Waiting { reason: WaitingFor::Gate(told), .. } = outcome.expect("waits") else { panic!() };
    assert!(told.iter().any(|one| one.contains("GRANT pg_read_all_stats")), "{told:?}");
    db.run("GRANT pg_read_all_stats TO app").await;
    let (outcome, _) = db.apply_as("app", &plan, &contract()).await;
    assert_eq!(outcome.expect("applies"), Outcome::Done);
}

/// A role that may not see what others do sees that they are there.
#[tokio::test]
async fn a_hidden_client_keeps_it_shut() {
    let db = Db::start().await;
    db.run("CREATE TABLE t (severity int); CREATE ROLE app LOGIN; GRANT CREATE ON DATABASE postgres TO app; GRANT ALL ON SCHEMA public TO app; ALTER TABLE t OWNER TO app").await;
    let plan = dropping(Gate { clients: Some("app/1.*".into()), idle: Duration::ZERO, ..Gate::default() });
    let old = db.connect().await;
    old.client().batch_execute("SET application_name = 'app/1.4'").await.expect("names itself");
    let (outcome, _) = db.apply_as("app", &plan, &contract()).await;
    let Outcome::Waiting { reason: WaitingFor::Gate(told), .. } = outcome.expect("waits") else { panic!("it was let through") };
    assert_eq!(told, [format!("app/1.4 (user postgres, session {}) is connected", old.backend_pid)]);
    assert_eq!(there(&db).await, "1");
    db.gone(old).await;
    assert_eq!(db.apply_as("app", &plan, &contract()).await.0.expect("applies"), Outcome::Done);
}

/// The connection string may be the application's own, name included.
#[tokio::test]
async fn a_client_of_our_name_keeps_it_shut() {
    let db = Db::start().await;
    db.run("CREATE TABLE t (severity int)").await;
    let mut looked = step(1, &["ALTER TABLE t ADD severity_level int"]);
    looked.preflight = vec![support::preflight("rows of t", "SELECT severity FROM t")];
    let mut drop = step(2, &["ALTER TABLE t DROP COLUMN severity"]);
    drop.preflight = vec![support::preflight("rows of t", "SELECT severity FROM t")];
    let gate = Some(Gate { clients: Some("app/*".into()), idle: Duration::ZERO, ..Gate::default() });
    let plan = Plan { gate, ..plan("0001-drop", vec![(Expand, vec![looked]), (Contract, vec![drop])]) };
    let old = db.connect().await;
    old.client().batch_execute("SET application_name = 'app/1.4'").await.expect("names itself");
    let mut target = db.scratch.target("postgres");
    target.application_name = Some("app/1.4".to_owned());
    let (outcome, _) = support::run(&target, &plan, &contract()).await;
    let Outcome::Waiting { reason: WaitingFor::Gate(told), .. } = outcome.expect("waits") else { panic!("it was let through") };
    assert_eq!(told, [format!("app/1.4 (user postgres, session {}) is connected", old.backend_pid)]);
    db.gone(old).await;
    // Our own three sessions of that name are no clients.
    assert_eq!(support::run(&target, &plan, &contract()).await.0.expect("applies"), Outcome::Done);
}

/// A server's clock that was set back has measured nothing.
#[tokio::test]
async fn time_that_goes_back_does_not_count() {
    let db = Db::start().await;
    db.run("CREATE TABLE t (severity int)").await;
    let plan = dropping(Gate { clients: Some("app/1.*".into()), idle: Duration::from_hours(24), ..Gate::default() });
    assert_eq!(unmet(&db, &plan).await.len(), 1);
    db.run("UPDATE schema_ledger.gates SET first_look = clock_timestamp() + interval '1 hour'").await;
    assert_eq!(unmet(&db, &plan).await, ["it is looked since 0 ms only; 1d are asked for"]);
    assert_eq!(there(&db).await, "1");
}
