//! How fast a backfill may go, and what makes it hold.

use std::time::Duration;

/// The numbers of a backfill. `None` turns a signal off.
#[derive(Clone, Debug, PartialEq)]
pub struct Pace {
    /// The pause behind a burst and behind a batch, as a share of its time. Default 2: a third of one processor, and so much
    /// less for the disk to write. With a fifth others feel it 1.4 to 1.7 times (p99, docs/performance.md).
    pub pause: f64,
    /// How long it works at a stretch: a batch is done in such bursts, each with its pause, so that other sessions find a
    /// processor. `None`, or no pause: a batch at a stretch. Default 500 µs: on two cores even
    /// a session that only computes for longer at a stretch triples the p99 of others (docs/performance.md).
    pub burst: Option<Duration>,
    /// It holds while any replica replays later than this. Default 10 s.
    pub replay_lag: Option<Duration>,
    /// It holds while any replica has more WAL than this still to replay, in bytes. Default 1 GiB.
    pub replay_wal: Option<u64>,
    /// It holds while a replication slot keeps more WAL than this, in bytes. Default 16 GiB.
    pub slot_wal: Option<u64>,
    /// It holds while more WAL than this is not yet archived, in bytes, and while archiving fails. Default 16 GiB.
    pub archive_wal: Option<u64>,
    /// It holds while the table has more dead rows than this share of its rows, and more than a million. Default 0.5.
    pub dead_rows: Option<f64>,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            pause: 2.0,
            burst: Some(Duration::from_micros(500)),
            replay_lag: Some(Duration::from_secs(10)),
            replay_wal: Some(1 << 30),
            slot_wal: Some(16 << 30),
            archive_wal: Some(16 << 30),
            dead_rows: Some(0.5),
        }
    }
}
