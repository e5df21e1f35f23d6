//! What is between a step's beginning and its end crashes: the applier, a process of its server, the whole server.

use std::process::Child;
use std::time::{Duration, Instant};

use schema::pg::{Session, connect};
use schema::plan::plan::{Step, Work};

use super::child::{Came, LIMIT, Random, Way, came, complaint, points, resume, spawn_on, stopped};
use super::live::{Live, Result, failed};

/// The database that it happens in.
pub const NAME: &str = "crashed";

/// Boundaries that one process may come by.
const MANY: usize = 60;

/// How long what is killed at random has worked, at most.
const LONGEST: Duration = Duration::from_millis(80);

/// What is killed with SIGKILL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The applier.
    Apply,
    /// A process of its server: the server ends all others and recovers.
    Backend,
    /// The server, all its processes.
    Server,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Apply, Self::Backend, Self::Server];

    /// Kills what this is, of a child that is suspended or at work; the server is there again afterwards. `turn` says
    /// which of the child's two sessions is meant.
    async fn strike(self, live: &mut Live, child: &mut Child, turn: usize) -> Result<()> {
        match self {
            Self::Apply => end(child),
            Self::Server => live.crash().await,
            Self::Backend => {
                let watcher = connect(&live.target(NAME)).await.map_err(failed("connect"))?;
                let own = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'schema' \
                           AND pid <> pg_backend_pid() ORDER BY backend_start";
                let pids = watcher.client().query(own, &[]).await.map_err(failed(own))?;
                match pids.get(turn % pids.len().max(1)) {
                    Some(row) => live.kill_backend(row.get(0), watcher).await,
                    // It has none yet, or no more.
                    None => Ok(()),
                }
            }
        }
    }
}

/// Kills a child, unless it has ended.
fn end(child: &mut Child) -> Result<()> {
    // Who was waited for is known no more.
    if matches!(came(child), Err(_) | Ok(Some(Came::Ended(_)))) {
        return Ok(());
    }
    child.kill().map_err(failed("kill"))?;
    child.wait().map_err(failed("kill")).map(drop)
}

/// One run that loses its server at every boundary, and at random behind some, and goes on by itself to the end; by the
/// two kinds in turn, beginning with this one.
pub async fn goes_on(live: &mut Live, way: Way, first: Kind, random: &mut Random) -> Result<()> {
    let kinds = if first == Kind::Backend { [Kind::Server, Kind::Backend] } else { [Kind::Backend, Kind::Server] };
    let mut all = points(&live.plan);
    if way == Way::Back {
        all.extend(live.plan.steps().map(|(_, step)| format!("step:{}:before", step.number)));
        all.extend((1..MANY).map(|count| format!("record:{count}:after")));
    }
    let mut child = spawn_on(way, live, NAME, &all.join(","), "stop")?;
    let mut struck = 0;
    loop {
        match stopped(&child).await? {
            Came::Stopped => {}
            Came::Ended(true) => return Ok(()),
            Came::Ended(false) => return Err(complaint(&mut child, struck, random)),
        }
        struck += 1;
        let kind = kinds[struck % 2];
        if struck % 4 == 0 {
            resume(&child)?;
            tokio::time::sleep(random.below(LONGEST)).await;
            kind.strike(live, &mut child, struck).await?;
        } else {
            kind.strike(live, &mut child, struck).await?;
            resume(&child)?;
        }
    }
}

/// Where a run ends.
#[derive(Clone, Debug)]
pub enum Place {
    /// At the first of these points (`SCHEMA_CRASH_AT`).
    Point(String),
    /// Inside a step that waits for somebody's transaction; for the first, or for one that came after that.
    Waiting(Box<Step>, bool),
    /// Inside a step, at random.
    Within(u32),
}

/// Every place of a step where its run may end.
pub fn places(step: &Step) -> Vec<Place> {
    let (number, point) = (step.number, |point: String| Place::Point(point));
    let after = format!("step:{number}:after");
    let mut found = vec![];
    if matches!(step.work, Work::Backfill(_)) {
        found.extend(["batch:1:before", "batch:2:after"].map(|batch| point(format!("{batch},{after}"))));
        found.push(Place::Within(number));
    } else if step.transaction == schema::plan::Transaction::Outside {
        found.extend([false, true].map(|second| Place::Waiting(Box::new(step.clone()), second)));
        found.push(point("statement:1:after".to_owned()));
        found.push(Place::Within(number));
    }
    found.push(point(format!("step:{number}:middle")));
    found.push(point(after));
    found
}

/// A run forward that ends at a place, by its own end, its session's or its server's.
pub async fn interrupted(live: &mut Live, place: &Place, kind: Kind, turn: usize, random: &mut Random) -> Result<()> {
    match place {
        Place::Point(points) => {
            let mut child = spawn_on(Way::Forward, live, NAME, points, "stop")?;
            if stopped(&child).await? != Came::Stopped {
                return Err(complaint(&mut child, 0, random));
            }
            kind.strike(live, &mut child, turn).await?;
            end(&mut child)
        }
        Place::Waiting(step, second) => {
            let mut child = spawn_on(Way::Forward, live, NAME, &format!("step:{}:before", step.number), "stop")?;
            if stopped(&child).await? != Came::Stopped {
                return Err(complaint(&mut child, 0, random));
            }
            let locks: Vec<&str> = step.locks.iter().map(|lock| lock.relation.as_str()).collect();
            struck_while_waiting(live, &mut child, &locks, *second, kind, turn).await?;
            end(&mut child)
        }
        Place::Within(number) => {
            let mut child = spawn_on(Way::Forward, live, NAME, &format!("step:{number}:before,step:{number}:after"), "stop")?;
            if stopped(&child).await? != Came::Stopped {
                return Err(complaint(&mut child, 0, random));
            }
            resume(&child)?;
            tokio::time::sleep(random.below(LONGEST)).await;
            kind.strike(live, &mut child, turn).await?;
            end(&mut child)
        }
    }
}

/// How a rollback is disturbed.
#[derive(Clone, Copy, Debug)]
pub enum Disturbed {
    /// Not at all.
    Not,
    /// Killed behind each record, in as many processes.
    BehindEach,
    /// Killed with each part done and not recorded.
    BeforeEach,
    /// Its server is lost at every boundary, and it goes on by itself.
    GoesOn(Kind),
    /// Lost in each statement outside transactions that waits for somebody's transaction.
    Waiting(Kind, bool),
    /// Lost at random, a few times.
    AtRandom(Kind),
}

/// Rolls back, to the end.
pub async fn rolled_back(live: &mut Live, how: Disturbed, random: &mut Random) -> Result<()> {
    match how {
        Disturbed::Not => {}
        Disturbed::BehindEach => over_and_over(live, |_| "record:1:after".to_owned(), random).await?,
        Disturbed::BeforeEach => {
            over_and_over(live, |round| if round == 0 { "record:1:before" } else { "record:2:before" }.to_owned(), random).await?;
        }
        Disturbed::GoesOn(kind) => return goes_on(live, Way::Back, kind, random).await,
        Disturbed::Waiting(kind, second) => while_waiting(live, kind, second, random).await?,
        Disturbed::AtRandom(kind) => {
            for turn in 0..3 {
                let mut child = spawn_on(Way::Back, live, NAME, "", "stop")?;
                // Long enough to have begun.
                tokio::time::sleep(Duration::from_millis(20) + random.below(LONGEST)).await;
                if came(&child)?.is_none() {
                    kind.strike(live, &mut child, turn).await?;
                    end(&mut child)?;
                }
            }
        }
    }
    let mut child = spawn_on(Way::Back, live, NAME, "", "stop")?;
    match stopped(&child).await? {
        Came::Ended(true) => Ok(()),
        _ => Err(complaint(&mut child, 0, random)),
    }
}

/// Another process each time, until one comes to the end.
async fn over_and_over(live: &Live, point: impl Fn(usize) -> String, random: &Random) -> Result<()> {
    for round in 0..MANY {
        let mut child = spawn_on(Way::Back, live, NAME, &point(round), "stop")?;
        match stopped(&child).await? {
            Came::Stopped => end(&mut child)?,
            Came::Ended(true) => return Ok(()),
            Came::Ended(false) => return Err(complaint(&mut child, round, random)),
        }
    }
    Err(format!("it does not come to its end in {MANY} processes").into())
}

/// In process after process one statement further, or two.
async fn while_waiting(live: &mut Live, kind: Kind, second: bool, random: &Random) -> Result<()> {
    for round in 1..MANY {
        // What was cut off may begin again before the one that was in work: later ones are aimed at, in the end.
        let count = 1 + round.div_ceil(3).min(round - 1);
        let mut child = spawn_on(Way::Back, live, NAME, &format!("statement:{count}:before,statement:{}:before", count + 1), "stop")?;
        match stopped(&child).await? {
            Came::Stopped => {}
            Came::Ended(true) => return Ok(()),
            Came::Ended(false) => return Err(complaint(&mut child, round, random)),
        }
        let watcher = connect(&live.target(NAME)).await.map_err(failed("connect"))?;
        let all = "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p') \
                   AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname NOT IN ('information_schema', 'schema_ledger')";
        let tables: Vec<String> = watcher.client().query(all, &[]).await.map_err(failed("tables"))?.iter().map(|row| row.get(0)).collect();
        watcher.close().await;
        let tables: Vec<&str> = tables.iter().map(String::as_str).collect();
        struck_while_waiting(live, &mut child, &tables, second, kind, round).await?;
        end(&mut child)?;
    }
    Err(format!("it does not come to its end in {MANY} processes").into())
}

/// Lets a suspended child go on into a statement that has to wait for a transaction on these tables, and strikes then: as
/// soon as it waits, or when it has come to wait for a second one. Where it does not wait, where it comes to.
async fn struck_while_waiting(live: &mut Live, child: &mut Child, tables: &[&str], second: bool, kind: Kind, turn: usize) -> Result<()> {
    let watcher = connect(&live.target(NAME)).await.map_err(failed("connect"))?;
    let first = blocker(live, tables).await?;
    resume(child)?;
    let mut blocked = waits_for(&watcher, child, first.backend_pid).await?;
    let mut blockers = vec![first];
    if let (Some(_), true) = (blocked, second) {
        let other = blocker(live, tables).await?;
        let pid = other.backend_pid;
        blockers.insert(0, other);
        blockers.pop().expect("it was there").close().await;
        blocked = waits_for(&watcher, child, pid).await?;
    }
    if let (Some(pid), Kind::Backend) = (blocked, kind) {
        live.kill_backend(pid, watcher).await?;
    } else {
        kind.strike(live, child, turn).await?;
        // The orphan of an applier goes on alone, or not.
        if let (Some(pid), Kind::Apply, true) = (blocked, kind, turn.is_multiple_of(2)) {
            watcher.client().execute("SELECT pg_terminate_backend($1)", &[&pid]).await.map_err(failed("end the orphan"))?;
        }
        watcher.close().await;
    }
    for blocker in blockers {
        blocker.close().await;
    }
    Ok(())
}

async fn blocker(live: &Live, tables: &[&str]) -> Result<Session> {
    let session = connect(&live.target(NAME)).await.map_err(failed("connect"))?;
    let mut sql = "SET application_name = 'blocker'; SET lock_timeout = '20s'; BEGIN".to_owned();
    for table in tables {
        sql += &format!("; LOCK TABLE {table} IN ROW EXCLUSIVE MODE");
    }
    session.client().batch_execute(&sql).await.map_err(failed("lock"))?;
    Ok(session)
}

/// The process that waits for `pid`; nothing where the child stops or ends before one does.
async fn waits_for(watcher: &Session, child: &Child, pid: i32) -> Result<Option<i32>> {
    let sql = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND $1 = ANY (pg_blocking_pids(pid))";
    let begun = Instant::now();
    while begun.elapsed() < LIMIT {
        if let Some(row) = watcher.client().query_opt(sql, &[&pid]).await.map_err(failed(sql))? {
            return Ok(Some(row.get(0)));
        }
        if came(child)?.is_some() {
            return Ok(None);
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    Err("the child neither waits, nor stops, nor ends".into())
}
