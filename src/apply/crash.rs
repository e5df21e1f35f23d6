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
//!
//! With `SCHEMA_CRASH_HOW=stop` it suspends itself at each of them instead (SIGSTOP), once: time for whoever looks on
//! to take its session or its server away, before SIGCONT. Unset (as it is outside the tests), a point costs next to nothing.

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
}

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
        assert_eq!(parse("step:x:middle"), []);
        assert_eq!(parse("step:3:sideways"), []);
    }
}
