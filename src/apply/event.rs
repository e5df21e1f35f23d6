//! What a run tells while it goes on, what it is asked to do, and how it ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::pace::Pace;
use crate::pg::blockers::Blocker;
use crate::plan::plan::{Gate, StageName};

/// What happens during a run, in order. This room prints nothing; the caller renders these.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// Something a person should know, in one sentence.
    Notice(String),
    /// The first step of a stage that is not yet done comes next.
    StageStarted {
        /// Which stage.
        stage: StageName,
        /// How many of its steps are still to be done.
        steps: usize,
    },
    /// Rows that would make a later step fail are looked for.
    PreflightLook {
        /// What is wrong with such rows.
        what: String,
        /// Which look it is, from 1.
        number: usize,
        /// How many there are now.
        of: usize,
    },
    /// The looks that could be made now are made.
    PreflightDone {
        /// How many could be made.
        looks: usize,
        /// How many of them found rows.
        found: usize,
        /// How long they took.
        elapsed: Duration,
    },
    /// A step begins.
    StepStarted {
        /// Its stage.
        stage: StageName,
        /// Its number in the plan.
        number: u32,
        /// What it does.
        title: String,
        /// 1 unless an earlier run tried it already.
        attempt: i32,
    },
    /// A step was done by an earlier run.
    StepSkipped {
        /// Its number in the plan.
        number: u32,
        /// What it does.
        title: String,
    },
    /// A step waits for a lock, or will try again to get it.
    LockWait {
        /// The step's number.
        number: u32,
        /// How many tries failed so far; 0 while a statement outside a transaction waits.
        failed: u32,
        /// Who holds what the step waits for; empty where it could not be seen.
        blockers: Vec<Blocker>,
        /// When it tries again; `None` while it goes on waiting.
        next_try: Option<Duration>,
    },
    /// A batch was committed.
    BackfillProgress {
        /// The step's number.
        number: u32,
        /// Rows looked at so far, over all runs and passes.
        rows_seen: u64,
        /// Rows changed so far, over all runs and passes.
        rows_done: u64,
        /// Rows of the table as the server estimates them.
        rows_total: Option<u64>,
        /// Rows looked at per second in this run, pauses included.
        rate: f64,
        /// Remaining time of this pass at that rate.
        eta: Option<Duration>,
    },
    /// A backfill waits: paused from outside, or a signal is bad.
    BackfillHeld {
        /// The step's number.
        number: u32,
        /// Why, and what ends it.
        reason: String,
    },
    /// The connection was lost, or could not be made again yet. What is committed stays.
    ConnectionLost {
        /// What was being done.
        doing: String,
        /// Why it ended, or why there is none yet.
        cause: String,
        /// When it is tried again.
        next_try: Duration,
    },
    /// There is a connection again: the run goes on from the ledger.
    Reconnected {
        /// How long there was none.
        after: Duration,
    },
    /// A step is done and recorded.
    StepDone {
        /// The step's number.
        number: u32,
        /// What it did.
        title: String,
        /// Time from its start in this run.
        elapsed: Duration,
        /// Of that, time spent on waiting for locks.
        waited: Duration,
    },
    /// Every step of a stage is done.
    StageDone {
        /// Which stage.
        stage: StageName,
    },
}

/// What a run may do, and how patiently.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches")]
pub struct Options {
    /// The last stage to run. Default: switch.
    pub through: StageName,
    /// Says that no client of the old release is left: the contract stage may be entered.
    pub confirm_old_clients_gone: bool,
    /// What must be seen before contract, besides the plan's own gate.
    pub gates: Vec<Gate>,
    /// Ends cleanly as [`Outcome::Interrupted`] when this much time has passed.
    pub max_time: Option<Duration>,
    /// Set from outside (a signal handler) to end cleanly after the running statement or batch.
    pub stop: Arc<AtomicBool>,
    /// `lock_timeout` of the first try of a locking step. Default 200 ms.
    pub lock_timeout: Duration,
    /// How long a locking step is tried again, and a lost connection. Default 15 minutes.
    pub retry_for: Duration,
    /// `statement_timeout` of a statement outside a transaction, which has no lock timeout. Default 24 hours.
    pub outside_deadline: Duration,
    /// How long to wait for the session of a killed applier to end. Default 60 s.
    pub orphan_wait: Duration,
    /// The time that a batch of a backfill should take. Default 500 ms.
    pub batch_target: Duration,
    /// Rows of the first batch. Default 500.
    pub batch_rows: u32,
    /// What makes a backfill hold, and how long it pauses.
    pub pace: Pace,
    /// Look for rows that would make a later step fail before the first step of a stage. Default true.
    pub preflight: bool,
    /// Who runs it, for the ledger and for whoever finds the lock taken.
    pub who: String,
    /// Keep a ledger in the database. False for direct mode: the lock is taken, nothing is recorded.
    pub ledger: bool,
    /// Run again a plan that was rolled back.
    pub again: bool,
    /// The command that goes on with this plan, told when something stops: `schema apply`.
    pub command: String,
    /// What other commands need to find the same database: ` --env NAME`, or nothing.
    pub env: String,
    /// The epoch of the ledger when the database was looked at: nobody may have been at work since. `None`: whoever was
    /// is no matter, the ledger says where the plan stands.
    pub seen_epoch: Option<i64>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            through: StageName::Switch,
            confirm_old_clients_gone: false,
            gates: Vec::new(),
            max_time: None,
            stop: Arc::new(AtomicBool::new(false)),
            lock_timeout: Duration::from_millis(200),
            retry_for: Duration::from_mins(15),
            outside_deadline: Duration::from_hours(24),
            orphan_wait: Duration::from_mins(1),
            batch_target: Duration::from_millis(500),
            batch_rows: 500,
            pace: Pace::default(),
            preflight: true,
            who: String::new(),
            ledger: true,
            again: false,
            command: "schema apply".to_owned(),
            env: String::new(),
            seen_epoch: None,
        }
    }
}

impl Options {
    /// For direct mode: every stage at once, no ledger.
    #[must_use]
    pub fn direct() -> Self {
        Self {
            through: StageName::Contract,
            confirm_old_clients_gone: true,
            ledger: false,
            command: "schema apply --direct".to_owned(),
            ..Self::default()
        }
    }

    pub(super) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// How a run ended that did not fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every step of the plan is done.
    Done,
    /// Everything that may run now is done.
    Waiting {
        /// The next stage.
        stage: StageName,
        /// What must happen before it.
        reason: WaitingFor,
    },
    /// Stopped by a signal, by `max_time` or from another terminal; all that is committed stays.
    Interrupted {
        /// The stage that was under way.
        stage: StageName,
        /// The step that comes next or goes on.
        step: u32,
        /// Why.
        reason: String,
        /// The command that goes on.
        command: String,
    },
}

/// What a waiting plan waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaitingFor {
    /// The caller asked to go no further.
    Through,
    /// The stage may begin only when no client of the old release is left, and nobody said so.
    OldClientsGone,
    /// The gate before contract is not met: what it waits for.
    Gate(Vec<String>),
}

impl Outcome {
    /// The exit code of the program: 0, or 5 when it was interrupted.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Done | Self::Waiting { .. } => 0,
            Self::Interrupted { .. } => 5,
        }
    }
}
