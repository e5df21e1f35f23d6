//! Numbers, sizes and phrases, the same in every rendering.

use crate::plan::op::{Cost, Lock, Transaction};
use crate::plan::plan::{Backfill, Gate, Preflight, Proof, Step, Undo, Work};
use crate::plan::policy::{Judged, Standing};

/// A number with a comma between thousands: `12,000,000`.
#[must_use]
pub fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A size in powers of 1024 with one decimal below ten: `1.4 GB`, `310 MB`, `12 bytes`.
#[must_use]
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if n < 1024 {
        return format!("{n} bytes");
    }
    // In tenths of a unit, rounded: exact, and without floating point.
    let tenths = |unit: usize| (u128::from(n) * 10 + (1 << (10 * unit + 9))) >> (10 * (unit + 1));
    let unit = (0..UNITS.len()).find(|unit| tenths(*unit) < 10_240).unwrap_or(UNITS.len() - 1);
    let tenths = tenths(unit);
    if tenths < 100 { format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit]) } else { format!("{} {}", tenths / 10, UNITS[unit]) }
}

/// `1 step`, `2 steps`.
pub(super) fn counted(n: usize, noun: &str) -> String {
    format!("{} {noun}{}", number(n as u64), if n == 1 { "" } else { "s" })
}

/// Breaks text at spaces into lines of at most `width` columns; a longer word stands alone. Spaces
/// within a line are kept as they are.
#[must_use]
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let (mut lines, mut line) = (Vec::new(), String::new());
    for word in text.split_inclusive(' ') {
        let columns = line.chars().count() + word.trim_end().chars().count();
        if !line.is_empty() && columns > width {
            lines.push(line.trim_end().to_owned());
            line.clear();
        }
        line.push_str(word);
    }
    if !line.is_empty() || lines.is_empty() {
        lines.push(line.trim_end().to_owned());
    }
    lines
}

/// The mode, the relation, and for how long: `ACCESS EXCLUSIVE on public.orders, an instant`.
pub(super) fn lock(lock: &Lock) -> String {
    format!("{} on {}, {}", lock.mode.name(), lock.relation, cost(lock.cost))
}

fn cost(cost: Cost) -> &'static str {
    match cost {
        Cost::Instant => "an instant",
        Cost::Scan => "while it reads the table",
        Cost::Build => "while it builds the index",
        Cost::Rewrite => "while it rewrites the table",
    }
}

/// The statement of a backfill, for people.
pub(super) fn batch(backfill: &Backfill) -> String {
    match backfill.copy {
        None => format!("UPDATE {} SET {}\nWHERE {}", backfill.table.sql(), backfill.set, backfill.filter),
        Some(_) => backfill.whole(),
    }
}

/// What a step does to others while it runs, one phrase each.
pub(super) fn facts(step: &Step) -> Vec<String> {
    let mut facts = Vec::new();
    if let Work::Backfill(backfill) = &step.work {
        facts.push(match backfill.rows {
            Some(rows) => format!("{} rows in batches", number(rows)),
            None => "in batches".to_owned(),
        });
    } else {
        facts.extend(step.locks.iter().map(lock));
    }
    match step.transaction {
        Transaction::Outside if !matches!(step.work, Work::Backfill(_)) => facts.push("outside a transaction".to_owned()),
        Transaction::CommitAfter => facts.push("usable after its commit".to_owned()),
        Transaction::Inside | Transaction::Outside => {}
    }
    facts
}

/// When a look for rows happens: `first, look for`, `after step 2, look for`.
pub(super) fn preflight_moment(preflight: &Preflight) -> String {
    preflight.after.map_or_else(|| "first, look for".to_owned(), |step| format!("after step {step}, look for"))
}

/// What a gate waits for: `apply goes on when no client app/1.* was seen for 24h`.
pub(super) fn gate(gate: &Gate) -> String {
    let Gate { clients, user, idle, statements } = gate;
    let who = match (clients, user) {
        (Some(clients), Some(user)) => Some(format!("no client {clients} of user {user}")),
        (Some(clients), None) => Some(format!("no client {clients}")),
        (None, Some(user)) => Some(format!("no client of user {user}")),
        (None, None) => None,
    };
    let what = statements.then(|| "no statement on what goes away".to_owned());
    let both = who.into_iter().chain(what).collect::<Vec<_>>().join(" and ");
    format!("apply goes on when {both} was seen for {}", crate::config::duration::format(*idle))
}

/// `undo: yes` and its likes.
pub(super) fn undo(step: &Step) -> &'static str {
    match step.undo {
        Undo::Nothing => "undo: not needed",
        Undo::Sql(_) => "undo: yes",
        Undo::Impossible => "undo: no",
    }
}

/// Where and with what result the plan was tried.
pub(super) fn proof(proof: &Proof) -> String {
    match proof {
        Proof::Proven(server) => format!("Proven on {server}: it ends in the desired state."),
        Proof::Edited(server) => format!("Not proven: its steps were edited since it was proven on {server}."),
        Proof::Skipped => "Not proven: it was not run on a scratch server.".to_owned(),
        Proof::Impossible(why) => format!("Not proven: {why}"),
    }
}

/// What the policy says of a hazard and what to do about it.
pub(super) fn standing(judged: &Judged<'_>) -> String {
    match judged.standing {
        Standing::Permitted => "the policy lets it run".to_owned(),
        Standing::Allowed(Some(reason)) => format!("allowed: {reason}"),
        Standing::Allowed(None) => "allowed".to_owned(),
        Standing::Missing => format!("allow it with --allow {}", judged.hazard),
        Standing::Forbidden => "forbidden in this environment".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_sizes() {
        assert_eq!([0, 999, 1000, 12_000_000].map(number), ["0", "999", "1,000", "12,000,000"]);
        assert_eq!([12, 1024, 1_503_238_553, 325_058_560, u64::MAX].map(bytes), ["12 bytes", "1.0 kB", "1.4 GB", "310 MB", "16384 PB"]);
    }

    #[test]
    fn wrapping_keeps_long_words_and_inner_spaces() {
        assert_eq!(wrap("a  b cccccccc dd", 5), ["a  b", "cccccccc", "dd"]);
        assert_eq!(wrap("", 5), [""]);
    }
}
