//! Signals that make a backfill hold.

use std::time::{Duration, Instant};

use super::context::Context;
use super::event::Event;

/// How often the signals are read.
const EVERY: Duration = Duration::from_secs(2);

/// Lag of the worst replica in seconds, and the number of replicas whose state our role may not see.
const LAG: &str = "
SELECT max(pg_catalog.date_part('epoch', replay_lag)), count(*) FILTER (WHERE state IS NULL)
FROM pg_catalog.pg_stat_replication";

/// The last reading.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    read: Option<Instant>,
    told: bool,
}

impl Throttle {
    /// Why a backfill must hold now, if it must.
    pub(super) async fn reason(&mut self, context: &mut Context<'_>) -> Option<String> {
        if self.read.is_some_and(|read| read.elapsed() < EVERY) {
            return None;
        }
        let (lag, hidden) = match context.watcher().query_one(LAG, &[]).await {
            Ok(row) => (row.try_get::<_, Option<f64>>(0).ok().flatten(), row.try_get::<_, i64>(1).unwrap_or_default()),
            Err(error) => return Some(format!("the replicas' lag cannot be read: {}", crate::pg::explain(&error))),
        };
        if hidden > 0 && !self.told {
            self.told = true;
            context.emit(Event::Notice(format!(
                "the lag of {hidden} replicas cannot be seen by this role, so the backfill does not hold for them: GRANT pg_monitor to it"
            )));
        }
        if let Some(lag) = lag.filter(|lag| *lag > context.options.max_replay_lag.as_secs_f64()) {
            return Some(format!("a replica replays {lag:.0} s behind; it goes on below {} s", context.options.max_replay_lag.as_secs()));
        }
        // A bad signal is read again at once.
        self.read = Some(Instant::now());
        None
    }
}
