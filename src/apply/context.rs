//! What every part of a run has at hand: the two sessions, the plan, the options, the way to tell.

use std::time::{Duration, Instant};

use tokio_postgres::{Client, SimpleQueryMessage};

use super::error::ApplyError;
use super::event::{Event, Options};
use super::halt::Halt;
use super::ledger::Record;
use super::lock;
use super::retry::Jitter;
use crate::pg::blockers::{Blocker, blockers, waiting_behind};
use crate::pg::{Session, Target};
use crate::plan::Plan;
use crate::plan::plan::StageName;

/// How often a sleep looks whether it should end.
const TICK: Duration = Duration::from_millis(100);

/// The least time between two looks at who is in the way.
const SHORTEST_LOOK: Duration = Duration::from_millis(10);

/// How long the request to cancel may take.
const CANCEL: Duration = Duration::from_secs(5);

/// Longer than any statement.
const FOREVER: Duration = Duration::from_hours(24 * 365);

/// The surroundings of one run.
pub(super) struct Context<'a> {
    /// Runs the DDL and holds the applier's lock.
    pub(super) session: Session,
    /// Looks on while `session` waits.
    pub(super) watching: Session,
    /// The process behind `session`.
    pub(super) pid: i32,
    /// Where both are connected to.
    pub(super) target: &'a Target,
    /// The processes of the two sessions that were lost, where they were.
    pub(super) former: Option<[i32; 2]>,
    pub(super) plan: &'a Plan,
    pub(super) options: &'a Options,
    pub(super) events: &'a mut dyn FnMut(Event),
    /// Our number in the ledger; `None` before the lock is taken and where there is no ledger.
    pub(super) epoch: Option<i64>,
    pub(super) begun: Instant,
    pub(super) jitter: Jitter,
    /// Batches committed by this process, over all backfills.
    pub(super) batches: u64,
    /// Steps, and parts of undos, done by this process.
    pub(super) finished: u64,
    /// Whether a step was begun since the connection was made.
    pub(super) in_step: bool,
    /// The stage that was told to have started.
    pub(super) stage: Option<StageName>,
    /// The step that was begun and not told to be done.
    pub(super) under_way: Option<(u32, Instant)>,
    /// What the transactions of this run record.
    pub(super) record: Record,
}

impl<'a> Context<'a> {
    /// The surroundings of a run that begins on `session`, with a second connection to look on.
    pub(super) fn new(
        session: Session,
        watching: Session,
        target: &'a Target,
        plan: &'a Plan,
        options: &'a Options,
        events: &'a mut dyn FnMut(Event),
    ) -> Self {
        Self {
            pid: session.backend_pid,
            session,
            watching,
            target,
            former: None,
            plan,
            options,
            events,
            epoch: None,
            begun: Instant::now(),
            jitter: Jitter::seeded(),
            batches: 0,
            finished: 0,
            in_step: false,
            stage: None,
            under_way: None,
            record: Record::Done,
        }
    }

    /// Goes on with two other sessions. Whoever had our lock meanwhile has raised the epoch: it must be taken anew.
    pub(super) fn replace(&mut self, session: Session, watching: Session) {
        self.former = Some([self.pid, self.watching.backend_pid]);
        self.pid = session.backend_pid;
        self.session = session;
        self.watching = watching;
        self.epoch = None;
    }

    /// The second session holds the sign of life and sees why a backfill should hold: without it there is no going on.
    pub(super) async fn check_watcher(&self, doing: &str) -> Result<(), ApplyError> {
        if !self.watching.is_closed() {
            return Ok(());
        }
        let cause = self.watching.closed().await;
        Err(ApplyError::Lost { doing: doing.to_owned(), cause, command: self.command() })
    }

    pub(super) fn ddl(&self) -> &Client {
        self.session.client()
    }

    pub(super) fn watcher(&self) -> &Client {
        self.watching.client()
    }

    pub(super) fn emit(&mut self, event: Event) {
        (self.events)(event);
    }

    pub(super) fn query_error(&self, doing: &str, error: &tokio_postgres::Error) -> ApplyError {
        ApplyError::query(doing, error, &self.command())
    }

    /// The command that goes on with this plan.
    pub(super) fn command(&self) -> String {
        command(self.options, self.plan)
    }

    /// An interruption, when a signal came or the time is up.
    pub(super) fn check_stop(&self) -> Result<(), Halt> {
        if self.options.stopped() {
            return Err(Halt::Interrupted("it was asked to stop".to_owned()));
        }
        match self.options.max_time {
            Some(limit) if self.begun.elapsed() >= limit => {
                Err(Halt::Interrupted(format!("the time that it was given is over ({} s)", limit.as_secs())))
            }
            _ => Ok(()),
        }
    }

    /// Ends when there is a reason to stop.
    pub(super) async fn stopping(&self) {
        while self.check_stop().is_ok() {
            tokio::time::sleep(TICK).await;
        }
    }

    /// Sleeps, unless an interruption comes.
    pub(super) async fn sleep(&self, duration: Duration) -> Result<(), Halt> {
        let end = Instant::now() + duration;
        loop {
            self.check_stop()?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            tokio::time::sleep(left.min(TICK)).await;
        }
    }

    /// A query whose one value is `ok` while lock and epoch are ours. Within a transaction it also keeps the epoch
    /// from changing until the end: the row is locked FOR SHARE, and a new applier must update it.
    pub(super) fn fence_sql(&self) -> String {
        let held = lock::held_sql();
        match self.epoch {
            None => format!("SELECT CASE WHEN {held} THEN 'ok' ELSE 'its lock is not ours any more' END"),
            Some(epoch) => format!(
                "SELECT CASE WHEN NOT {held} THEN 'its lock is not ours any more' WHEN a.epoch <> {epoch} THEN \
                 'it is at epoch ' || a.epoch || ', we are at {epoch}' ELSE 'ok' END FROM schema_ledger.applier a FOR SHARE OF a"
            ),
        }
    }

    /// Reads the answer to [`Self::fence_sql`].
    pub(super) fn check_fence(answer: &[SimpleQueryMessage]) -> Result<(), ApplyError> {
        match lock::first_value(answer) {
            Some("ok") => Ok(()),
            Some(reason) => Err(ApplyError::Fenced { reason: reason.to_owned() }),
            None => Err(ApplyError::Fenced { reason: "the ledger holds no applier".to_owned() }),
        }
    }

    /// Runs statements on the DDL session; whoever blocks them for longer than `patience` is looked up, told to
    /// `told` each time that it changes, and returned with the time that they waited. When `limit` is over they are
    /// cancelled.
    pub(super) async fn watched(
        &mut self,
        sql: &str,
        patience: Duration,
        limit: Option<Duration>,
        told: impl FnMut(&mut dyn FnMut(Event), &[Blocker]),
    ) -> Watched {
        self.watch(sql, patience, limit, Stop::Finishes, told).await
    }

    /// The same; what is to become of the statement when the run is asked to stop, or its time is over, is said.
    pub(super) async fn watch(
        &mut self,
        sql: &str,
        patience: Duration,
        limit: Option<Duration>,
        when_stopped: Stop,
        mut told: impl FnMut(&mut dyn FnMut(Event), &[Blocker]),
    ) -> Watched {
        let Self { session, watching, events, pid, options, begun: run_begun, .. } = self;
        let is_over = || when_stopped != Stop::Finishes && options.max_time.is_some_and(|limit| run_begun.elapsed() >= limit);
        let statement = session.client().simple_query(sql);
        tokio::pin!(statement);
        let look = look(watching.client(), *pid, patience);
        tokio::pin!(look);
        let deadline = tokio::time::sleep(limit.unwrap_or(FOREVER));
        tokio::pin!(deadline);
        let (mut cancelled, mut asked) = (false, options.stopped() && when_stopped != Stop::Cancels);
        let (begun, mut seen, mut first_seen) = (Instant::now(), Vec::new(), None);
        let mut waiting = Vec::new();
        let result = loop {
            tokio::select! {
                biased;
                result = &mut statement => break result,
                () = until(|| options.stopped() || is_over()), if !asked => {
                    asked = true;
                    events(Event::Notice(format!("asked to stop: {}", when_stopped.words())));
                    if when_stopped == Stop::Cancels {
                        cancelled = true;
                        cancel(session).await;
                    }
                }
                () = &mut deadline, if !cancelled => {
                    cancelled = true;
                    // The statement_timeout of the server is there in case that this does not reach it.
                    cancel(session).await;
                }
                // Beside the statement, not between: its end must not wait for a look, least of all with its locks held.
                (now, behind) = &mut look => {
                    look.set(self::look(watching.client(), *pid, patience));
                    // What waits for others may do so for ever; nothing that it has done yet is worth that.
                    if asked && !cancelled && when_stopped == Stop::GivesWay && !now.is_empty() {
                        cancelled = true;
                        cancel(session).await;
                    }
                    if !now.is_empty() {
                        first_seen.get_or_insert(begun.elapsed());
                        if !same(&now, &seen) {
                            told(&mut **events, &now);
                        }
                        seen = now;
                    }
                    if waiting.is_empty() {
                        waiting = behind;
                    }
                }
            }
        };
        let waited = first_seen.map_or(Duration::ZERO, |first| begun.elapsed().saturating_sub(first) + patience.min(first));
        Watched { result, blockers: seen, waiting, waited }
    }
}

/// What becomes of a running statement when the run is asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// It ends first.
    Finishes,
    /// It is cancelled while it waits for another session, and ends first where it works.
    GivesWay,
    /// It is cancelled: it only reads, or nothing of it stays.
    Cancels,
}

impl Stop {
    const fn words(self) -> &'static str {
        match self {
            Self::Finishes => "the running statement ends first",
            Self::GivesWay => "the running statement ends first, unless it waits for other sessions",
            Self::Cancels => "what is running is cancelled; nothing of it stays",
        }
    }
}

/// After `patience`: who blocks the session with process `pid`, and who waits for it. A watcher that cannot see costs their
/// names, not the step.
async fn look(watcher: &Client, pid: i32, patience: Duration) -> (Vec<Blocker>, Vec<Blocker>) {
    tokio::time::sleep(patience.max(SHORTEST_LOOK)).await;
    let now = blockers(watcher, pid).await.unwrap_or_default();
    (now, waiting_behind(watcher, pid).await.unwrap_or_default())
}

/// Asks the server to stop the session's statement. It goes over a connection of its own, which may get no answer.
async fn cancel(session: &Session) {
    let _ = tokio::time::timeout(CANCEL, session.cancel_handle().cancel()).await;
}

/// What came of a watched statement.
pub(super) struct Watched {
    pub(super) result: Result<Vec<SimpleQueryMessage>, tokio_postgres::Error>,
    /// Who blocked it when last looked; empty when nobody was seen.
    pub(super) blockers: Vec<Blocker>,
    /// Sessions that were seen waiting for it.
    pub(super) waiting: Vec<Blocker>,
    /// About how long it was blocked.
    pub(super) waited: Duration,
}

/// Ends when `is_so`.
async fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        tokio::time::sleep(TICK).await;
    }
}

fn same(a: &[Blocker], b: &[Blocker]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.pid == b.pid && a.query == b.query)
}

/// The command that goes on with `plan` under `options`.
pub(super) fn command(options: &Options, plan: &Plan) -> String {
    let through = match options.through {
        StageName::Contract if options.confirm_old_clients_gone => " --through contract --confirm old-clients-gone",
        StageName::Contract => " --through contract",
        _ => "",
    };
    let complete = plan.name.is_empty() || !options.ledger || options.command.contains(&plan.name);
    if complete { options.command.clone() } else { format!("{} {}{through}", options.command, plan.name) }
}
