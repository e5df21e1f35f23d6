//! A server with one database, plans made by hand, and child processes to be killed.

use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use schema::apply::{ApplyError, Event, Options, Outcome, apply};
use schema::catalog::{Fingerprint, Id, Ident};
use schema::pg::{Scratch, ScratchOptions, Session, Target, connect, find};
use schema::plan::Transaction;
use schema::plan::op::{Probe, Verify};
use schema::plan::plan::{Backfill, Plan, Preflight, Stage, StageName, Step, Undo, Work};

const TARGET: &str = "SCHEMA_TEST_TARGET";
const PLAN: &str = "SCHEMA_TEST_PLAN";

pub struct Db {
    pub session: Session,
    pub scratch: Scratch,
}

impl Db {
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    pub async fn with(settings: &[(&str, &str)]) -> Self {
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let options = ScratchOptions { settings, ..ScratchOptions::default() };
        let scratch = Scratch::start(&find(None).expect("PostgreSQL is installed"), options).await.expect("starts");
        let session = scratch.connect("postgres").await.expect("connects");
        Self { session, scratch }
    }

    pub async fn connect(&self) -> Session {
        self.scratch.connect("postgres").await.expect("connects")
    }

    #[allow(dead_code, reason = "only one of the harnesses asks")]
    pub fn data_dir(&self) -> std::path::PathBuf {
        self.scratch.data_dir().to_owned()
    }

    #[allow(dead_code, reason = "only one of the harnesses asks")]
    pub fn socket_dir(&self) -> std::path::PathBuf {
        self.scratch.socket_dir().to_owned()
    }

    #[allow(dead_code, reason = "only one of the harnesses asks")]
    pub fn port(&self) -> u16 {
        self.scratch.target("postgres").endpoints[0].port
    }

    #[allow(dead_code, reason = "only one of the harnesses asks")]
    pub fn program(&self, name: &str) -> std::path::PathBuf {
        self.scratch.installation().program(name)
    }

    pub async fn run(&self, sql: &str) {
        for statement in sql.split("; ") {
            self.session.client().batch_execute(statement).await.expect(statement);
        }
    }

    /// One value as text.
    pub async fn value(&self, sql: &str) -> String {
        let row = self.session.client().query_one(&format!("SELECT q.v::text FROM ({sql}) q (v)"), &[]).await.expect(sql);
        row.get::<_, Option<String>>(0).unwrap_or_else(|| "NULL".to_owned())
    }

    pub async fn until(&self, sql: &str, expected: &str) {
        let begun = Instant::now();
        while self.value(sql).await != expected {
            assert!(begun.elapsed() < Duration::from_secs(30), "never {expected}: {sql}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn apply(&self, plan: &Plan, options: &Options) -> (Result<Outcome, ApplyError>, Vec<Event>) {
        run(&self.scratch.target("postgres"), plan, options).await
    }

    pub async fn apply_as(&self, user: &str, plan: &Plan, options: &Options) -> (Result<Outcome, ApplyError>, Vec<Event>) {
        let mut target = self.scratch.target("postgres");
        user.clone_into(&mut target.user);
        run(&target, plan, options).await
    }

    /// Ends a session, and waits until the server has forgotten it.
    #[allow(dead_code, reason = "only one of the harnesses asks")]
    pub async fn gone(&self, session: Session) {
        let pid = session.backend_pid;
        session.close().await;
        self.until(&format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}"), "0").await;
    }

    /// Connection string of its database.
    pub fn address(&self) -> String {
        let port = self.scratch.target("postgres").endpoints[0].port;
        format!("host={} port={port} user=postgres dbname=postgres", self.scratch.socket_dir().display())
    }

    /// Applies `plan` in another process, which kills itself at a point.
    pub fn child(&self, plan: &Plan, crash_at: Option<&str>) -> Child {
        self.child_that(plan, crash_at, "kill")
    }

    /// As [`Self::child`]; `how`: kill or stop.
    pub fn child_that(&self, plan: &Plan, crash_at: Option<&str>, how: &str) -> Child {
        let mut command = Command::new(std::env::current_exe().expect("has a path"));
        command
            .args(["--exact", "child", "--ignored", "--nocapture"])
            .env(TARGET, self.address())
            .env("SCHEMA_CRASH_HOW", how)
            .env(PLAN, serde_json::to_string(plan).expect("serializes"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(at) = crash_at {
            command.env("SCHEMA_CRASH_AT", at);
        }
        command.spawn().expect("starts")
    }
}

pub async fn run(target: &Target, plan: &Plan, options: &Options) -> (Result<Outcome, ApplyError>, Vec<Event>) {
    let session = connect(target).await.expect("connects");
    let text = serde_json::to_string(plan).expect("serializes");
    let hash = Fingerprint::of_bytes(text.as_bytes()).0;
    let mut events = Vec::new();
    let outcome = apply(session, target, plan, &text, &hash, options, &mut |event| events.push(event)).await;
    (outcome, events)
}

pub async fn run_child() {
    let target = Target::parse(&std::env::var(TARGET).expect("is set")).expect("parses");
    let plan: Plan = serde_json::from_str(&std::env::var(PLAN).expect("is set")).expect("parses");
    run(&target, &plan, &quick()).await.0.expect("applies");
}

/// Whether a child was ended by a signal (its own abort, or ours).
pub fn stopped(output: &Output) -> bool {
    use std::os::unix::process::ExitStatusExt as _;
    output.status.signal().is_some()
}

/// Starts an index build in another process, lets it wait for an old transaction, and kills the process. The session
/// that holds the build up is returned, in its transaction.
pub async fn killed_index(db: &Db, plan: &Plan) -> Session {
    db.run("CREATE TABLE t AS SELECT i AS a FROM generate_series(1, 100) i").await;
    let blocker = db.connect().await;
    blocker.client().batch_execute("BEGIN; INSERT INTO t VALUES (0)").await.expect("writes");
    let mut child = db.child(plan, None);
    let waiting = "SELECT count(*)::text FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX CONCURRENTLY%' AND wait_event_type = 'Lock'";
    db.until(waiting, "1").await;
    child.kill().expect("is killed");
    child.wait().expect("ends");
    blocker
}

/// Impatient, small batches.
pub fn quick() -> Options {
    Options {
        batch_rows: 300,
        batch_target: Duration::from_millis(50),
        who: "test".to_owned(),
        orphan_wait: Duration::from_secs(20),
        ..Options::default()
    }
}

pub fn plan(name: &str, stages: Vec<(StageName, Vec<Step>)>) -> Plan {
    let stages = stages.into_iter().map(|(name, steps)| Stage { name, note: String::new(), steps }).collect();
    Plan { name: name.to_owned(), stages, ..Plan::default() }
}

pub fn steps_only(name: &str, steps: Vec<Step>) -> Plan {
    plan(name, vec![(StageName::Expand, steps)])
}

pub fn step(number: u32, statements: &[&str]) -> Step {
    Step {
        number,
        title: format!("Step {number}"),
        recipe: "test".to_owned(),
        work: Work::Sql(statements.iter().map(|sql| (*sql).to_owned()).collect()),
        transaction: Transaction::Inside,
        locks: Vec::new(),
        undo: Undo::Nothing,
        loses: Vec::new(),
        makes: Vec::new(),
        takes: Vec::new(),
        probe: None,
        verify: Vec::new(),
        preflight: Vec::new(),
    }
}

pub fn outside(number: u32, sql: &str, index: &str) -> Step {
    let probe = format!(
        "SELECT coalesce((SELECT CASE WHEN indisvalid THEN 'done' ELSE 'leftover' END FROM pg_index WHERE indexrelid = to_regclass('{index}')), 'absent')"
    );
    let cleanup = vec![format!("DROP INDEX CONCURRENTLY {index}")];
    Step { transaction: Transaction::Outside, probe: Some(Probe { sql: probe, cleanup }), ..step(number, &[sql]) }
}

/// A look for rows that would make a step fail.
#[allow(dead_code, reason = "only some of the harnesses ask")]
pub fn preflight(title: &str, rows: &str) -> Preflight {
    Preflight { title: title.to_owned(), rows: rows.to_owned(), help: "correct them".to_owned(), setup: Vec::new(), after: None }
}

pub fn backfill(number: u32, key: &[&str], set: &str, filter: &str) -> Step {
    let work = Backfill {
        table: Id::new("table", ["public", "t"]),
        key: key.iter().map(Ident::new).collect(),
        set: set.to_owned(),
        filter: filter.to_owned(),
        settings: Vec::new(),
        rows: Some(20_000),
        copy: None,
    };
    let verify = Verify { sql: format!("SELECT count(*) FROM public.t WHERE {filter}"), expect: "0".to_owned() };
    Step { work: Work::Backfill(work), verify: vec![verify], ..step(number, &[]) }
}
