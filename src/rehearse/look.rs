//! What a session does to relations, seen from a second connection (`pg_locks`), from the relations'
//! files, and from what the server says at DEBUG1.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_postgres::Client;

use crate::catalog::id::dotted;
use crate::pg::{Session, SessionError};
use crate::plan::op::LockMode;
use crate::plan::rehearsal::Seen;

type Result<T> = std::result::Result<T, SessionError>;

/// A relation of the database.
#[derive(Clone, Debug)]
pub(super) struct Relation {
    /// Schema and name, as claims write them.
    pub(super) name: String,
    /// The name alone, as messages write it.
    plain: String,
    /// `pg_class.relkind`.
    kind: char,
    /// Its file: another one means that it was written again.
    file: i64,
    /// The table of an index.
    table: Option<i64>,
    /// The table that it is a partition (or child) of, or that owns the sequence.
    parent: Option<i64>,
}

/// The relations of a database by oid, those of the system left out.
pub(super) type Relations = BTreeMap<i64, Relation>;

/// Reads the relations.
pub(super) async fn relations(client: &Client) -> Result<Relations> {
    let rows = client
        .query(
            "SELECT c.oid::int8, n.nspname::text, c.relname::text, c.relkind::text, c.relfilenode::int8, i.indrelid::int8,
               COALESCE(h.inhparent, (SELECT d.refobjid FROM pg_catalog.pg_depend d WHERE c.relkind = 'S' AND d.classid = 'pg_catalog.pg_class'::regclass
                 AND d.objid = c.oid AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i') LIMIT 1))::int8
             FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
             LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid
             LEFT JOIN pg_catalog.pg_inherits h ON h.inhrelid = c.oid
             WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'i', 'I')
               AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%'",
            &[],
        )
        .await?;
    Ok(rows
        .iter()
        .map(|row| {
            let (schema, plain): (String, String) = (row.get(1), row.get(2));
            let relation = Relation {
                name: dotted(&[schema.into(), plain.as_str().into()]),
                plain,
                kind: row.get::<_, String>(3).chars().next().unwrap_or(' '),
                file: row.get(4),
                table: row.get(5),
                parent: row.get(6),
            };
            (row.get(0), relation)
        })
        .collect())
}

/// The lock that `pg_locks` calls so.
fn mode(name: &str) -> Option<LockMode> {
    let name = name.strip_suffix("Lock")?;
    LockMode::ALL.into_iter().find(|mode| mode.name().split(' ').map(capital).collect::<String>() == name)
}

fn capital(word: &str) -> String {
    word[..1].to_owned() + &word[1..].to_lowercase()
}

/// The strongest lock of a process on each relation, those that it waits for included; and whether it
/// waits for any lock.
pub(super) async fn locks(watcher: &Client, pid: i32) -> Result<(BTreeMap<i64, LockMode>, bool)> {
    let rows = watcher
        .query(
            "SELECT CASE WHEN locktype = 'relation' THEN relation::int8 END, mode, granted FROM pg_catalog.pg_locks
             WHERE pid = $1 AND (locktype <> 'relation' OR database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()))",
            &[&pid],
        )
        .await?;
    let mut strongest = BTreeMap::new();
    for row in &rows {
        if let (Some(relation), Some(mode)) = (row.get::<_, Option<i64>>(0), mode(row.get(1))) {
            let entry = strongest.entry(relation).or_insert(mode);
            *entry = mode.max(*entry);
        }
    }
    Ok((strongest, rows.iter().any(|row| !row.get::<_, bool>(2))))
}

/// Rows read by sequential scans of this session so far, by relation.
pub(super) async fn scanned(client: &Client) -> Result<BTreeMap<i64, i64>> {
    let rows = client
        .query("SELECT relid::int8, seq_tup_read FROM pg_catalog.pg_stat_xact_all_tables WHERE seq_tup_read > 0 AND schemaname NOT LIKE 'pg\\_%'", &[])
        .await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// What the server says while it works.
#[derive(Clone, Default)]
pub(super) struct Messages(Arc<Mutex<Vec<String>>>);

impl Messages {
    /// Listens to a session.
    pub(super) fn of(session: &Session) -> Self {
        let messages = Self::default();
        let sink = Arc::clone(&messages.0);
        session.on_notice(move |notice| sink.lock().unwrap_or_else(PoisonError::into_inner).push(notice.message));
        messages
    }

    /// What was said since the last call.
    pub(super) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Collects what a step does.
pub(super) struct Watch<'a> {
    /// The relations that were there before the plan.
    start: &'a Relations,
    /// As they were before the step.
    before: &'a Relations,
    /// Rows of the tables at the start.
    rows: &'a BTreeMap<i64, i64>,
    seen: BTreeMap<i64, Seen>,
    /// Whether locks on indexes are those on their tables: not where CONCURRENTLY takes them last.
    inside: bool,
}

/// What one statement did.
pub(super) struct Statement {
    /// The locks behind it.
    pub(super) locks: BTreeMap<i64, LockMode>,
    /// The relations behind it.
    pub(super) relations: Relations,
    /// What the server said.
    pub(super) messages: Vec<String>,
    /// Rows read by sequential scans, by relation.
    pub(super) scanned: BTreeMap<i64, i64>,
    /// Tables of the foreign keys that were validated, by the constraint's name.
    pub(super) keys: BTreeMap<String, i64>,
}

impl<'a> Watch<'a> {
    pub(super) fn new(start: &'a Relations, before: &'a Relations, rows: &'a BTreeMap<i64, i64>, inside: bool) -> Self {
        Self { start, before, rows, seen: BTreeMap::new(), inside }
    }

    /// The table of an index, else the relation itself; nothing for what the plan made.
    fn home(&self, oid: i64) -> Option<i64> {
        let relation = self.start.get(&oid)?;
        match (relation.kind, relation.table) {
            ('i' | 'I', Some(table)) => self.start.contains_key(&table).then_some(table),
            _ => Some(oid),
        }
    }

    fn seen(&mut self, oid: i64) -> &mut Seen {
        self.seen.entry(oid).or_default()
    }

    /// Adds locks.
    pub(super) fn locks(&mut self, locks: &BTreeMap<i64, LockMode>) {
        for (oid, mode) in locks {
            let Some(home) = self.home(*oid).filter(|home| home == oid || self.inside) else { continue };
            let seen = self.seen(home);
            seen.mode = seen.mode.max(Some(*mode));
        }
    }

    /// Adds what a statement did.
    pub(super) fn statement(&mut self, statement: &Statement) {
        let Statement { locks, relations, messages, scanned, keys } = statement;
        self.locks(locks);
        let under = |oid: i64| locks.get(&oid).copied().unwrap_or(LockMode::AccessShare);
        for (oid, read) in scanned {
            // A glance is no scan: half of the table is.
            if self.home(*oid).is_some() && *read > 0 && read * 2 >= self.rows.get(oid).copied().unwrap_or(1) {
                let mode = under(*oid);
                let seen = self.seen(*oid);
                seen.scan = seen.scan.max(Some(mode));
            }
        }
        for (oid, now) in relations {
            let rewritten = self.before.get(oid).is_some_and(|was| was.file != now.file && matches!(was.kind, 'r' | 'm'));
            if rewritten && self.home(*oid).is_some() {
                let mode = under(*oid);
                let seen = self.seen(*oid);
                seen.rewrite = seen.rewrite.max(Some(mode));
            }
        }
        for message in messages {
            self.message(message, locks, relations, keys);
        }
    }

    /// What DEBUG1 says of tables (PostgreSQL's tablecmds.c and index.c, 14 to 18).
    fn message(&mut self, message: &str, locks: &BTreeMap<i64, LockMode>, relations: &Relations, keys: &BTreeMap<String, i64>) {
        let named = |start: &str| message.strip_prefix(start)?.split('"').next().map(str::to_owned);
        let (table, index) = if let Some(table) = named("verifying table \"") {
            (table, None)
        } else if let Some(key) = named("validating foreign key constraint \"") {
            // Whether the other table is read as a whole is for the planner, who is told not to.
            if let Some(table) = keys.get(&key).filter(|table| self.home(**table).is_some()) {
                let mode = locks.get(table).copied().unwrap_or(LockMode::AccessShare);
                let seen = self.seen(*table);
                seen.scan = seen.scan.max(Some(mode));
            }
            return;
        } else if let Some(index) = named("building index \"") {
            let Some(table) = message.split('"').nth(3) else { return };
            (table.to_owned(), Some(index))
        } else {
            return;
        };
        // The name has no schema: of several relations it is the one with the strongest lock.
        let called = |relation: &Relation| relation.plain == table && matches!(relation.kind, 'r' | 'm' | 'p');
        let found = relations.iter().filter(|(_, relation)| called(relation)).map(|(oid, _)| *oid);
        let Some(oid) = found.max_by_key(|oid| locks.get(oid).copied()) else { return };
        if self.home(oid).is_none() {
            return;
        }
        let mode = locks.get(&oid).copied().unwrap_or(LockMode::AccessShare);
        let seen = self.seen(oid);
        match index {
            None => seen.scan = seen.scan.max(Some(mode)),
            Some(index) => {
                seen.build = seen.build.max(Some(mode));
                if !seen.indexes.contains(&index) {
                    seen.indexes.push(index);
                }
            }
        }
    }

    /// Everything that was seen, by name.
    pub(super) fn done(self, after: &Relations) -> Vec<Seen> {
        let Self { start, before, seen, .. } = self;
        let name = |relations: &Relations, oid: i64| relations.get(&oid).map(|relation| relation.name.clone());
        let mut list: Vec<Seen> = seen
            .into_iter()
            .map(|(oid, seen)| {
                let mut also = Vec::new();
                let mut at = Some(oid);
                while let Some(oid) = at {
                    also.extend([start, before, after].iter().filter_map(|relations| name(relations, oid)));
                    at = [before, after].iter().find_map(|relations| relations.get(&oid)?.parent);
                }
                let relation = name(before, oid).or_else(|| name(start, oid)).unwrap_or_default();
                also.retain(|other| *other != relation);
                also.dedup();
                Seen { relation, also, ..seen }
            })
            .filter(Seen::counts)
            .collect();
        list.sort_by(|a, b| a.relation.cmp(&b.relation));
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_of_pg_locks() {
        assert_eq!(mode("AccessExclusiveLock"), Some(LockMode::AccessExclusive));
        assert_eq!(mode("ShareUpdateExclusiveLock"), Some(LockMode::ShareUpdateExclusive));
        assert_eq!(mode("ShareLock"), Some(LockMode::Share));
        assert_eq!(mode("SIReadLock"), None);
    }
}
