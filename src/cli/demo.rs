//! `schema demo`

use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};

use super::progress::Progress;
use super::{Allowed, Global, Out, planning, time};
use crate::apply::{Options, Outcome};
use crate::config::Config;
use crate::demo::{Clients, Measured, dump, example};
use crate::engine::{EngineError, Scope, Workbench};
use crate::error::{CliError, Code};
use crate::pg::{DatabaseOptions, Installation, Scratch, ScratchOptions, ServerError, Target};
use crate::plan::plan::StageName;
use crate::plan::render::{self, number};
use crate::plan::{Hazard, Plan, Policy, file};
use crate::project::described;
use crate::source::Desired;

/// Arguments of `schema demo`.
#[derive(clap::Args, Debug)]
#[command(
    about = "Show a complete change on a private server",
    long_about = "Starts a private PostgreSQL, loads an example with some hundred thousand rows and\na small load beside it, makes a plan, shows it, and applies it stage by stage.\nNothing else on this machine is touched; the server is gone afterwards.",
    after_help = "Examples:\n  schema demo\n  schema demo --rows 2000000 --keep"
)]
pub struct Args {
    /// Rows in the example's large table
    #[arg(long, value_name = "N", default_value_t = 300_000)]
    pub rows: u64,
    /// Keep the server until Ctrl-C, and print how to reach it
    #[arg(long)]
    pub keep: bool,
}

/// The database of the demo.
const TWIN: &str = "twin";

/// Clients of each release.
const CLIENTS: u32 = 3;

/// How long both releases are at work side by side, and the new one alone at the end.
const SIDE_BY_SIDE: Duration = Duration::from_secs(2);

/// Why the plan may drop the column that was renamed.
const BECAUSE: &str = "nothing reads temp when the old release is gone";

/// Runs the command.
///
/// # Errors
/// Whatever keeps it from its result.
pub async fn run(args: Args, global: &Global, out: &mut Out) -> Result<Code, CliError> {
    global.format(&[super::Format::Text])?;
    let signals = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    let (Ok(mut interrupt), Ok(mut terminate)) = signals else {
        return Err(CliError::message(Code::Error, "cannot listen for signals"));
    };
    // Whatever is dropped on the way stops its server and removes its folder.
    tokio::select! {
        result = show(&args, out) => result,
        _ = interrupt.recv() => Err(gone()),
        _ = terminate.recv() => Err(gone()),
    }
}

fn gone() -> CliError {
    CliError::message(Code::Interrupted, "stopped; the server and its data are gone")
}

/// What the parts of the demo share.
struct Stage<'d> {
    out: &'d Out,
    scratch: Scratch,
    target: Target,
    bench: Workbench,
    scope: Scope,
    begun: Instant,
}

async fn show(args: &Args, out: &Out) -> Result<Code, CliError> {
    let begun = Instant::now();
    let installation = installation(out).await?;
    let options = ScratchOptions { settings: settings(), ..ScratchOptions::default() };
    let scratch = Scratch::start(&installation, options).await.map_err(EngineError::from)?;
    let target = scratch.target(TWIN);
    let mut stage = Stage { out, scratch, target, bench: planning::bench_alone(out), scope: Scope::default(), begun };
    stage.heading("A private server, and an example in it");
    out.notice(&format!(
        "PostgreSQL {}, reached by a socket in {}: no port, no password.",
        version(&installation),
        stage.scratch.socket_dir().display()
    ));
    stage.build(TWIN, example::before().map_err(CliError::from)?).await?;
    let session = stage.scratch.connect(TWIN).await?;
    example::load(&session, args.rows).await?;
    let before = example::sums(&session, false).await?;
    out.notice(&format!("Database {TWIN}: tables models and model_states, {} rows.", number(args.rows)));
    let old = Clients::start(&stage.target, example::OLD, CLIENTS, 1, args.rows).await?;
    out.notice(&format!("{CLIENTS} clients of the old release insert, update and read from now on."));

    stage.heading("The plan: severity_level comes, temp becomes temperature");
    out.notice(&format!("  schema plan --name severity-level --allow drop-column \\\n      --because \"{BECAUSE}\"\n\n"));
    let plan = stage.plan(&session).await?;

    stage.heading("schema apply: up to the switch, beside the old clients");
    stage.apply(&plan, StageName::Switch).await?;

    stage.heading("The new release is deployed");
    let new = Clients::start(&stage.target, example::NEW, CLIENTS, 101, args.rows).await?;
    out.notice(&format!(
        "{CLIENTS} clients of the new release work beside those of the old one, which never heard of severity_level and temperature."
    ));
    tokio::time::sleep(SIDE_BY_SIDE).await;
    let mut felt = old.stop().await;
    out.notice("The old release is gone.");

    stage.heading("schema apply --through contract --confirm old-clients-gone");
    stage.apply(&plan, StageName::Contract).await?;
    tokio::time::sleep(SIDE_BY_SIDE / 2).await;
    felt.add(new.stop().await);

    stage.heading("What came of it");
    let after = example::sums(&session, true).await?;
    let held = Box::pin(stage.verdict(&session, before, after, &felt)).await?;
    session.close().await;
    if args.keep {
        stage.hold().await?;
    }
    let Stage { scratch, .. } = stage;
    scratch.stop().await.map_err(EngineError::from)?;
    if held { Ok(Code::Done) } else { Err(CliError::message(Code::Error, "the demo did not show what it should")) }
}

/// A server like those in use: with room, and with autovacuum.
fn settings() -> Vec<(String, String)> {
    let all = [
        ("autovacuum", "on"),
        ("autovacuum_naptime", "5s"),
        ("shared_buffers", "128MB"),
        ("max_wal_size", "2GB"),
        ("synchronous_commit", "on"),
    ];
    all.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
}

async fn installation(out: &Out) -> Result<Installation, CliError> {
    let found: Result<Installation, ServerError> = match crate::pg::find(None) {
        Ok(found) => Ok(found),
        Err(error) => {
            out.notice("No PostgreSQL is installed here: fetching one, once.");
            crate::pg::download(None, &|_| {}).await.map_err(|_| error)
        }
    };
    Ok(found.map_err(EngineError::from)?)
}

fn version(installation: &Installation) -> &str {
    installation.version.split(' ').next().unwrap_or_default()
}

impl Stage<'_> {
    fn heading(&self, text: &str) {
        let line = format!("\n== {text} ");
        self.out.notice(&format!("{line:=<80}"));
    }

    /// A database in a state, made in one go.
    async fn build(&mut self, name: &str, state: Desired) -> Result<(), CliError> {
        self.scratch.create_database(name, &DatabaseOptions::default()).await.map_err(EngineError::from)?;
        let session = self.scratch.connect(name).await?;
        let policy = Policy { direct: true, ..self.policy() };
        let plan = planning::from_database(&session, state, &self.scope, policy, false, &mut self.bench).await?.plan;
        let target = self.scratch.target(name);
        crate::apply::apply(session, &target, &plan, "", "", &Options::direct(), &mut |_| {}).await?;
        Ok(())
    }

    fn policy(&self) -> Policy {
        let config = Config::defaults(self.scratch.socket_dir());
        Policy { small_table_rows: config.small_table_rows, direct: false, quarantine: None }
    }

    /// The plan as `schema plan` makes and shows it.
    async fn plan(&mut self, session: &crate::pg::Session) -> Result<Plan, CliError> {
        let desired = example::after().map_err(CliError::from)?;
        let mut plan = planning::from_database(session, desired, &self.scope, self.policy(), true, &mut self.bench).await?.plan;
        "0001-severity-level".clone_into(&mut plan.name);
        super::allow(&mut plan, &[Allowed::One(Hazard::DropColumn)], Some(BECAUSE));
        let policy = Config::defaults(self.scratch.socket_dir()).policy;
        let context = render::Context { target: Some(described(session)), policy, rehearsal: None };
        self.out.result(&render::text(&plan, &context, &self.out.style()))?;
        Ok(plan)
    }

    async fn apply(&self, plan: &Plan, through: StageName) -> Result<(), CliError> {
        let session = self.scratch.connect(TWIN).await?;
        let options = Options {
            through,
            confirm_old_clients_gone: through == StageName::Contract,
            // A client that wants a row of a batch waits for the end of the batch.
            batch_target: Duration::from_millis(100),
            batch_rows: 2000,
            who: "schema demo".to_owned(),
            ..Options::default()
        };
        let (text, hash) = (file::write(plan), file::hash(plan).to_string());
        let mut progress = Progress::new(self.out);
        let result = crate::apply::apply(session, &self.target, plan, &text, &hash, &options, &mut |event| progress.event(event)).await;
        progress.finish();
        match result? {
            Outcome::Interrupted { reason, .. } => Err(CliError::message(Code::Interrupted, reason)),
            Outcome::Done | Outcome::Waiting { .. } => Ok(()),
        }
    }

    /// Checks everything that was promised, and prints it. Whether all of it held.
    async fn verdict(
        &mut self,
        session: &crate::pg::Session,
        before: example::Sums,
        after: example::Sums,
        felt: &Measured,
    ) -> Result<bool, CliError> {
        let desired = || example::after().map_err(CliError::from);
        let left = planning::from_database(session, desired()?, &self.scope, self.policy(), false, &mut self.bench).await?.plan;
        self.build("afresh", desired()?).await?;
        let dumps = (dump::structure(&self.scratch, TWIN), dump::structure(&self.scratch, "afresh"));
        let (dumps_equal, dumps_text) = match dumps {
            (Ok(twin), Ok(afresh)) if dump::comparable(&twin) == dump::comparable(&afresh) => {
                (true, "pg_dump of it = pg_dump of the desired state built afresh, but for the order of columns".to_owned())
            }
            (Ok(_), Ok(_)) => (false, "pg_dump of it differs from pg_dump of the desired state built afresh".to_owned()),
            (Err(error), _) | (_, Err(error)) => (false, format!("pg_dump: {error}")),
        };
        self.bench.stop().await;
        let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let shown = |n: i64| number(n.unsigned_abs());
        let checks = [
            (
                after.first_rows == before.rows && after.rows == before.rows + signed(felt.inserted),
                format!("rows: {} before, {} inserted by clients, {} now", shown(before.rows), number(felt.inserted), shown(after.rows)),
            ),
            (
                after.first_temperatures == before.first_temperatures + signed(felt.updated),
                format!(
                    "updates: {} by clients under both names, {} found in the data",
                    number(felt.updated),
                    shown(after.first_temperatures - before.first_temperatures)
                ),
            ),
            (after.wrong == 0, format!("severity_level: wrong in {} rows", shown(after.wrong))),
            (felt.failed == 0, format!("client statements: {}, {} failed", number(felt.latencies.len() as u64), number(felt.failed))),
            (
                felt.longest() < Duration::from_secs(2),
                format!(
                    "longest client stall: {} ms; 99.9 % took less than {} ms",
                    felt.longest().as_millis(),
                    felt.permille(999).as_millis() + 1
                ),
            ),
            (left.is_empty(), "live schema = desired schema".to_owned()),
            (dumps_equal, dumps_text),
        ];
        let mut text = String::new();
        for (held, line) in &checks {
            text.push_str(if *held { "  ok    " } else { "  WRONG " });
            text.push_str(&render::wrap(line, 72).join("\n        "));
            text.push('\n');
        }
        for failure in &felt.failures {
            text.push_str("        ");
            text.push_str(failure);
            text.push('\n');
        }
        self.out.result(&text)?;
        self.out.notice(&format!("\nAll of it took {}.", time::span(self.begun.elapsed())));
        Ok(checks.iter().all(|(held, _)| *held))
    }

    /// Leaves the server until somebody ends us.
    async fn hold(&self) -> Result<(), CliError> {
        self.out.tell(&format!(
            "\nThe server runs until you press Ctrl-C. In another terminal:\n\n  {}\n  export DATABASE_URL='postgres://postgres@/{TWIN}?host={}'",
            self.scratch.command_env_line(TWIN),
            self.scratch.socket_dir().display()
        ));
        std::future::pending().await
    }
}
