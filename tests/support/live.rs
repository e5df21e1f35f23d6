//! A case on a real server: built, seeded, planned, applied, compared.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Mutex;

use libtest_mimic::Failed;
use schema::apply::{ApplyError, Event, Options, Outcome, apply};
use schema::catalog::{Catalog, Fingerprint, Id};
use schema::engine::fill::fill;
use schema::engine::{Computed, Request, Scope, Workbench, compute};
use schema::kind::Kind as _;
use schema::kind::column::Column;
use schema::kind::not_null::settle;
use schema::kind::table::Table;
use schema::pg::introspect::{Managed, introspect};
use schema::pg::{DatabaseOptions, Session, Target, connect};
use schema::plan::plan::StageName;
use schema::plan::render::{Context, Style, text};
use schema::plan::{Plan, Policy};

use super::case::Case;
use super::seed;

/// The databases of a case.
const NAMES: [&str; 7] = ["seeded", "fresh", "changed", "killed", "cut", "crashed", "back"];

/// Tables with more rows than this are large here.
const FEW: u64 = 10;

/// Benches at rest: one for each test that runs at a time.
static RESTING: Mutex<Vec<Workbench>> = Mutex::new(Vec::new());

/// A case with its server.
pub struct Live {
    pub case: Case,
    bench: Workbench,
    pub scope: Scope,
    /// The plan from the seeded database.
    pub plan: Plan,
    /// The state that it leads to.
    pub desired: Catalog,
    before: Catalog,
    rows: BTreeMap<Id, String>,
    dump: String,
}

pub type Result<T> = std::result::Result<T, Failed>;

/// The error with what it is about.
pub fn failed<E: std::fmt::Display>(what: &str) -> impl FnOnce(E) -> Failed {
    move |error| format!("{what}: {error}").into()
}

impl Live {
    /// Builds and seeds the state before as database `seeded`, and plans from there.
    pub async fn start(name: &str) -> Result<Self> {
        let case = Case::read(name)?;
        // Who owns and may do what counts where a case says it.
        let says = |kind: &str| case.after.catalog.objects.keys().any(|id| id.kind == kind);
        let scope = Scope { managed: Managed { owners: says("owner"), grants: says("grant") }, ignore: Vec::new() };
        let resting = RESTING.lock().expect("no test panics with it").pop();
        let mut bench = resting.unwrap_or_default();
        bench.start(None).await.map_err(failed("server"))?;
        // What a test that failed left behind.
        for name in NAMES {
            bench.scratch().expect("it was started").drop_database(name).await.map_err(failed("drop"))?;
        }
        let session = database(&bench, "seeded").await?;
        // NOT NULL of partitions is called as those who use PARTITION OF have it.
        let mut before = case.before.catalog.clone();
        settle(&Catalog::default(), &mut before, &case.before.hints, session.server_version);
        build(&session, &before).await?;
        seed_rows(&case, &session).await?;
        let before = introspect(&session, scope.managed).await.map_err(failed("introspect"))?.catalog;
        let mut live = Self {
            case,
            bench,
            scope,
            plan: Plan::default(),
            desired: Catalog::default(),
            before,
            rows: BTreeMap::new(),
            dump: String::new(),
        };
        let Computed { mut plan, desired, .. } = live.compute(&session, true).await?;
        "0001-case".clone_into(&mut plan.name);
        let fresh = database(&live.bench, "fresh").await?;
        build(&fresh, &desired).await?;
        fresh.close().await;
        live.dump = live.dump_of("fresh")?;
        live.rows = live.kept(&session, &desired, false).await?;
        session.close().await;
        live.plan = plan;
        live.desired = desired;
        Ok(live)
    }

    /// Ends the case; its server serves the next one.
    pub async fn end(mut self) {
        self.bench.clear().await;
        RESTING.lock().expect("no test panics with it").push(self.bench);
    }

    async fn compute(&mut self, session: &Session, prove: bool) -> Result<Computed> {
        let mut state = introspect(session, self.scope.managed).await.map_err(failed("introspect"))?;
        state.read_dependencies(session).await.map_err(failed("dependencies"))?;
        let small = if self.case.folder.join("facts.kdl").exists() {
            self.case.facts.tables.values().any(|facts| facts.rows < 10_000)
        } else {
            false
        };
        let policy = Policy {
            small_table_rows: if small { 10_000 } else { FEW },
            direct: self.case.policy.direct,
            quarantine: self.case.policy.quarantine,
        };
        let request = Request {
            session: Some(session),
            live: state.catalog,
            live_is_elaborated: true,
            desired: self.case.after.clone(),
            scope: &self.scope,
            policy,
            prove,
            for_session: true,
            server: None,
        };
        let computed = compute(request, &mut self.bench).await.map_err(|error| {
            let error = schema::error::CliError::from(error);
            error.report().map_or_else(|| error.to_string(), |report| schema::cli::out::plain(report.as_ref()))
        })?;
        self.bench.clear().await;
        Ok(computed)
    }

    /// A new copy of the seeded database.
    pub async fn copy(&self, name: &str) -> Result<()> {
        let scratch = self.bench.scratch().expect("it was started");
        scratch.drop_database(name).await.map_err(failed("drop"))?;
        let options = DatabaseOptions { template: Some("seeded".to_owned()), ..DatabaseOptions::default() };
        scratch.create_database(name, &options).await.map_err(failed("copy"))
    }

    /// Kills the server and starts it again.
    pub async fn crash(&mut self) -> Result<()> {
        self.bench.scratch_mut().expect("it was started").crash().await.map_err(failed("crash"))
    }

    /// Kills a process of the server as `kill -9` does: the server ends all others and recovers. `watcher` is a session to
    /// the same server, which sees that.
    pub async fn kill_backend(&self, pid: i32, watcher: Session) -> Result<()> {
        let process = rustix::process::Pid::from_raw(pid).expect("a process has a number");
        if rustix::process::kill_process(process, rustix::process::Signal::KILL).is_err() {
            // It has ended by itself.
            return Ok(());
        }
        let begun = std::time::Instant::now();
        let limit = std::time::Duration::from_secs(30);
        while begun.elapsed() < limit {
            // Killed when it had left already: nobody else feels that.
            if begun.elapsed() > limit / 10 && !watcher.is_closed() && watcher.client().query("SELECT", &[]).await.is_ok() {
                return Ok(());
            }
            if watcher.is_closed() && self.bench.scratch().expect("it was started").connect("postgres").await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        Err("the server does not recover".into())
    }

    pub fn target(&self, name: &str) -> Target {
        self.bench.scratch().expect("it was started").target(name)
    }

    /// Connection string, for children.
    pub fn address(&self, name: &str) -> String {
        let target = self.target(name);
        format!(
            "host={} port={} user=postgres dbname={name}",
            self.bench.scratch().expect("it was started").socket_dir().display(),
            target.endpoints[0].port
        )
    }

    /// Whether a second plan is empty.
    pub async fn check_plan(&mut self, name: &str) -> Result<()> {
        let session = connect(&self.target(name)).await.map_err(failed("connect"))?;
        let again = self.compute(&session, false).await?;
        session.close().await;
        if again.plan.is_empty() {
            return Ok(());
        }
        let style = Style { verbose: true, ..Style::default() };
        Err(format!("a second plan is not empty:\n{}", text(&again.plan, &Context::default(), &style)).into())
    }

    /// Whether a database holds exactly the desired state, with every row, and knows it.
    pub async fn check(&self, name: &str) -> Result<()> {
        let session = connect(&self.target(name)).await.map_err(failed("connect"))?;
        let mut found = introspect(&session, self.scope.managed).await.map_err(failed("introspect"))?.catalog;
        found.unmodelled.clear();
        let left: Vec<String> = found
            .objects
            .keys()
            .filter(|id| !self.desired.contains(id) && !matches!(id.kind.as_str(), "owner" | "grant" | "view-column" | "schema"))
            .map(ToString::to_string)
            .collect();
        if !left.is_empty() {
            return Err(format!("left over: {}", left.join(", ")).into());
        }
        let dump = self.dump_of(name)?;
        if dump != self.dump {
            return Err(format!("pg_dump differs from that of a database made afresh:\n{}", differing(&self.dump, &dump)).into());
        }
        let rows = self.kept(&session, &self.desired, true).await?;
        if rows != self.rows {
            return Err(format!("rows were lost or changed:\n{:?}\n{rows:?}", self.rows).into());
        }
        if !self.plan.is_empty() {
            let state: String = session
                .client()
                .query_one("SELECT string_agg(state, ',') FROM schema_ledger.plans", &[])
                .await
                .map_err(failed("ledger"))?
                .get(0);
            if state != "done" {
                return Err(format!("the ledger says {state}").into());
            }
        }
        session.close().await;
        Ok(())
    }

    /// For every table that stays: rows, and a checksum of the columns whose values stay.
    async fn kept(&self, session: &Session, desired: &Catalog, after: bool) -> Result<BTreeMap<Id, String>> {
        let hints = &self.case.after.hints;
        let mut found = BTreeMap::new();
        for table in self.before.of::<Table>() {
            let old = table.id();
            let new = later(&old, &hints.renames);
            let moved = table.partition_by.is_some() && partitions(&self.before, &old) != partitions(desired, &new);
            if !desired.contains(&new) || moved {
                continue;
            }
            let mut columns = Vec::new();
            for column in self.before.of::<Column>().filter(|column| column.table == old) {
                let own = new.child("column", &column.name);
                let to = hints.renames.iter().find(|(_, from)| **from == column.id() || **from == own).map_or(own, |(to, _)| to.clone());
                let changes =
                    hints.backfills.contains_key(&to) || hints.reverts.contains_key(&to) || self.changes_form(&column.data_type, desired);
                if desired.contains(&to) && !changes {
                    let name = schema::catalog::id::quote(if after { to.name() } else { &column.name });
                    columns.push(if after { name } else { self.carried(&column.data_type, &name) });
                }
            }
            let relation = if after { &new } else { &old };
            let row = if columns.is_empty() {
                "''".to_owned()
            } else {
                format!(
                    "concat_ws('|', {})",
                    columns.iter().map(|name| format!("COALESCE({name}::text, 'NULL')")).collect::<Vec<_>>().join(", ")
                )
            };
            let sql = format!(
                "SELECT count(*) || ' ' || COALESCE(md5(string_agg(r, '\n' ORDER BY r COLLATE \"C\")), '') FROM (SELECT {row} AS r FROM {}) rows",
                relation.sql()
            );
            let text: String = session.client().query_one(&sql, &[]).await.map_err(failed(&sql))?.get(0);
            found.insert(new, text);
        }
        Ok(found)
    }

    /// A composite type whose attributes change: its values are written otherwise.
    fn changes_form(&self, data_type: &str, desired: &Catalog) -> bool {
        let changed =
            |(id, object): (&Id, _)| id.kind == "type" && id.sql() == data_type && desired.get(id).is_some_and(|new| new != object);
        self.before.objects.iter().any(changed)
    }

    /// The values of a column of an enum as the case wants them: some have another name, or become another one.
    fn carried(&self, data_type: &str, name: &str) -> String {
        let hints = &self.case.after.hints;
        let of = |id: &Id| data_type.trim_end_matches("[]") == id.sql();
        let renamed = hints.part_renames.iter().filter(|((id, _), _)| of(id)).map(|((_, new), old)| (old, new));
        let replaced = hints.value_backfills.iter().filter(|((id, _), _)| of(id)).map(|((_, old), new)| (old, new));
        let literal = |text: &str| schema::catalog::id::literal(text);
        let is_array = data_type.ends_with("[]");
        renamed.chain(replaced).fold(name.to_owned(), |value, (old, new)| {
            let (old, new) = (literal(old), literal(new));
            if is_array {
                format!("array_replace({value}::text[], {old}, {new})")
            } else {
                format!("CASE {value}::text WHEN {old} THEN {new} ELSE {value}::text END")
            }
        })
    }

    /// `pg_dump -s` without what differs between any two runs; the lines of a table in any order.
    fn dump_of(&self, name: &str) -> Result<String> {
        let text = self.raw_dump_of(name)?;
        let mut statements: Vec<String> = text.split("\n\n").map(statement).filter(|text| !text.is_empty()).collect();
        statements.sort();
        Ok(statements.join("\n\n"))
    }

    /// `pg_dump -s` as it is.
    pub fn raw_dump_of(&self, name: &str) -> Result<String> {
        let scratch = self.bench.scratch().expect("it was started");
        let output = Command::new(scratch.installation().program("pg_dump"))
            .args(["-s", "-N", "schema_ledger", "-N", "schema_quarantine*", "-U", "postgres", "-d", name, "-h"])
            .arg(scratch.socket_dir())
            .output()
            .map_err(failed("pg_dump"))?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

fn later(id: &Id, renames: &indexmap::IndexMap<Id, Id>) -> Id {
    renames.iter().find(|(_, old)| *old == id).map_or_else(|| id.clone(), |(new, _)| new.clone())
}

fn partitions(catalog: &Catalog, table: &Id) -> Vec<Id> {
    let mut parts: Vec<Id> =
        catalog.of::<schema::kind::partition::Partition>().filter(|place| place.parent == *table).map(schema::kind::Kind::id).collect();
    parts.sort();
    parts
}

fn statement(text: &str) -> String {
    let noise = |line: &&str| {
        !(line.starts_with("--")
            || line.contains("\"schema_quarantine.")
            || line.starts_with("SET ")
            || line.starts_with('\\')
            || line.starts_with("SELECT pg_catalog.set_config")
            || line.is_empty())
    };
    let mut lines: Vec<&str> = text.lines().filter(noise).collect();
    if lines.first().is_some_and(|line| line.starts_with("CREATE TABLE") || line.starts_with("CREATE UNLOGGED TABLE")) {
        for line in &mut lines {
            *line = line.trim_end_matches(',');
        }
        lines.sort_unstable();
    }
    lines.join("\n")
}

fn differing(expected: &str, found: &str) -> String {
    let of = |text: &str| text.split("\n\n").map(str::to_owned).collect::<Vec<_>>();
    let (expected, found) = (of(expected), of(found));
    let missing = expected.iter().filter(|one| !found.contains(one)).map(|one| format!("missing: {one}"));
    let extra = found.iter().filter(|one| !expected.contains(one)).map(|one| format!("not wanted: {one}"));
    missing.chain(extra).collect::<Vec<_>>().join("\n")
}

async fn database(bench: &Workbench, name: &str) -> Result<Session> {
    let scratch = bench.scratch().expect("it was started");
    scratch.create_database(name, &DatabaseOptions::default()).await.map_err(failed("database"))?;
    scratch.connect(name).await.map_err(failed("connect"))
}

async fn build(session: &Session, catalog: &Catalog) -> Result<()> {
    if !catalog.contains(&schema::kind::schema::Schema::id_of("public")) {
        session.client().batch_execute("DROP SCHEMA public").await.map_err(failed("public"))?;
    }
    let rejected = fill(session, catalog, |_| true).await.map_err(failed("fill"))?;
    let list: Vec<String> = rejected.iter().map(|one| format!("{}: {}\n{}", one.id, schema::pg::explain(&one.error), one.sql)).collect();
    session.client().batch_execute("RESET ALL").await.map_err(failed("reset"))?;
    if list.is_empty() { Ok(()) } else { Err(format!("the server refuses\n{}", list.join("\n")).into()) }
}

async fn seed_rows(case: &Case, session: &Session) -> Result<()> {
    let statements = match std::fs::read_to_string(case.folder.join("seed.sql")) {
        Ok(text) => vec![text],
        Err(_) => seed::statements(&case.before.catalog, &case.after.catalog, &case.after.hints)?,
    };
    for sql in statements.iter().map(String::as_str).chain(["ANALYZE"]) {
        session.client().batch_execute(sql).await.map_err(|error| format!("{sql}: {}", schema::pg::explain(&error)))?;
    }
    Ok(())
}

/// Small batches, no patience.
pub fn options() -> Options {
    Options {
        through: StageName::Contract,
        confirm_old_clients_gone: true,
        batch_rows: 20,
        batch_target: std::time::Duration::from_millis(20),
        orphan_wait: std::time::Duration::from_secs(20),
        who: "test".to_owned(),
        ..Options::default()
    }
}

/// One run of `schema apply`, as far as it goes.
pub async fn run(
    target: &Target,
    plan: &Plan,
    options: &Options,
    tell: &mut (dyn FnMut(Event) + Send),
) -> std::result::Result<Outcome, ApplyError> {
    let session = connect(target).await.expect("connects");
    let text = serde_json::to_string(plan).expect("serializes");
    let hash = Fingerprint::of_bytes(text.as_bytes()).0;
    apply(session, target, plan, &text, &hash, options, &mut |event| tell(event)).await
}
