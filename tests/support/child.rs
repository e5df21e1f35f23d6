//! Appliers in processes of their own, to be killed or suspended.

use std::io::Read as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use schema::apply::rollback::rollback;
use schema::apply::{Options, Outcome};
use schema::pg::{Session, Target, connect};
use schema::plan::plan::{Plan, Work};

use super::live::{Live, Result, failed, options, run};

/// Where a child connects, and the plan that it applies.
const TARGET: &str = "SCHEMA_CASE_TARGET";
const PLAN: &str = "SCHEMA_CASE_PLAN";
/// Which [`Way`] it goes; unset: through contract.
const WAY: &str = "SCHEMA_CASE_WAY";
/// With which seed the random moments are drawn.
pub const SEED: &str = "SCHEMA_CASE_SEED";

/// How long a child may take to where it is waited for.
pub const LIMIT: Duration = Duration::from_mins(1);

/// What a child does with the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Applies it through contract.
    Through,
    /// The same, once more if it was rolled back.
    Forward,
    /// Rolls it back.
    Back,
}

impl Way {
    const ALL: [Self; 3] = [Self::Through, Self::Forward, Self::Back];

    fn name(self) -> String {
        format!("{self:?}")
    }

    fn chosen() -> Self {
        let word = std::env::var(WAY).unwrap_or_default();
        Self::ALL.into_iter().find(|way| way.name() == word).unwrap_or(Self::Through)
    }
}

/// Whether this process is one.
pub fn is_child() -> bool {
    std::env::var_os(TARGET).is_some()
}

/// What the process does that is to be killed.
pub fn child() {
    let target = Target::parse(&std::env::var(TARGET).expect("is set")).expect("parses");
    let plan: Plan = serde_json::from_str(&std::env::var(PLAN).expect("is set")).expect("parses");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let way = Way::chosen();
    let outcome = runtime.block_on(async {
        match way {
            Way::Through => run(&target, &plan, &options(), &mut |_| {}).await,
            Way::Forward => run(&target, &plan, &Options { again: true, ..options() }, &mut |_| {}).await,
            Way::Back => {
                let session = connect(&target).await.expect("connects");
                rollback(session, &target, &plan, None, &options(), &mut |_| {}).await
            }
        }
    });
    match outcome {
        Ok(outcome) => assert_eq!(outcome, Outcome::Done),
        Err(error) => panic!("{error}"),
    }
}

/// Starts one on a database of the case, with the points where it kills itself (or suspends itself).
pub fn spawn(live: &Live, name: &str, points: &str, how: &str) -> Result<Child> {
    spawn_on(Way::Through, live, name, points, how)
}

/// As [`spawn`], on a certain way.
pub fn spawn_on(way: Way, live: &Live, name: &str, points: &str, how: &str) -> Result<Child> {
    let mut command = Command::new(std::env::current_exe().map_err(failed("own path"))?);
    command
        .env(TARGET, live.address(name))
        .env(PLAN, serde_json::to_string(&live.plan).map_err(failed("plan"))?)
        .env(WAY, way.name())
        .env("SCHEMA_CRASH_AT", points)
        .env("SCHEMA_CRASH_HOW", how)
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command.spawn().map_err(failed("child"))
}

/// What a child has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    /// It suspended itself.
    Stopped,
    /// It ended, with success or not.
    Ended(bool),
}

/// What a child has come to since this was asked last; nothing while it works.
pub fn came(child: &Child) -> Result<Option<Came>> {
    let status = waitpid(Some(pid(child)), WaitOptions::UNTRACED | WaitOptions::NOHANG).map_err(failed("wait"))?;
    Ok(status.map(|(_, status)| if status.stopped() { Came::Stopped } else { Came::Ended(status.exit_status() == Some(0)) }))
}

/// Waits until a child suspends itself or ends.
pub async fn stopped(child: &Child) -> Result<Came> {
    let begun = Instant::now();
    while begun.elapsed() < LIMIT {
        match came(child)? {
            Some(came) => return Ok(came),
            None => tokio::time::sleep(Duration::from_millis(2)).await,
        }
    }
    let _ = kill_process(pid(child), Signal::KILL);
    Err("the child neither stops nor ends".into())
}

/// Lets a suspended child go on.
pub fn resume(child: &Child) -> Result<()> {
    kill_process(pid(child), Signal::CONT).map_err(failed("go on"))
}

fn pid(child: &Child) -> Pid {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a process has a number")
}

/// Polls until a query gives what is expected; the child must not end before.
pub async fn until(watcher: &Session, sql: &str, expected: &str, child: &mut Child) -> Result<()> {
    let begun = Instant::now();
    loop {
        let found: String = watcher.client().query_one(sql, &[]).await.map_err(failed(sql))?.get(0);
        if found == expected {
            return Ok(());
        }
        // One that killed itself may have come by what is looked for, which the next reading shows.
        let ended = child.try_wait().map_err(failed("child"))?.filter(|status| status.code().is_some());
        if ended.is_some() || begun.elapsed() > LIMIT {
            return Err(format!("never {expected} (the child ended: {ended:?}): {sql}").into());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Every boundary of a plan's steps, what is between, and batches.
pub fn points(plan: &Plan) -> Vec<String> {
    let mut points = vec!["step:1:before".to_owned()];
    let mut fills = false;
    for (_, step) in plan.steps() {
        points.extend(["middle", "after"].map(|moment| format!("step:{}:{moment}", step.number)));
        fills |= matches!(step.work, Work::Backfill(_));
    }
    if fills {
        // Counted over all backfills of the process.
        points.extend(["batch:1:before", "batch:2:after", "batch:4:before", "batch:5:after"].map(str::to_owned));
    }
    points
}

/// What a child said that gave up.
pub fn complaint(child: &mut std::process::Child, cut: usize, random: &Random) -> libtest_mimic::Failed {
    let mut text = String::new();
    if let Some(stderr) = &mut child.stderr {
        let _ = stderr.read_to_string(&mut text);
    }
    format!("the applier gave up after {cut} losses ({SEED}={}): {text}", random.seed).into()
}

/// Moments to be killed at: splitmix64, from the clock or from [`SEED`].
pub struct Random {
    pub seed: u64,
    state: u64,
}

impl Random {
    pub fn seeded() -> Self {
        let given = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok());
        let clock = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::from(since.subsec_nanos()));
        let seed = given.unwrap_or_else(clock);
        Self { seed, state: seed }
    }

    pub fn below(&mut self, limit: Duration) -> Duration {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.state;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^= x >> 31;
        Duration::from_micros(x % u64::try_from(limit.as_micros()).unwrap_or(u64::MAX))
    }
}
