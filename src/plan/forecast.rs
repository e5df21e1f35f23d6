//! What a plan will need: disk, log and time, from the sizes that it knows. Pure; estimates, on the side of more.

use std::collections::BTreeMap;
use std::time::Duration;

use super::op::Cost;
use super::plan::{Plan, Step, Work};
use crate::catalog::id::dotted;

/// Rows that a backfill does in a second, where nothing holds it.
pub const ROWS_PER_SECOND: u64 = 10_000;
/// Bytes of one entry of an index: a key of about sixteen, with its tuple header, line pointer and the pages' slack.
const INDEX_ENTRY: u64 = 40;
/// Bytes of the log record of one row beyond the row itself, a change of one index included.
const LOG_RECORD: u64 = 100;

/// What a step, or a plan, needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Need {
    /// Bytes of disk beyond what is used now, at its worst: a vacuum or the end of the step may give some back.
    pub disk: u64,
    /// Bytes of log, all of which go to the replicas and the archive.
    pub wal: u64,
    /// Rows that are written in batches.
    pub rows: u64,
}

impl Need {
    /// Both together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            disk: self.disk.saturating_add(other.disk),
            wal: self.wal.saturating_add(other.wal),
            rows: self.rows.saturating_add(other.rows),
        }
    }

    /// The time of the batches at [`ROWS_PER_SECOND`].
    #[must_use]
    pub const fn time(self) -> Duration {
        Duration::from_secs(self.rows / ROWS_PER_SECOND)
    }
}

/// What each step needs, those that need nothing left out. Tables whose size the plan does not know count as nothing.
#[must_use]
pub fn forecast(plan: &Plan) -> Vec<(u32, Need)> {
    let sizes: BTreeMap<&str, (u64, u64)> = plan
        .summary
        .iter()
        .filter_map(|summary| Some((summary.subject.strip_prefix("table ")?, (summary.rows?, summary.bytes?))))
        .collect();
    let needs = plan.steps().map(|(_, step)| (step.number, need(step, &sizes)));
    needs.filter(|(_, need)| *need != Need::default()).collect()
}

/// What the steps from `first` on need together.
#[must_use]
pub fn total(plan: &Plan, wanted: impl Fn(u32) -> bool) -> Need {
    forecast(plan).into_iter().filter(|(number, _)| wanted(*number)).fold(Need::default(), |sum, (_, need)| sum.and(need))
}

fn need(step: &Step, sizes: &BTreeMap<&str, (u64, u64)>) -> Need {
    if let Work::Backfill(backfill) = &step.work {
        let (rows, bytes) = sizes.get(dotted(&backfill.table.path).as_str()).copied().unwrap_or_default();
        let rows = backfill.rows.unwrap_or(rows);
        if backfill.copy.is_some() {
            // The other table is as large with its indexes; each row that is read is locked as well, which is logged too.
            return Need { disk: bytes, wal: bytes.saturating_add(rows.saturating_mul(2 * LOG_RECORD)), rows };
        }
        // Every row is written once more, and no vacuum has come yet.
        return Need { disk: bytes, wal: bytes.saturating_add(rows.saturating_mul(LOG_RECORD)), rows };
    }
    let of = |cost: Cost| step.locks.iter().filter(move |lock| lock.cost == cost).filter_map(|lock| sizes.get(lock.relation.as_str()));
    let built = of(Cost::Build).map(|(rows, _)| rows.saturating_mul(INDEX_ENTRY));
    let written = of(Cost::Rewrite).map(|(_, bytes)| *bytes);
    let bytes = built.chain(written).fold(0_u64, u64::saturating_add);
    Need { disk: bytes, wal: bytes, rows: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::sample;

    #[test]
    fn a_backfill_writes_every_row_again_and_an_index_is_built() {
        let plan = sample::severity_level();
        let bytes = 1_503_238_553;
        let fill = Need { disk: bytes, wal: bytes + 1_200_000_000, rows: 12_000_000 };
        let index = Need { disk: 480_000_000, wal: 480_000_000, rows: 0 };
        assert_eq!(forecast(&plan), [(2, fill), (3, index)]);
        assert_eq!(total(&plan, |number| number > 2), index);
        assert_eq!(fill.time(), Duration::from_mins(20));
    }
}
