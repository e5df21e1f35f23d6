//! Clients of two releases, each of which knows what its rows must hold.
//!
//! A row is a key and a number; the statements of a release write and read that number by its own names. Every key
//! belongs to one client, so whatever a statement reads, and whatever the table holds at the end, is known exactly.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use schema::pg::{Session, Target, connect, explain};
use tokio::task::JoinHandle;
use tokio_postgres::types::Type;

/// A client does something else between two statements.
const PAUSE: Duration = Duration::from_millis(2);

/// The statements of one release, by what they do; `$1` is the key, `$2` the number, both bigint.
#[derive(Clone, Debug, Default)]
pub struct Release {
    statements: BTreeMap<String, String>,
}

impl Release {
    /// Those of `release` in a text of sections `-- release verb`; verbs are insert, upsert, update, delete, read.
    pub fn read(text: &str, release: &str) -> Result<Self, String> {
        let mut found = Self::default();
        for section in text.split("\n-- ").map(|section| section.trim_start_matches("-- ")) {
            let (head, sql) = section.split_once('\n').ok_or_else(|| format!("a section without a statement: {section}"))?;
            match head.split_whitespace().collect::<Vec<_>>()[..] {
                [name, verb] if name == release => {
                    found.statements.insert(verb.to_owned(), sql.trim().trim_end_matches(';').to_owned());
                }
                [_, _] => {}
                _ => return Err(format!("what is the section {head}?")),
            }
        }
        if found.statements.contains_key("read") { Ok(found) } else { Err(format!("{release} reads nothing")) }
    }

    /// How it reads.
    pub fn read_sql(&self) -> String {
        self.get("read").unwrap_or_default().to_owned()
    }

    /// How it does it.
    pub fn get(&self, verb: &str) -> Option<&str> {
        self.statements.get(verb).map(String::as_str)
    }
}

/// What one client did and felt.
#[derive(Debug, Default)]
pub struct Felt {
    /// What each of its rows must hold; `None`: it deleted it.
    pub rows: BTreeMap<i64, Option<i64>>,
    /// Statements that were answered.
    pub statements: u64,
    /// The longest time that one took, and which.
    pub longest: (Duration, String),
    /// What went wrong: failed statements, and rows that held something else.
    pub wrong: Vec<String>,
}

impl Felt {
    /// Adds what another client felt.
    pub fn add(&mut self, other: Self) {
        let Self { rows, statements, longest, wrong } = other;
        self.rows.extend(rows);
        self.statements += statements;
        if longest.0 > self.longest.0 {
            self.longest = longest;
        }
        self.wrong.extend(wrong);
    }
}

/// A client at work.
#[derive(Debug)]
pub struct Client {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Felt>,
}

/// What a client is.
#[derive(Clone, Debug)]
pub struct Kind {
    /// Its `application_name`.
    pub name: String,
    /// It writes by the first and reads by the last of these.
    pub releases: Vec<Release>,
    /// The first of the new keys that it may use; it never needs more than a thousand million.
    pub first_key: i64,
    /// Rows that are there when it begins, and belong to it.
    pub own: BTreeMap<i64, i64>,
    /// Whether it prepares each statement once and for all.
    pub prepares: bool,
}

impl Client {
    /// Connects it and lets it work.
    pub async fn start(target: &Target, kind: Kind) -> Result<Self, String> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut target = target.clone();
        target.application_name = Some(kind.name.clone());
        let session = connect(&target).await.map_err(|error| error.to_string())?;
        let task = tokio::spawn(work(session, kind, Arc::clone(&stop)));
        Ok(Self { stop, task })
    }

    /// Lets it end its statement, and gives what it felt.
    pub async fn stop(self) -> Felt {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap_or_else(|error| Felt { wrong: vec![error.to_string()], ..Felt::default() })
    }
}

struct Worker {
    session: Session,
    prepared: BTreeMap<String, tokio_postgres::Statement>,
    prepares: bool,
    name: String,
    felt: Felt,
}

impl Worker {
    /// One statement; what it reads is the number of the row, if it reads.
    async fn run(&mut self, sql: &str, key: i64, number: i64) -> Option<Vec<Option<i64>>> {
        let begun = Instant::now();
        let uses_number = sql.contains("$2");
        let answer = if self.prepares {
            let types: &[Type] = if uses_number { &[Type::INT8, Type::INT8] } else { &[Type::INT8] };
            let statement = if let Some(statement) = self.prepared.get(sql) {
                Ok(statement.clone())
            } else {
                self.session.client().prepare_typed(sql, types).await
            };
            match statement {
                Ok(statement) => {
                    self.prepared.insert(sql.to_owned(), statement.clone());
                    if uses_number {
                        self.session.client().query(&statement, &[&key, &number]).await
                    } else {
                        self.session.client().query(&statement, &[&key]).await
                    }
                }
                Err(error) => Err(error),
            }
        } else if uses_number {
            self.session.client().query_typed(sql, &[(&key, Type::INT8), (&number, Type::INT8)]).await
        } else {
            self.session.client().query_typed(sql, &[(&key, Type::INT8)]).await
        };
        let took = begun.elapsed();
        if took > self.felt.longest.0 {
            self.felt.longest = (took, sql.to_owned());
        }
        match answer {
            Ok(rows) => {
                self.felt.statements += 1;
                Some(rows.iter().map(|row| row.try_get(0).unwrap_or(None)).collect())
            }
            Err(error) => {
                self.felt.wrong.push(format!("{}: {sql} ({key}, {number}): {}", self.name, explain(&error)));
                None
            }
        }
    }
}

async fn work(session: Session, kind: Kind, stop: Arc<AtomicBool>) -> Felt {
    let Kind { name, releases, first_key, own, prepares } = kind;
    let mut worker = Worker { session, prepared: BTreeMap::new(), prepares, name, felt: Felt::default() };
    let keys: Vec<i64> = own.keys().copied().collect();
    let mut rows: BTreeMap<i64, Option<i64>> = own.into_iter().map(|(key, number)| (key, Some(number))).collect();
    let mut seed = u64::try_from(first_key).unwrap_or_default() + 1;
    let mut next = first_key;
    let mut fresh: Vec<i64> = Vec::new();
    while !stop.load(Ordering::Relaxed) && !worker.session.is_closed() && worker.felt.wrong.len() < 5 {
        let writing = &releases[usize::try_from(random(&mut seed) % releases.len() as u64).unwrap_or_default()];
        let reading = &releases[usize::try_from(random(&mut seed) % releases.len() as u64).unwrap_or_default()];
        let number = i64::try_from(random(&mut seed) % 1_000).unwrap_or_default();
        let pick = random(&mut seed);
        // Rows that were there before, and its own new ones.
        let pool = if fresh.is_empty() || pick.is_multiple_of(2) && !keys.is_empty() { &keys } else { &fresh };
        let known = pool.get(usize::try_from(pick / 2 % pool.len().max(1) as u64).unwrap_or_default()).copied();
        let verb = match random(&mut seed) % 100 {
            0..25 => "insert",
            25..40 => "upsert",
            40..70 => "update",
            70..80 => "delete",
            _ => "read",
        };
        let key = match (verb, known) {
            ("insert", _) | (_, None) => {
                next += 1;
                next
            }
            (_, Some(key)) => key,
        };
        let verb = if known.is_none() { "insert" } else { verb };
        if let Some(sql) = writing.get(verb).filter(|_| verb != "read") {
            // A statement that fails changes nothing; the failure is noted.
            if worker.run(sql, key, number).await.is_some() {
                match verb {
                    "insert" | "upsert" => {
                        rows.insert(key, Some(number));
                        if verb == "insert" {
                            fresh.push(key);
                        }
                    }
                    "update" => {
                        rows.entry(key).and_modify(|row| *row = row.map(|_| number));
                    }
                    _ => {
                        rows.insert(key, None);
                    }
                }
            }
        }
        let sql = reading.get("read").unwrap_or_default();
        if let Some(found) = worker.run(sql, key, number).await {
            let expected: Vec<Option<i64>> = rows.get(&key).copied().flatten().map(Some).into_iter().collect();
            if found != expected {
                let name = &worker.name;
                worker.felt.wrong.push(format!("{name}: after {verb} row {key} holds {found:?}, not {expected:?}, says {sql}"));
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    let Worker { session, mut felt, .. } = worker;
    session.close().await;
    felt.rows = rows;
    felt
}

/// Steele and Vigna's splitmix64: the same numbers in every run.
fn random(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
