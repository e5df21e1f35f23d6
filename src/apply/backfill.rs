//! Backfills: batched updates, each batch one short transaction together with the cursor in the ledger, so that a
//! killed backfill goes on where it was and does no row's work twice or not at all.

use std::time::{Duration, Instant};

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::context::Context;
use super::crash::{Moment, Point, point};
use super::error::Kept;
use super::event::Event;
use super::halt::Halt;
use super::ledger::{self, Progress};
use super::lock::first_value;
use super::pace::Pace;
use super::page::{Page, Paging, TIME_TAKEN, seconds};
use super::retry::Tries;
use super::throttle::Throttle;
use super::transactional::{Cause, Fault, begin, failure, gave_up, record, rollback, verify};
use crate::catalog::id::literal;
use crate::pg::blockers::{Blocker, waiting_behind};
use crate::plan::plan::{Backfill, Step};

/// Passes over the table: rows that still want it after the first were written past the sync trigger, or restored.
const PASSES: i32 = 3;
/// Most rows in a batch.
const MOST_ROWS: i32 = 1_000_000;
/// Rows of the first burst: a careful guess at half a millisecond's work.
const FIRST_BURST: i32 = 50;
/// How often a held backfill looks whether it may go on.
const HOLD: Duration = Duration::from_secs(1);

/// Runs a backfill from where it stands; gives the time that it waited for locks.
pub(super) async fn run(context: &mut Context<'_>, step: &Step, backfill: &Backfill) -> Result<Duration, Halt> {
    let mut progress = ledger::backfill_started(context, step, backfill.rows).await?;
    let paging = match Paging::of(context.ddl(), backfill).await {
        Ok(Ok(paging)) => paging,
        Ok(Err(column)) => {
            let message = format!("{} has no column {column}, which is to be the key of the backfill", backfill.table);
            return Err(failure(context, step, None, message, kept(&progress)));
        }
        Err(error) => return Err(Fault::server("looking up the backfill's key", error).into_halt(context, step, kept(&progress))),
    };
    let mut run = Run {
        step,
        backfill,
        paging,
        throttle: Throttle::default(),
        begun: Instant::now(),
        seen: 0,
        waited: Duration::ZERO,
        waited_for: false,
        burst_rows: FIRST_BURST,
        least: Duration::MAX,
        rested: Duration::ZERO,
    };
    while run.pass(context, &mut progress).await? {}
    if let Err(fault) = verify(context, step).await {
        return Err(fault.into_halt(context, step, kept(&progress)));
    }
    point(Point::Step(step.number, Moment::Middle));
    if let Err(fault) = record(context, step, run.waited).await {
        rollback(context).await;
        return Err(fault.into_halt(context, step, kept(&progress)));
    }
    Ok(run.waited)
}

fn kept(progress: &Progress) -> Kept {
    Kept::Rows(progress.rows_done.unsigned_abs())
}

/// One run of a backfill.
struct Run<'s> {
    step: &'s Step,
    backfill: &'s Backfill,
    paging: Paging,
    throttle: Throttle,
    begun: Instant,
    /// Rows looked at in this run.
    seen: i64,
    waited: Duration,
    /// Whether a session waited behind the last batch.
    waited_for: bool,
    /// Rows of the next burst.
    burst_rows: i32,
    /// The least time of a burst: about what one costs without rows.
    least: Duration,
    /// The pauses within the last batch.
    rested: Duration,
}

impl Run<'_> {
    /// From the cursor to the end of the table; whether another pass must follow.
    async fn pass(&mut self, context: &mut Context<'_>, progress: &mut Progress) -> Result<bool, Halt> {
        while let Some(took) = self.batch(context, progress).await? {
            self.report(context, progress);
            // The disk, the replicas and the clients get their turn; a client that waited, as much of it as we took.
            let share = if std::mem::take(&mut self.waited_for) { context.options.pace.pause.max(1.0) } else { context.options.pace.pause };
            let rested = std::mem::take(&mut self.rested);
            let owed = took.saturating_sub(rested).mul_f64(share.max(0.0)).saturating_sub(rested);
            context.sleep(owed).await?;
        }
        let everything = self.backfill.filter().trim().eq_ignore_ascii_case("true");
        if everything || !self.remains(context, progress).await? {
            return Ok(false);
        }
        if progress.pass >= PASSES {
            // What must hold is said by the step's checks; without one, clients may write such rows.
            return Ok(false);
        }
        *progress = Progress { cursor: None, pass: progress.pass + 1, ..progress.clone() };
        let moved = async {
            begin(context, Duration::from_secs(10), None).await?;
            ledger::backfill_moved(context, self.step, progress, self.rate())
                .await
                .map_err(|error| Fault::server("recording the pass", error))?;
            context.ddl().batch_execute("COMMIT").await.map_err(|error| Fault::server("COMMIT", error))
        };
        if let Err(fault) = moved.await {
            rollback(context).await;
            return Err(fault.into_halt(context, self.step, kept(progress)));
        }
        Ok(true)
    }

    async fn remains(&self, context: &Context<'_>, progress: &Progress) -> Result<bool, Halt> {
        let sql = format!("SELECT EXISTS (SELECT FROM {} WHERE {})", self.backfill.table.relation(), self.backfill.filter());
        match context.ddl().simple_query(&sql).await {
            Ok(answer) => Ok(first_value(&answer) == Some("t")),
            Err(error) => Err(Fault::server(&sql, error).into_halt(context, self.step, kept(progress))),
        }
    }

    /// The next batch, tried until it succeeds; the time that it took, or `None` at the end of the table.
    async fn batch(&mut self, context: &mut Context<'_>, progress: &mut Progress) -> Result<Option<Duration>, Halt> {
        let mut tries = Tries::new(context.options.lock_timeout, context.options.retry_for);
        loop {
            context.check_stop()?;
            if self.hold(context).await? {
                tries = Tries::new(context.options.lock_timeout, context.options.retry_for);
            }
            let begun = Instant::now();
            let mut fault = match self.attempt(context, progress, &tries).await {
                Ok(None) => return Ok(None),
                Ok(Some(next)) => {
                    self.seen += next.rows_seen - progress.rows_seen;
                    self.waited += tries.elapsed().saturating_sub(begun.elapsed());
                    let took = begun.elapsed();
                    let rows = i32::try_from(next.rows_seen - progress.rows_seen).unwrap_or(next.batch_rows);
                    let rows = resized(rows, took, context.options.batch_target);
                    let rows = if self.waited_for { rows.min(next.batch_rows / 2).max(1) } else { rows };
                    *progress = Progress { batch_rows: rows, ..next };
                    return Ok(Some(took));
                }
                Err(fault) => fault,
            };
            rollback(context).await;
            if !fault.is_retryable() {
                return Err(fault.into_halt(context, self.step, kept(progress)));
            }
            progress.batch_rows = (progress.batch_rows / 2).max(1);
            self.burst_rows = (self.burst_rows / 2).max(1);
            let blockers = std::mem::take(&mut fault.blockers);
            let Some(sleep) = tries.again(&mut context.jitter) else {
                return Err(gave_up(context, self.step, fault, &tries, &blockers, kept(progress)));
            };
            context.emit(Event::LockWait { number: self.step.number, failed: tries.failed, blockers, next_try: Some(sleep) });
            context.sleep(sleep).await?;
        }
    }

    /// One batch in one transaction; where the backfill stands after it.
    async fn attempt(&mut self, context: &mut Context<'_>, progress: &Progress, tries: &Tries) -> Result<Option<Progress>, Fault> {
        let limit = (context.options.batch_target * 10).max(Duration::from_secs(5));
        begin(context, tries.lock_timeout(), Some(limit)).await?;
        if !self.backfill.settings.is_empty() {
            let sql = settings(&self.backfill.settings);
            context.ddl().simple_query(&sql).await.map_err(|error| Fault::server(&sql, error))?;
        }
        let Some(next) = self.bursts(context, progress, tries, limit).await? else {
            rollback(context).await;
            return Ok(None);
        };
        let doing = "writing the cursor into schema_ledger.backfills";
        ledger::backfill_moved(context, self.step, &next, self.rate()).await.map_err(|error| Fault::server(doing, error))?;
        point(Point::Batch(context.batches + 1, Moment::Before));
        context.ddl().batch_execute("COMMIT").await.map_err(|error| Fault::server("COMMIT", error))?;
        context.batches += 1;
        point(Point::Batch(context.batches, Moment::After));
        Ok(Some(next))
    }

    /// The work of one batch: a burst after the other with a pause behind each, until it has its rows, its time is over or
    /// somebody waits for it. Where the backfill stands then, or `None` when nothing was left.
    async fn bursts(
        &mut self,
        context: &mut Context<'_>,
        progress: &Progress,
        tries: &Tries,
        limit: Duration,
    ) -> Result<Option<Progress>, Fault> {
        let Pace { pause, burst, .. } = context.options.pace;
        let burst = burst.filter(|_| pause > 0.0);
        let patience = tries.lock_timeout() / 2;
        let (begun, mut looked) = (Instant::now(), Instant::now());
        let mut now = progress.clone();
        (self.rested, self.waited_for) = (Duration::ZERO, false);
        loop {
            let seen = now.rows_seen - progress.rows_seen;
            let left = i32::try_from(i64::from(progress.batch_rows) - seen).unwrap_or(progress.batch_rows);
            let rows = if burst.is_some() { self.burst_rows.min(left) } else { left };
            let sent = Instant::now();
            let page = self.paging.next(context.ddl(), self.backfill, now.cursor.as_deref(), rows).await;
            let Some(page) = page.map_err(|(sql, error)| timed_out(sql, error, limit, Vec::new()))? else {
                return Ok(Some(now).filter(|now| now.cursor != progress.cursor));
            };
            let (changed, took) = self.update(context, &page, patience, limit).await?;
            let took = page.took + took;
            now.cursor = Some(page.cursor);
            now.rows_seen += page.rows;
            now.rows_done += changed;
            let Some(burst) = burst else { return Ok(Some(now)) };
            let elsewhere = sent.elapsed().saturating_sub(took);
            self.least = self.least.min(took);
            // What a statement costs whatever its rows, and what the network takes, must not be most of it.
            let burst = burst.max(self.least * 2).max(elsewhere / 4);
            if rows == self.burst_rows || took > burst {
                self.burst_rows = resized(rows, took, burst);
            }
            let full = now.rows_seen - progress.rows_seen >= i64::from(progress.batch_rows);
            if full || self.waited_for || begun.elapsed() >= context.options.batch_target || context.options.stopped() {
                return Ok(Some(now));
            }
            if looked.elapsed() >= patience {
                looked = Instant::now();
                // A watcher that cannot see costs a client patience, not the batch.
                let waiting = waiting_behind(context.watcher(), context.pid).await.unwrap_or_default();
                if let Some(waiting) = waiting.first() {
                    self.shorten(context, waiting);
                    return Ok(Some(now));
                }
            }
            let (rest, due) = (Instant::now(), took.mul_f64(pause));
            if begun.elapsed() + due >= context.options.batch_target {
                return Ok(Some(now));
            }
            tokio::time::sleep(due).await;
            self.rested += rest.elapsed();
        }
    }

    /// The rows of a page; how many were changed, and the time that the server took for it.
    async fn update(
        &mut self,
        context: &mut Context<'_>,
        page: &Page,
        patience: Duration,
        limit: Duration,
    ) -> Result<(i64, Duration), Fault> {
        let sql = page.update(self.backfill);
        let timed = format!("{sql};\nSELECT {TIME_TAKEN}");
        let watched = context.watched(&timed, patience, None, |_, _| ()).await;
        if let Some(waiting) = watched.waiting.first() {
            self.shorten(context, waiting);
        }
        let answer = watched.result.map_err(|error| timed_out(sql, error, limit, watched.blockers))?;
        let changed = answer.iter().find_map(|message| match message {
            SimpleQueryMessage::CommandComplete(rows) => Some(*rows),
            _ => None,
        });
        let took = first_value(&answer).and_then(seconds).unwrap_or_default();
        Ok((changed.and_then(|rows| i64::try_from(rows).ok()).unwrap_or_default(), took))
    }

    /// Somebody waits for rows of this batch.
    fn shorten(&mut self, context: &mut Context<'_>, waiting: &Blocker) {
        self.waited_for = true;
        let reason = format!("a session waited behind a batch ({waiting}): batches get shorter");
        context.emit(Event::BackfillHeld { number: self.step.number, reason });
    }

    /// Waits while it is paused from another terminal or a signal is bad; whether it had to.
    async fn hold(&mut self, context: &mut Context<'_>) -> Result<bool, Halt> {
        let mut told = String::new();
        loop {
            context.check_watcher("the second connection looked after the replicas").await?;
            let reason = match ledger::control(context, self.step).await?.as_str() {
                "stop" => return Err(Halt::Interrupted("it was stopped from another terminal".to_owned())),
                "pause" => Some(format!("paused; to go on: schema backfill resume{} {}", context.options.env, context.plan.name)),
                _ => self.throttle.reason(context.watcher(), &context.options.pace, &self.backfill.table.relation()).await,
            };
            let Some(reason) = reason else { return Ok(!told.is_empty()) };
            if reason != told {
                context.emit(Event::BackfillHeld { number: self.step.number, reason: reason.clone() });
                told = reason;
            }
            context.sleep(HOLD).await?;
        }
    }

    #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
    fn rate(&self) -> f64 {
        self.seen as f64 / self.begun.elapsed().as_secs_f64().max(0.001)
    }

    #[allow(clippy::cast_precision_loss, reason = "an estimate for people")]
    fn report(&self, context: &mut Context<'_>, progress: &Progress) {
        let rate = self.rate();
        let seen = progress.rows_seen.unsigned_abs();
        let left = self.backfill.rows.filter(|_| progress.pass == 1 && rate > 0.0).map(|total| total.saturating_sub(seen));
        context.emit(Event::BackfillProgress {
            number: self.step.number,
            rows_seen: seen,
            rows_done: progress.rows_done.unsigned_abs(),
            rows_total: self.backfill.rows,
            rate,
            eta: left.and_then(|rows| Duration::try_from_secs_f64(rows as f64 / rate).ok()),
        });
    }
}

/// A batch that ran into the statement timeout is tried again with fewer rows.
fn timed_out(sql: String, error: tokio_postgres::Error, limit: Duration, blockers: Vec<Blocker>) -> Fault {
    let cause = if error.code() == Some(&SqlState::QUERY_CANCELED) { Cause::Deadline(limit) } else { Cause::Server(error) };
    Fault { statement: Some(sql), cause, blockers }
}

/// Transaction-local settings, for the sync triggers to read.
fn settings(settings: &[(String, String)]) -> String {
    let calls = settings.iter().map(|(name, value)| format!("pg_catalog.set_config({}, {}, true)", literal(name), literal(value)));
    format!("SELECT {}", calls.collect::<Vec<_>>().join(", "))
}

/// The size of the next batch: a fifth more while they are short, less in proportion when one was long.
fn resized(rows: i32, took: Duration, target: Duration) -> i32 {
    let factor = if took <= target { 1.2 } else { (target.as_secs_f64() / took.as_secs_f64()).max(0.5) };
    #[allow(clippy::cast_possible_truncation, reason = "bounded by MOST_ROWS")]
    let next = (f64::from(rows) * factor).ceil() as i32;
    next.clamp(1, MOST_ROWS)
}

/// Pauses, resumes or stops a backfill from another session: `run`, `pause` or `stop` for every unfinished backfill
/// of `plan` (of all plans when `None`). Gives how many there were.
///
/// # Errors
/// Those of the statement; a ledger must be there.
pub async fn set_control(client: &Client, plan: Option<&str>, control: &str) -> Result<u64, tokio_postgres::Error> {
    let sql = "UPDATE schema_ledger.backfills b SET control = $2 FROM schema_ledger.steps s \
               WHERE (s.plan, s.number) = (b.plan, b.step) AND s.state <> 'done' AND b.plan = coalesce($1, b.plan)";
    client.execute(sql, &[&plan, &control]).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_steer_to_the_target() {
        let target = Duration::from_millis(500);
        assert_eq!(resized(500, Duration::from_millis(100), target), 600);
        assert_eq!(resized(1, Duration::from_millis(100), target), 2);
        assert_eq!(resized(600, Duration::from_millis(600), target), 500);
        assert_eq!(resized(1000, Duration::from_secs(9), target), 500);
        assert_eq!(resized(1, Duration::from_secs(9), target), 1);
    }
}
