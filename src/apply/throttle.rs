//! Signals that make a backfill hold. One that cannot be read counts as bad.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use tokio_postgres::Client;

use super::pace::Pace;
use crate::plan::render::{bytes, number};

/// How often the signals are read while they are good.
const EVERY: Duration = Duration::from_secs(1);
/// Dead rows up to which nobody minds.
const FEW_DEAD: f64 = 1_000_000.0;
/// How many positions of the log are remembered: with one a second, far beyond any lag that is let pass.
const REMEMBERED: usize = 4096;

/// Where the log ends, and how far each replica has replayed it. What the role may not see is NULL (manual, 28.2.4).
const REPLICAS: &str = "
SELECT coalesce(nullif(application_name, ''), 'session ' || pid), state IS NULL,
       pg_catalog.pg_wal_lsn_diff(replay_lsn, '0/0')::pg_catalog.int8, pg_catalog.date_part('epoch', replay_lag),
       pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), '0/0')::pg_catalog.int8
FROM pg_catalog.pg_stat_replication WHERE state IS DISTINCT FROM 'backup' ORDER BY 1";

const SLOTS: &str = "
SELECT slot_name::pg_catalog.text, active, pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), restart_lsn)::pg_catalog.int8
FROM pg_catalog.pg_replication_slots WHERE restart_lsn IS NOT NULL ORDER BY 3 DESC LIMIT 1";

/// Whether archiving has failed since it last succeeded, and how far behind it is. A segment's name is its timeline and its
/// number (manual, 30.6).
const ARCHIVE: &str = "
SELECT last_failed_time > coalesce(last_archived_time, '-infinity'),
       CASE WHEN last_archived_wal ~ '^[0-9A-F]{24}$' THEN
         (pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), '0/0')
          - ('x' || pg_catalog.substr(last_archived_wal, 9, 8))::pg_catalog.bit(32)::pg_catalog.int8 * 4294967296
          - (('x' || pg_catalog.substr(last_archived_wal, 17, 8))::pg_catalog.bit(32)::pg_catalog.int8 + 1)
            * pg_catalog.pg_size_bytes(pg_catalog.current_setting('wal_segment_size')))::pg_catalog.int8 END
FROM pg_catalog.pg_stat_archiver WHERE pg_catalog.current_setting('archive_mode') <> 'off'";

/// Dead and live rows of the table and its partitions, and whether autovacuum may work on them.
const DEAD: &str = "
WITH RECURSIVE tree AS (
  SELECT pg_catalog.to_regclass($1)::pg_catalog.oid AS oid
  UNION SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN tree ON i.inhparent = tree.oid
)
SELECT coalesce(sum(s.n_dead_tup), 0)::pg_catalog.float8, coalesce(sum(greatest(c.reltuples, 0)), 0)::pg_catalog.float8,
       bool_and(pg_catalog.current_setting('autovacuum')::pg_catalog.bool
                AND coalesce(c.reloptions, '{}') @> '{autovacuum_enabled=false}' IS FALSE)
FROM tree JOIN pg_catalog.pg_class c USING (oid) JOIN pg_catalog.pg_stat_all_tables s ON s.relid = c.oid";

/// The last readings.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    good: Option<Instant>,
    /// Where the log ended, and when that was seen: the server's own lag stands still with a replica that does.
    ends: VecDeque<(i64, Instant)>,
}

impl Throttle {
    /// Why a backfill of `relation` must hold now, if it must.
    pub(super) async fn reason(&mut self, client: &Client, pace: &Pace, relation: &str) -> Option<String> {
        if self.good.is_some_and(|good| good.elapsed() < EVERY) {
            return None;
        }
        match self.read(client, pace, relation).await {
            Err(error) => Some(format!("a signal cannot be read: {}", crate::pg::explain(&error))),
            Ok(Some(reason)) => Some(reason),
            Ok(None) => {
                self.good = Some(Instant::now());
                None
            }
        }
    }

    async fn read(&mut self, client: &Client, pace: &Pace, relation: &str) -> Result<Option<String>, tokio_postgres::Error> {
        if let Some(reason) = self.replicas(client, pace).await? {
            return Ok(Some(reason));
        }
        if let Some(most) = pace.slot_wal
            && let Some(row) = client.query_opt(SLOTS, &[]).await?
        {
            let (name, active, kept): (String, bool, i64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            if kept.max(0).unsigned_abs() > most {
                let state = if active { "" } else { ", which nobody reads" };
                return Ok(Some(format!("replication slot {name}{state}, keeps {} of WAL; it goes on below {}", size(kept), bytes(most))));
            }
        }
        if let Some(most) = pace.archive_wal
            && let Some(row) = client.query_opt(ARCHIVE, &[]).await?
        {
            let (failing, behind): (Option<bool>, Option<i64>) = (row.try_get(0)?, row.try_get(1)?);
            if failing == Some(true) {
                return Ok(Some("the server fails to archive its WAL (pg_stat_archiver); it goes on when that succeeds".to_owned()));
            }
            if let Some(behind) = behind.filter(|behind| (*behind).max(0).unsigned_abs() > most) {
                return Ok(Some(format!("{} of WAL are not yet archived; it goes on below {}", size(behind), bytes(most))));
            }
        }
        match pace.dead_rows {
            Some(share) => dead(client, share, relation).await,
            None => Ok(None),
        }
    }

    async fn replicas(&mut self, client: &Client, pace: &Pace) -> Result<Option<String>, tokio_postgres::Error> {
        if pace.replay_lag.is_none() && pace.replay_wal.is_none() {
            return Ok(None);
        }
        let now = Instant::now();
        for row in client.query(REPLICAS, &[]).await? {
            let (name, hidden): (String, bool) = (row.try_get(0)?, row.try_get(1)?);
            let (replayed, lag, end): (Option<i64>, Option<f64>, i64) = (row.try_get(2)?, row.try_get(3)?, row.try_get(4)?);
            if self.ends.back().is_none_or(|(last, _)| *last < end) {
                self.ends.push_back((end, now));
                if self.ends.len() > REMEMBERED {
                    self.ends.pop_front();
                }
            }
            if hidden {
                return Ok(Some(
                    "this role may not see how far the replicas are: GRANT pg_monitor to it, or turn replay-lag and replay-wal off"
                        .to_owned(),
                ));
            }
            // One that has not reported yet, or takes a base backup.
            let Some(replayed) = replayed else { continue };
            let seen = self.ends.iter().find(|(end, _)| *end > replayed).map_or(Duration::ZERO, |(_, at)| now - *at);
            let told = lag.and_then(|lag| Duration::try_from_secs_f64(lag).ok()).filter(|_| replayed < end).unwrap_or_default();
            let lag = seen.max(told);
            if let Some(limit) = pace.replay_lag.filter(|limit| lag > *limit) {
                return Ok(Some(format!("replica {name} replays {} s behind; it goes on below {} s", lag.as_secs(), limit.as_secs())));
            }
            if let Some(most) = pace.replay_wal.filter(|most| (end - replayed).max(0).unsigned_abs() > *most) {
                return Ok(Some(format!("replica {name} has {} of WAL to replay; it goes on below {}", size(end - replayed), bytes(most))));
            }
        }
        Ok(None)
    }
}

async fn dead(client: &Client, share: f64, relation: &str) -> Result<Option<String>, tokio_postgres::Error> {
    let row = client.query_one(DEAD, &[&relation]).await?;
    let (dead, rows, vacuumed): (f64, f64, Option<bool>) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    let most = (rows * share).max(FEW_DEAD);
    if dead <= most {
        return Ok(None);
    }
    let how = if vacuumed == Some(false) { "autovacuum is off for it: VACUUM it" } else { "it goes on when autovacuum has caught up" };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "numbers of rows")]
    let rows = |n: f64| number(n as u64);
    Ok(Some(format!("{relation} has {} dead rows, more than {}; {how}", rows(dead), rows(most))))
}

fn size(n: i64) -> String {
    bytes(n.max(0).unsigned_abs())
}
