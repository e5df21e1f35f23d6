//! How long to wait for a lock, and how long between two tries.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The longest `lock_timeout` of a locking step, unless the first one is longer.
const LONGEST_LOCK_TIMEOUT: Duration = Duration::from_secs(2);
/// The longest that a transaction waits for all of its locks but the first. A client that meets it in a ring waits for its
/// deadlock_timeout (1 s where nobody changed it), then the server ends the client's statement, not ours (measured): by
/// then we must have given up.
const LONGEST_RING: Duration = Duration::from_millis(800);
/// Shortest and longest sleep between two tries.
const SLEEP: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// What a transaction of instant statements may take beyond its lock timeout, at the first try.
const WORK: Duration = Duration::from_secs(1);
/// The longest such allowance.
const LONGEST_WORK: Duration = Duration::from_secs(10);

/// A source of jitter (splitmix64): two appliers must not try in step; nothing else rests on it.
#[derive(Debug)]
pub(super) struct Jitter(u64);

impl Jitter {
    /// Seeded from the clock and the process id.
    pub(super) fn seeded() -> Self {
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::from(since.subsec_nanos()) ^ since.as_secs());
        Self(nanos ^ (u64::from(std::process::id()) << 32))
    }

    /// An even draw from `low..=high`.
    pub(super) fn between(&mut self, low: Duration, high: Duration) -> Duration {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^= x >> 31;
        let span = u64::try_from(high.saturating_sub(low).as_micros()).unwrap_or(u64::MAX - 1);
        low + Duration::from_micros(x % (span + 1))
    }
}

/// The tries of one locking transaction: growing timeouts, growing jittered sleeps, one bound.
#[derive(Debug)]
pub(super) struct Tries {
    first: Duration,
    since: Instant,
    bound: Duration,
    /// Tries so far that failed.
    pub(super) failed: u32,
}

impl Tries {
    /// `first` is the lock timeout of the first try; no try starts later than `bound` from now.
    pub(super) fn new(first: Duration, bound: Duration) -> Self {
        Self { first, since: Instant::now(), bound, failed: 0 }
    }

    /// The lock timeout of the next try: half as long again each time.
    pub(super) fn lock_timeout(&self) -> Duration {
        let grown = self.first.mul_f64(1.5_f64.powi(i32::try_from(self.failed.min(20)).unwrap_or(20)));
        grown.min(LONGEST_LOCK_TIMEOUT.max(self.first))
    }

    /// The same for a transaction that takes so many locks, one after the other.
    pub(super) fn lock_timeout_of(&self, locks: usize) -> Duration {
        let others = u32::try_from(locks.saturating_sub(1)).unwrap_or(u32::MAX);
        if others == 0 { self.lock_timeout() } else { self.lock_timeout().min(LONGEST_RING / others) }
    }

    /// The total time of the next try when all that its locks are held for is instant.
    pub(super) fn deadline(&self) -> Duration {
        self.lock_timeout() + LONGEST_WORK.min(WORK * 2_u32.pow(self.failed.min(6)))
    }

    /// Counts a failed try; the sleep before the next one, or `None` when the bound is reached.
    pub(super) fn again(&mut self, jitter: &mut Jitter) -> Option<Duration> {
        self.failed += 1;
        let cap = SLEEP.1.min(SLEEP.0 * 2_u32.pow(self.failed.min(10)));
        let sleep = jitter.between(SLEEP.0, cap);
        (self.since.elapsed() + sleep < self.bound).then_some(sleep)
    }

    /// Time since the first try began.
    pub(super) fn elapsed(&self) -> Duration {
        self.since.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_grow_to_their_bound() {
        let mut tries = Tries::new(Duration::from_millis(200), Duration::from_mins(15));
        let mut jitter = Jitter(7);
        assert_eq!(tries.lock_timeout(), Duration::from_millis(200));
        for _ in 0..40 {
            let sleep = tries.again(&mut jitter).expect("within the bound");
            assert!((SLEEP.0..=SLEEP.1).contains(&sleep));
        }
        assert_eq!(tries.lock_timeout(), LONGEST_LOCK_TIMEOUT);
        assert_eq!(tries.lock_timeout_of(1), LONGEST_LOCK_TIMEOUT);
        assert_eq!(tries.lock_timeout_of(5), Duration::from_millis(200));
        assert_eq!(tries.deadline(), LONGEST_LOCK_TIMEOUT + LONGEST_WORK);
    }

    #[test]
    fn no_try_after_the_bound() {
        let mut tries = Tries::new(Duration::from_millis(200), Duration::from_millis(400));
        assert_eq!(tries.again(&mut Jitter(1)), None);
    }
}
