//! Fault injection for crash tests.
//!
//! `SCHEMA_CRASH_AT` names points, separated by commas; at the first that is reached the process kills itself:
//!
//! | value | ends |
//! |---|---|
//! | `step:N:before` | before anything of step N is sent |
//! | `step:N:middle` | when its statements have run, before its ledger row and the commit |
//! | `step:N:after` | after its commit, before the next step |
//! | `batch:K:before` | in the K-th batch of this process, before its commit |
//! | `batch:K` or `batch:K:after` | after the commit of the K-th batch of this process |
//! | `statement:K:before`, `statement:K:after` | around the K-th statement of this process outside transactions |
//! | `record:K:before` | with the K-th step, or part of an undo, of this process done and not yet recorded |
//! | `record:K:after` | when it is recorded |
//!
//! With `SCHEMA_CRASH_HOW=stop` it suspends itself at each of them instead (SIGSTOP), once: time for whoever looks on
//! to take its session or its server away, before SIGCONT. Unset (as it is outside the tests), a point costs next to nothing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};

/// The environment variable that names the points.
pub const VARIABLE: &str = "SCHEMA_CRASH_AT";

/// The environment variable that says how: `kill`, as if it were unset, or `stop`.
pub const HOW: &str = "SCHEMA_CRASH_HOW";

/// Where in a step or batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    Before,
    Middle,
    After,
}

/// A place where the process can be made to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Point {
    Step(u32, Moment),
    Batch(u64, Moment),
    Statement(u64, Moment),
    Record(u64, Moment),
}

/// The next statement outside transactions begins.
pub(super) fn statement_begins() {
    point(Point::Statement(STATEMENTS.fetch_add(1, Ordering::Relaxed) + 1, Moment::Before));
}

/// It ended.
pub(super) fn statement_ended() {
    point(Point::Statement(STATEMENTS.load(Ordering::Relaxed), Moment::After));
}

/// What was done is about to be committed with its row in the ledger.
pub(super) fn record_begins() {
    point(Point::Record(RECORDS.fetch_add(1, Ordering::Relaxed) + 1, Moment::Before));
}

/// It is committed.
pub(super) fn record_ended() {
    point(Point::Record(RECORDS.load(Ordering::Relaxed), Moment::After));
}

/// Of this process.
static STATEMENTS: AtomicU64 = AtomicU64::new(0);
static RECORDS: AtomicU64 = AtomicU64::new(0);

/// Ends the process when `here` is one of the points that [`VARIABLE`] names.
pub(super) fn point(here: Point) {
    static CHOSEN: OnceLock<Mutex<Vec<Point>>> = OnceLock::new();
    let chosen = CHOSEN.get_or_init(|| Mutex::new(std::env::var(VARIABLE).map_or_else(|_| Vec::new(), |text| parse(&text))));
    let mut chosen = chosen.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(at) = chosen.iter().position(|point| *point == here) {
        chosen.remove(at);
        drop(chosen);
        end();
    }
}

fn end() {
    let stop = std::env::var(HOW).is_ok_and(|how| how == "stop");
    // A process may always send a signal to itself.
    let _ = kill_process(getpid(), if stop { Signal::STOP } else { Signal::KILL });
    // Until it has arrived in this thread.
    std::thread::sleep(Duration::from_millis(50));
}

/// What is no point is none to stop at.
fn parse(text: &str) -> Vec<Point> {
    text.split(',').filter_map(parse_one).collect()
}

fn parse_one(text: &str) -> Option<Point> {
    let mut parts = text.split(':');
    let (what, number) = (parts.next()?, parts.next()?);
    let moment = match parts.next() {
        Some("before") => Moment::Before,
        Some("middle") => Moment::Middle,
        Some("after") | None => Moment::After,
        Some(_) => return None,
    };
    match what {
        "step" => Some(Point::Step(number.parse().ok()?, moment)),
        "batch" => Some(Point::Batch(number.parse().ok()?, moment)),
        "statement" => Some(Point::Statement(number.parse().ok()?, moment)),
        "record" => Some(Point::Record(number.parse().ok()?, moment)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_read() {
        assert_eq!(parse("step:3:middle"), [Point::Step(3, Moment::Middle)]);
        assert_eq!(parse("batch:7,step:4:before"), [Point::Batch(7, Moment::After), Point::Step(4, Moment::Before)]);
        assert_eq!(parse("statement:2:before,record:1"), [Point::Statement(2, Moment::Before), Point::Record(1, Moment::After)]);
        assert_eq!(parse("step:x:middle"), []);
        assert_eq!(parse("step:3:sideways"), []);
    }
}
