//! Whom a read waits for. PostgreSQL writes a view out, and counts a row, only under a lock on the table: whoever holds it
//! exclusively is waited for, and is named.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::blockers::{Blocker, blockers};
use super::session::{Session, connect};

/// How long a read takes before it is looked who is in the way.
const LOOK: Duration = Duration::from_secs(2);

/// How long whoever did not say otherwise waits.
const MOST: Duration = Duration::from_mins(15);

/// For how long a read waits for the locks of others, and who is told whom it waits for.
#[derive(Clone)]
pub struct Waits {
    most: Duration,
    tell: Arc<dyn Fn(&str) + Send + Sync>,
}

impl fmt::Debug for Waits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Waits {{ most: {:?} }}", self.most)
    }
}

/// Nobody is told; the error names whom it waited for.
impl Default for Waits {
    fn default() -> Self {
        Self::new(MOST, |_| {})
    }
}

/// A lock was not given back in time.
#[derive(Debug, thiserror::Error)]
#[error("the database could not be read within {}: a lock is {who}; nothing was touched", crate::config::duration::span(*.most))]
pub struct Blocked {
    most: Duration,
    who: String,
}

impl Waits {
    /// Waits no longer than `most`; `tell` is told of everyone who is waited for.
    #[must_use]
    pub fn new(most: Duration, tell: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self { most, tell: Arc::new(tell) }
    }

    /// What `work` gives, which reads over `sessions` of one database.
    ///
    /// # Errors
    /// A lock that another session holds for longer than that; the read is cancelled.
    pub async fn over<T>(&self, sessions: &[&Session], work: impl Future<Output = T>) -> Result<T, Blocked> {
        let begun = Instant::now();
        tokio::pin!(work);
        let mut told = Vec::new();
        loop {
            let look = async {
                tokio::time::sleep(LOOK).await;
                in_the_way(sessions).await
            };
            // Beside the work: a look that takes long must not hold up a read that has ended.
            let found = tokio::select! {
                biased;
                done = &mut work => return Ok(done),
                found = look => found,
            };
            let Some(first) = found.first() else { continue };
            let who = format!("held by {first}; it can be ended with: {}", first.ended_by());
            if begun.elapsed() >= self.most {
                for session in sessions {
                    // It may not be reached; the session ends with us all the same.
                    let _ = tokio::time::timeout(LOOK, session.cancel_handle().cancel()).await;
                }
                return Err(Blocked { most: self.most, who });
            }
            let names: Vec<_> = found.into_iter().map(|one| (one.pid, one.query)).collect();
            if names != told {
                (self.tell)(&format!("Reading the database waits for a lock, {who}"));
                told = names;
            }
        }
    }
}

/// Who blocks one of these sessions, seen over another one; nobody where it cannot be seen.
async fn in_the_way(sessions: &[&Session]) -> Vec<Blocker> {
    let look = async {
        let watcher = connect(sessions.first()?.target()).await.ok()?;
        let mut found = Vec::new();
        for session in sessions {
            found.extend(blockers(watcher.client(), session.backend_pid).await.ok()?);
        }
        watcher.close().await;
        Some(found)
    };
    tokio::time::timeout(LOOK, look).await.ok().flatten().unwrap_or_default()
}
