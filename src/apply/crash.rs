//! Fault injection for crash tests.
//!
//! `SCHEMA_CRASH_AT` names one point at which the process aborts, as if it had been killed there:
//!
//! | value | aborts |
//! |---|---|
//! | `step:N:before` | before anything of step N is sent |
//! | `step:N:middle` | when its statements have run, before its ledger row and the commit |
//! | `step:N:after` | after its commit, before the next step |
//! | `batch:K:before` | in the K-th batch of this process, before its commit |
//! | `batch:K` or `batch:K:after` | after the commit of the K-th batch of this process |
//!
//! Unset (as it is outside the tests), a point costs one comparison.

use std::sync::OnceLock;

/// The environment variable that names the point.
pub const VARIABLE: &str = "SCHEMA_CRASH_AT";

/// Where in a step or batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    Before,
    Middle,
    After,
}

/// A place where the process can be made to abort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Point {
    Step(u32, Moment),
    Batch(u64, Moment),
}

/// Aborts the process when `here` is the point that [`VARIABLE`] names.
pub(super) fn point(here: Point) {
    static CHOSEN: OnceLock<Option<Point>> = OnceLock::new();
    let chosen = CHOSEN.get_or_init(|| std::env::var(VARIABLE).ok().as_deref().and_then(parse));
    if *chosen == Some(here) {
        std::process::abort();
    }
}

fn parse(text: &str) -> Option<Point> {
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
        assert_eq!(parse("step:3:middle"), Some(Point::Step(3, Moment::Middle)));
        assert_eq!(parse("batch:7"), Some(Point::Batch(7, Moment::After)));
        assert_eq!(parse("batch:7:before"), Some(Point::Batch(7, Moment::Before)));
        assert_eq!(parse("step:x:middle"), None);
        assert_eq!(parse("step:3:sideways"), None);
    }
}
