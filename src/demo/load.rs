//! Clients of a database: each repeats the statements of its release over a connection of its own,
//! and notes how long each took and what failed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio_postgres::types::Type;

use crate::pg::{Session, SessionError, Target, connect, explain};

/// A client does something else between two statements.
const PAUSE: Duration = Duration::from_millis(8);

/// As many failures are kept word by word.
const FAILURES_KEPT: usize = 5;

/// What a statement does, so that it can be checked afterwards that all of it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It adds one row.
    Inserts,
    /// It changes one row.
    Updates,
    /// It changes nothing.
    Reads,
}

/// A statement with two bigint parameters: `$1` is a number that no other call gets, `$2` the
/// number of a row that is there.
#[derive(Clone, Copy, Debug)]
pub struct Statement {
    /// Its text.
    pub sql: &'static str,
    /// What it does.
    pub effect: Effect,
}

/// What the clients of one release do, over and over.
#[derive(Clone, Copy, Debug)]
pub struct Release {
    /// How it is called: the clients' `application_name`.
    pub name: &'static str,
    /// Its statements, in the order in which they are repeated.
    pub statements: &'static [Statement],
}

/// What clients felt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// Time of every statement, in no order.
    pub latencies: Vec<Duration>,
    /// Statements that failed.
    pub failed: u64,
    /// The first of them: statement and message.
    pub failures: Vec<String>,
    /// Rows that were inserted.
    pub inserted: u64,
    /// Rows that were updated.
    pub updated: u64,
}

impl Measured {
    /// The longest time that a statement took.
    #[must_use]
    pub fn longest(&self) -> Duration {
        self.latencies.iter().max().copied().unwrap_or_default()
    }

    /// The time within which so many of a thousand statements were answered.
    #[must_use]
    pub fn permille(&self, permille: usize) -> Duration {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        let at = (sorted.len() * permille / 1000).min(sorted.len().saturating_sub(1));
        sorted.get(at).copied().unwrap_or_default()
    }

    /// Adds what other clients felt.
    pub fn add(&mut self, other: Self) {
        let Self { latencies, failed, failures, inserted, updated } = other;
        self.latencies.extend(latencies);
        self.failed += failed;
        self.failures.extend(failures);
        self.failures.truncate(FAILURES_KEPT);
        self.inserted += inserted;
        self.updated += updated;
    }
}

/// Clients at work. Dropping them ends them at once.
#[derive(Debug)]
pub struct Clients {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<Measured>>,
}

impl Clients {
    /// Connects so many clients of a release and lets them work. `first` keeps the numbers of
    /// different groups of clients apart; `rows` is how many rows there are to touch.
    ///
    /// # Errors
    /// A connection that fails, a statement that the server does not take.
    pub async fn start(target: &Target, release: Release, count: u32, first: u32, rows: u64) -> Result<Self, SessionError> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut clients = Self { stop: Arc::clone(&stop), tasks: Vec::new() };
        let mut target = target.clone();
        target.application_name = Some(release.name.to_owned());
        for number in first..first + count {
            let session = connect(&target).await?;
            let mut prepared = Vec::new();
            for statement in release.statements {
                let types = [Type::INT8, Type::INT8];
                prepared.push((*statement, session.client().prepare_typed(statement.sql, &types).await?));
            }
            clients.tasks.push(tokio::spawn(work(session, prepared, Arc::clone(&stop), number, rows.max(1))));
        }
        Ok(clients)
    }

    /// Lets every client end its statement, and gives what they felt.
    pub async fn stop(mut self) -> Measured {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Measured::default();
        for task in std::mem::take(&mut self.tasks) {
            match task.await {
                Ok(measured) => all.add(measured),
                Err(error) => all.add(Measured { failed: 1, failures: vec![error.to_string()], ..Measured::default() }),
            }
        }
        all
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn work(
    session: Session,
    statements: Vec<(Statement, tokio_postgres::Statement)>,
    stop: Arc<AtomicBool>,
    number: u32,
    rows: u64,
) -> Measured {
    let mut measured = Measured::default();
    // Room for a thousand million calls of each client.
    let mut unique = i64::from(number) * 1_000_000_000;
    let mut seed = u64::from(number) + 1;
    for (statement, prepared) in statements.iter().cycle() {
        if stop.load(Ordering::Relaxed) || session.is_closed() {
            break;
        }
        unique += 1;
        let row = i64::try_from(random(&mut seed) % rows).unwrap_or_default();
        let begun = Instant::now();
        let result = session.client().query(prepared, &[&unique, &row]).await;
        measured.latencies.push(begun.elapsed());
        match (result, statement.effect) {
            (Ok(_), Effect::Inserts) => measured.inserted += 1,
            (Ok(_), Effect::Updates) => measured.updated += 1,
            (Ok(_), Effect::Reads) => {}
            (Err(error), _) => {
                measured.failed += 1;
                if measured.failures.len() < FAILURES_KEPT {
                    measured.failures.push(format!("{}: {}", statement.sql, explain(&error)));
                }
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    session.close().await;
    measured
}

/// Steele and Vigna's splitmix64: the same numbers in every run.
fn random(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures() {
        let one = Measured { latencies: (1..=999).map(Duration::from_millis).collect(), inserted: 3, ..Measured::default() };
        let mut all = Measured { latencies: vec![Duration::from_secs(2)], failed: 1, failures: vec!["x".into()], ..Measured::default() };
        all.add(one);
        assert_eq!(
            (all.longest(), all.permille(500), all.permille(999)),
            (Duration::from_secs(2), Duration::from_millis(501), Duration::from_secs(2))
        );
        assert_eq!((all.failed, all.inserted), (1, 3));
        assert_eq!(Measured::default().longest(), Duration::ZERO);
    }
}
