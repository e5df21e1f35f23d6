//! `backfill` in schema.kdl: the numbers of backfills. `off` turns a signal off.

use std::time::Duration;

use super::duration;
use crate::apply::{Options, Pace};
use crate::kdl::{Finding, Findings, Node, Text};

/// More than this is `schema backfill pause`.
const LONGEST_PAUSE: f64 = 1000.0;

/// The numbers of a backfill.
#[derive(Clone, Debug, PartialEq)]
pub struct Pacing {
    /// The time that a batch should take.
    pub batch: Duration,
    /// Rows of the first batch.
    pub rows: u32,
    /// What makes it hold, and its pause.
    pub pace: Pace,
}

impl Default for Pacing {
    fn default() -> Self {
        let Options { batch_target, batch_rows, pace, .. } = Options::default();
        Self { batch: batch_target, rows: batch_rows, pace }
    }
}

impl Pacing {
    /// Reads what the node says over what is there.
    pub(super) fn read(&mut self, node: &mut Node<'_>, f: &mut Findings) {
        let mut set = |name: &'static str, form: &str, take: &mut dyn FnMut(&str) -> bool| {
            let Some(text) = node.value(name, f) else { return };
            if !take(&text.value) {
                f.push(wrong(&text, name, form));
            }
        };
        set("batch", duration::FORM, &mut |text| duration::parse(text).map(|time| self.batch = time).is_ok());
        set("rows", "a number of rows", &mut |text| text.parse().map(|rows: u32| self.rows = rows.max(1)).is_ok());
        let Pace { pause, burst, replay_lag, replay_wal, slot_wal, archive_wal, dead_rows } = &mut self.pace;
        set("pause", "a share of the time worked: `2`", &mut |text| {
            share(text).filter(|share| *share <= LONGEST_PAUSE).map(|share| *pause = share).is_some()
        });
        set("burst", "a duration (`500us`) or `off`", &mut |text| {
            or_off(text, |text| duration::parse(text).ok().filter(|time| !time.is_zero()), burst)
        });
        set("replay-lag", "a duration (`10s`) or `off`", &mut |text| or_off(text, |text| duration::parse(text).ok(), replay_lag));
        set("dead-rows", "a share of the table's rows (`0.5`) or `off`", &mut |text| or_off(text, share, dead_rows));
        for (name, signal) in [("replay-wal", replay_wal), ("slot-wal", slot_wal), ("archive-wal", archive_wal)] {
            set(name, "a size (`16GB`) or `off`", &mut |text| or_off(text, size, signal));
        }
    }
}

fn wrong(text: &Text, name: &str, form: &str) -> Finding {
    Finding::at(text.span, format!("`{}` is no value for `{name}`", text.value)).help(format!("write {form}"))
}

fn or_off<T>(text: &str, parse: impl Fn(&str) -> Option<T>, into: &mut Option<T>) -> bool {
    if text == "off" {
        *into = None;
        return true;
    }
    let value = parse(text);
    let read = value.is_some();
    if read {
        *into = value;
    }
    read
}

fn share(text: &str) -> Option<f64> {
    text.parse().ok().filter(|share: &f64| share.is_finite() && *share >= 0.0)
}

/// `16GB`, `512MB`, in powers of 1024 as PostgreSQL's own settings.
pub(crate) fn size(text: &str) -> Option<u64> {
    const UNITS: [(&str, u32); 4] = [("kB", 10), ("MB", 20), ("GB", 30), ("TB", 40)];
    let (suffix, shift) = UNITS.into_iter().find(|(suffix, _)| text.ends_with(suffix))?;
    text[..text.len() - suffix.len()].trim_end().parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(["16GB", "512 MB", "3", "x GB", "99999999999TB"].map(size), [Some(16 << 30), Some(512 << 20), None, None, None]);
    }
}
