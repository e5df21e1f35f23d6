//! Signals that make a backfill hold. One that cannot be read counts as bad.

use std::time::{Duration, Instant};

use super::context::Context;
use super::event::Event;

/// How often the signals are read while they are good.
const EVERY: Duration = Duration::from_secs(2);

/// Lag of the worst replica in seconds; the number of replicas whose state our role may not see; WAL kept by the worst
/// slot, in bytes; seconds since the archiver's last success, when it has failed since.
const SIGNALS: &str = "
SELECT (SELECT max(pg_catalog.date_part('epoch', replay_lag)) FROM pg_catalog.pg_stat_replication),
       (SELECT count(*) FROM pg_catalog.pg_stat_replication WHERE state IS NULL),
       (SELECT max(pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), restart_lsn))::pg_catalog.int8
        FROM pg_catalog.pg_replication_slots),
       (SELECT pg_catalog.date_part('epoch', pg_catalog.now() - coalesce(last_archived_time, stats_reset))
        FROM pg_catalog.pg_stat_archiver
        WHERE last_failed_time > coalesce(last_archived_time, '-infinity')
          AND pg_catalog.current_setting('archive_mode') <> 'off')";

/// The last reading.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    good: Option<Instant>,
    told: bool,
}

impl Throttle {
    /// Why a backfill must hold now, if it must.
    pub(super) async fn reason(&mut self, context: &mut Context<'_>) -> Option<String> {
        if self.good.is_some_and(|good| good.elapsed() < EVERY) {
            return None;
        }
        match self.read(context).await {
            Err(error) => Some(format!("the signals of replication cannot be read: {}", crate::pg::explain(&error))),
            Ok(Some(reason)) => Some(reason),
            Ok(None) => {
                self.good = Some(Instant::now());
                None
            }
        }
    }

    async fn read(&mut self, context: &mut Context<'_>) -> Result<Option<String>, tokio_postgres::Error> {
        let row = context.watcher().query_one(SIGNALS, &[]).await?;
        let (lag, hidden): (Option<f64>, i64) = (row.try_get(0)?, row.try_get(1)?);
        let (kept, failing): (Option<i64>, Option<f64>) = (row.try_get(2)?, row.try_get(3)?);
        if hidden > 0 && !self.told {
            // Not every role that may alter a table may see replicas: this one would hold for ever.
            self.told = true;
            context.emit(Event::Notice(format!(
                "this role cannot see the lag of {hidden} replicas, so the backfill does not hold for them; GRANT pg_monitor to it"
            )));
        }
        let (limit, most) = (context.options.max_replay_lag, context.options.max_slot_wal);
        Ok(if let Some(lag) = lag.filter(|lag| *lag > limit.as_secs_f64()) {
            Some(format!("a replica replays {lag:.0} s behind; it goes on below {} s", limit.as_secs()))
        } else if let Some(kept) = kept.filter(|kept| kept.unsigned_abs() > most && *kept > 0) {
            Some(format!("a replication slot keeps {} MiB of WAL; it goes on below {} MiB", kept >> 20, most >> 20))
        } else {
            failing.map(|_| "the server fails to archive its WAL (pg_stat_archiver); it goes on when that succeeds".to_owned())
        })
    }
}
