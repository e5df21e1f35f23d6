//! `cargo bench`: how long a plan takes on large schemas, measured against `pg_dump -s` in the same run.
//!
//! ```text
//! cargo bench --bench plan                          1,000 and 10,000 tables
//! cargo bench --bench plan -- --tables 1000         one size
//! cargo bench --bench plan -- --runs 9 --check      more runs; exit code 1 when a bound is missed
//! cargo bench --bench plan -- --steps               the pure steps alone, for a profiler
//! ```
//!
//! Each table has 4 indexes besides its key (one of two columns, one partial, one on an expression), 2 foreign
//! keys, a check and a default. They live on a scratch server that is stopped at the end. What is compared runs in
//! turns, so that whatever else the machine does falls on all of it. See docs/performance.md.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use schema::catalog::{Catalog, Id};
use schema::kdl::Sources;
use schema::kind::Object;
use schema::kind::lowering::Hints;
use schema::pg::introspect::{Managed, introspect, introspect_live};
use schema::pg::{Scratch, ScratchOptions, Waits, find};
use schema::plan::{Facts, Input, Policy, plan, planner};
use schema::source::cache::Cache;

type Failure = Box<dyn std::error::Error>;

/// No more than this share of what `pg_dump -s` takes.
const BOUND: f64 = 1.0;
/// What we want to reach.
const AIM: f64 = 0.5;
/// Peak memory at 1,000 tables, in MB.
const MEMORY: f64 = 100.0;
/// The steps for one changed column among 10,000 tables.
const STEPS: Duration = Duration::from_millis(50);
/// Ten times the tables may take this many times as long: linear, and a little for caches that no longer hold it.
const GROWTH: f64 = 13.0;

struct Arguments {
    tables: Vec<usize>,
    runs: usize,
    check: bool,
    steps: bool,
}

impl Arguments {
    fn read() -> Result<Self, Failure> {
        let mut read = Self { tables: Vec::new(), runs: 5, check: false, steps: false };
        let mut given = std::env::args().skip(1);
        while let Some(name) = given.next() {
            let mut number = || given.next().and_then(|text| text.parse().ok()).ok_or_else(|| format!("{name} needs a number"));
            match name.as_str() {
                "--tables" => read.tables.push(number()?),
                "--runs" => read.runs = number()?.max(1),
                "--check" => read.check = true,
                "--steps" => read.steps = true,
                // Cargo's own.
                "--bench" => {}
                _ => return Err(format!("unknown argument {name}").into()),
            }
        }
        if read.tables.is_empty() {
            read.tables = vec![1_000, 10_000];
        }
        Ok(read)
    }
}

/// The times of one thing.
#[derive(Default)]
struct Times(Vec<Duration>);

impl Times {
    fn add<T>(&mut self, run: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
        let begun = Instant::now();
        let result = run()?;
        self.0.push(begun.elapsed());
        Ok(result)
    }

    fn least(&self) -> Duration {
        self.0.iter().copied().min().unwrap_or_default()
    }

    fn median(&self) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied().unwrap_or_default()
    }
}

/// What was measured at one size.
#[derive(Default)]
struct Figures {
    tables: usize,
    dump: Times,
    warm: Times,
    cold: Times,
    introspection: Times,
    reading_warm: Times,
    reading_cold: Times,
    steps: Times,
    steps_of_type: Times,
    steps_of_many: Times,
    steps_of_renames: Times,
    whole_plan: Times,
    megabytes: f64,
}

impl Figures {
    fn ratio(&self, times: &Times) -> f64 {
        times.median().as_secs_f64() / self.dump.median().as_secs_f64()
    }

    fn table(&self) -> String {
        let mut out = format!("\n{} tables{:>33} {:>10} {:>10}\n", self.tables, "least", "median", "/ pg_dump");
        for (what, times) in [
            ("pg_dump -s", &self.dump),
            ("schema plan, no change, warm cache", &self.warm),
            ("schema plan, no change, cold cache", &self.cold),
            ("  introspection alone", &self.introspection),
            ("  reading the files alone, warm", &self.reading_warm),
            ("  reading the files alone, cold", &self.reading_cold),
            ("steps for one column: NOT NULL", &self.steps),
            ("steps for one column: another type", &self.steps_of_type),
            ("  with the fingerprints of both states", &self.whole_plan),
            ("steps for all of a tenth of the tables", &self.steps_of_many),
            ("steps for twenty renamed tables", &self.steps_of_renames),
        ] {
            let _ = writeln!(
                out,
                "{what:<40} {:>7} ms {:>7} ms {:>10.2}",
                milliseconds(times.least()),
                milliseconds(times.median()),
                self.ratio(times)
            );
        }
        let _ = writeln!(out, "{:<40} {:>7.0} MB", "peak memory of schema plan, warm", self.megabytes);
        out
    }
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1e3)
}

fn main() -> ExitCode {
    let run = || -> Result<bool, Failure> {
        let arguments = Arguments::read()?;
        let runtime = tokio::runtime::Runtime::new()?;
        let installation = find(None)?;
        let scratch = runtime.block_on(Scratch::start(
            &installation,
            ScratchOptions { settings: vec![("max_locks_per_transaction".into(), "1024".into())], ..ScratchOptions::default() },
        ))?;
        let mut all = Vec::new();
        for tables in &arguments.tables {
            let figures = measure(&runtime, &scratch, *tables, &arguments)?;
            say(&figures.table())?;
            all.push(figures);
        }
        runtime.block_on(scratch.stop())?;
        Ok(arguments.steps || judge(&all)? || !arguments.check)
    };
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

fn say(text: &str) -> Result<(), Failure> {
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

/// Everything at one size.
fn measure(runtime: &tokio::runtime::Runtime, scratch: &Scratch, tables: usize, arguments: &Arguments) -> Result<Figures, Failure> {
    let database = format!("bench_{tables}");
    runtime.block_on(generate(scratch, &database, tables))?;
    let mut figures = Figures { tables, ..Figures::default() };
    if !arguments.steps {
        programs(runtime, scratch, arguments.runs, &mut figures)?;
    }
    let live = runtime.block_on(async {
        let session = scratch.connect(&database).await?;
        let mut live = introspect(&session, Managed::default()).await?;
        live.read_dependencies(&session).await?;
        Ok::<_, Failure>(live.catalog)
    })?;
    plans(&live, arguments.runs, &mut figures)?;
    Ok(figures)
}

/// Whole programs, and their parts, in turns.
fn programs(runtime: &tokio::runtime::Runtime, scratch: &Scratch, runs: usize, figures: &mut Figures) -> Result<(), Failure> {
    let database = format!("bench_{}", figures.tables);
    let folder = tempfile::tempdir()?;
    let project = Project { folder: folder.path().to_owned(), socket: scratch.socket_dir().to_owned(), database: database.clone() };
    project.schema(&["inspect", "--out", "schema"], "cache")?;
    let dump = || {
        let mut command = project.command(&scratch.installation().program("pg_dump"));
        finish(command.arg("-s").stdout(Stdio::null()))
    };
    project.schema(&["plan"], "cache")?;
    for _ in 0..runs {
        figures.dump.add(dump)?;
        figures.warm.add(|| project.schema(&["plan"], "cache"))?;
        project.forget("cold")?;
        figures.cold.add(|| project.schema(&["plan"], "cold"))?;
        figures.introspection.add(|| {
            Ok(runtime
                .block_on(async {
                    introspect_live(&scratch.connect(&database).await?, Managed::default(), &Waits::default()).await.map_err(Failure::from)
                })?
                .catalog
                .objects
                .len())
        })?;
        project.forget("entries")?;
        figures.reading_cold.add(|| project.read("entries"))?;
        figures.reading_warm.add(|| project.read("entries"))?;
    }
    figures.megabytes = project.peak()?;
    Ok(())
}

/// The pure steps for one changed column in the middle.
fn plans(live: &Catalog, runs: usize, figures: &mut Figures) -> Result<(), Failure> {
    let column = Id::new("column", ["public".to_owned(), format!("t{}", figures.tables / 2), "amount".to_owned()]);
    let changed = |change: fn(&mut schema::kind::column::Column)| {
        let mut desired = live.clone();
        if let Some(Object::Column(column)) = desired.objects.get_mut(&column) {
            change(column);
        }
        desired
    };
    let not_null = changed(|column| column.not_null = true);
    let other_type = changed(|column| "numeric(14,2)".clone_into(&mut column.data_type));
    let many = changed_much(live, figures.tables);
    let (hints, facts, policy) = (Hints::default(), Facts::default(), Policy::default());
    for _ in 0..runs {
        let input = Input { live, desired: &not_null, hints: &hints, facts: &facts, policy: &policy };
        let made = figures.steps.add(|| Ok(planner::steps(&input)?))?;
        if made.is_empty() {
            return Err("the changed column gave no steps".into());
        }
        figures.steps_of_type.add(|| Ok(planner::steps(&Input { desired: &other_type, ..input })?))?;
        figures.whole_plan.add(|| Ok(plan(&input)?))?;
    }
    figures.steps_of_many.add(|| Ok(planner::steps(&Input { live, desired: &many, hints: &hints, facts: &facts, policy: &policy })?))?;
    let (renamed, hints) = renamed_tables(live);
    figures
        .steps_of_renames
        .add(|| Ok(planner::steps(&Input { live, desired: &renamed, hints: &hints, facts: &facts, policy: &policy })?))?;
    Ok(())
}

/// Twenty tables under other names.
fn renamed_tables(live: &Catalog) -> (Catalog, Hints) {
    let (mut desired, mut hints) = (live.clone(), Hints::default());
    let middle = live.of::<schema::kind::table::Table>().count() / 2;
    for number in middle..middle + 20 {
        let [old, new] = ["t", "renamed"].map(|name| Id::new("table", ["public".to_owned(), format!("{name}{number}")]));
        desired = schema::plan::rename::renamed(&desired, &old, &new);
        hints.renames.insert(new, old);
    }
    (desired, hints)
}

/// Of every tenth table a column that becomes NOT NULL, one that gets another type, an index with another condition, a
/// check and an index that go.
fn changed_much(live: &Catalog, tables: usize) -> Catalog {
    let mut desired = live.clone();
    let mut gone = std::collections::BTreeSet::new();
    for number in (1..=tables).step_by(10) {
        let of_table = |kind: &str, name: &str| Id::new(kind, ["public".to_owned(), format!("t{number}"), name.to_owned()]);
        let index = |name: &str| Id::new("index", ["public".to_owned(), format!("t{number}_{name}_idx")]);
        if let Some(Object::Column(column)) = desired.objects.get_mut(&of_table("column", "tenant_id")) {
            "numeric".clone_into(&mut column.data_type);
        }
        if let Some(Object::Column(column)) = desired.objects.get_mut(&of_table("column", "owner_id")) {
            column.not_null = true;
        }
        if let Some(Object::Index(index)) = desired.objects.get_mut(&index("open")) {
            index.filter = Some("state = 'new'::text".to_owned());
        }
        gone.extend([index("name"), of_table("check", &format!("t{number}_amount_check"))]);
    }
    desired.objects.retain(|id, _| !gone.contains(id));
    desired.needs.retain(|id, _| !gone.contains(id));
    desired
}

/// Makes the tables, a hundred in each transaction.
async fn generate(scratch: &Scratch, database: &str, tables: usize) -> Result<(), Failure> {
    scratch.create_database(database, &schema::pg::DatabaseOptions::default()).await?;
    let session = scratch.connect(database).await?;
    let each = "
        EXECUTE format('CREATE TABLE t%s (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tenant_id bigint NOT NULL, parent_id bigint, owner_id bigint,
            name text NOT NULL, state text NOT NULL DEFAULT ''new'', amount numeric(12,2) CONSTRAINT t%s_amount_check CHECK (amount >= 0), created_at timestamptz NOT NULL)', i, i);
        EXECUTE format('CREATE INDEX t%s_tenant_id_idx ON t%s (tenant_id)', i, i);
        EXECUTE format('CREATE INDEX t%s_tenant_created_idx ON t%s (tenant_id, created_at DESC)', i, i);
        EXECUTE format('CREATE INDEX t%s_open_idx ON t%s (created_at) WHERE state = ''open''', i, i);
        EXECUTE format('CREATE INDEX t%s_name_idx ON t%s (lower(name))', i, i);
        EXECUTE format('ALTER TABLE t%s ADD CONSTRAINT t%s_parent_fkey FOREIGN KEY (parent_id) REFERENCES t%s, ADD CONSTRAINT t%s_owner_fkey FOREIGN KEY (owner_id) REFERENCES t%s',
            i, i, greatest(1, i / 2), i, greatest(1, i - 1));";
    for first in (1..=tables).step_by(100) {
        let last = tables.min(first + 99);
        session.client().batch_execute(&format!("DO $$ BEGIN FOR i IN {first}..{last} LOOP {each} END LOOP; END $$")).await?;
    }
    session.client().batch_execute("VACUUM ANALYZE").await?;
    Ok(())
}

/// A folder with a project in it.
struct Project {
    folder: PathBuf,
    socket: PathBuf,
    database: String,
}

impl Project {
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.folder).env("PGHOST", &self.socket).env("PGUSER", "postgres").env("PGDATABASE", &self.database);
        command
    }

    fn schema_command(&self, arguments: &[&str], cache: &str) -> Command {
        let mut command = self.command(Path::new(env!("CARGO_BIN_EXE_schema")));
        command
            .args(arguments)
            .env("SCHEMA_CACHE_DIR", self.folder.join(cache))
            .env_remove("DATABASE_URL")
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    fn schema(&self, arguments: &[&str], cache: &str) -> Result<(), Failure> {
        finish(&mut self.schema_command(arguments, cache))
    }

    fn forget(&self, cache: &str) -> Result<(), Failure> {
        let folder = self.folder.join(cache);
        if folder.exists() {
            std::fs::remove_dir_all(folder)?;
        }
        Ok(())
    }

    /// Reads the files in this process; the number of objects.
    fn read(&self, cache: &str) -> Result<usize, Failure> {
        let mut sources = Sources::new();
        load(&self.folder.join("schema"), &mut sources)?;
        let desired = schema::source::read::read_with(sources, Some(&Cache::at(self.folder.join(cache))))?;
        Ok(desired.catalog.objects.len())
    }

    /// The most memory that a plan without changes had, in MB: looked at until it ends.
    fn peak(&self) -> Result<f64, Failure> {
        let mut child = self.schema_command(&["plan"], "cache").spawn()?;
        let mut kilobytes = 0_u32;
        while child.try_wait()?.is_none() {
            let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
            let seen = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
            kilobytes = kilobytes.max(seen.unwrap_or(0));
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(f64::from(kilobytes) / 1024.0)
    }
}

fn load(folder: &Path, sources: &mut Sources) -> Result<(), Failure> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            load(&path, sources)?;
        } else {
            let text = std::fs::read_to_string(&path)?;
            sources.add(path, text);
        }
    }
    Ok(())
}

fn finish(command: &mut Command) -> Result<(), Failure> {
    let status = command.status()?;
    if status.success() { Ok(()) } else { Err(format!("{} ended with {status}", command.get_program().display()).into()) }
}

/// Says which bounds hold; whether all do.
fn judge(all: &[Figures]) -> Result<bool, Failure> {
    let mut good = true;
    let mut verdict = |holds: bool, what: String| {
        good &= holds;
        say(&format!("{} {what}\n", if holds { "PASS" } else { "FAIL" }))
    };
    say("\n")?;
    for figures in all {
        let (warm, cold) = (figures.ratio(&figures.warm), figures.ratio(&figures.cold));
        verdict(
            warm <= BOUND,
            format!(
                "{} tables: a plan without changes takes {warm:.2} × pg_dump -s (bound {BOUND}, aim {AIM}; cold cache {cold:.2})",
                figures.tables
            ),
        )?;
        if figures.tables <= 1_000 && figures.megabytes > 0.0 {
            verdict(figures.megabytes < MEMORY, format!("{} tables: {:.0} MB (bound {MEMORY})", figures.tables, figures.megabytes))?;
        }
        let steps = figures.steps.median().max(figures.steps_of_type.median());
        verdict(
            steps < STEPS,
            format!(
                "{} tables: the steps for one changed column take {} ms (bound {})",
                figures.tables,
                milliseconds(steps),
                milliseconds(STEPS)
            ),
        )?;
    }
    if let [small, .., large] = all
        && large.tables > small.tables
    {
        let factor = large.warm.median().as_secs_f64() / small.warm.median().as_secs_f64();
        let times = f64::from(u32::try_from(large.tables)?) / f64::from(u32::try_from(small.tables)?);
        verdict(factor <= GROWTH / 10.0 * times, format!("{times:.0} times the tables take {factor:.1} times as long"))?;
    }
    Ok(good)
}
