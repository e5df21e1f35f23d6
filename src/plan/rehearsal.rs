//! What a rehearsal measured, and whether it is what the plan claims. Plain data and a pure judgement;
//! the measuring is [`crate::rehearse`]'s.

use serde::{Deserialize, Serialize};

use super::op::{Cost, LockMode};
use super::plan::{StageName, Step};
use crate::catalog::Fingerprint;

/// The result of running a plan step by step on a scratch clone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rehearsal {
    /// The hash of the plan that was run.
    pub plan: Fingerprint,
    /// Where: `PostgreSQL 15.18, local`.
    pub server: String,
    /// Where the rows came from.
    pub rows: Rows,
    /// The tables that held rows, with their number.
    pub tables: Vec<(String, u64)>,
    /// The steps, in order.
    pub steps: Vec<Measured>,
    /// The stages that were undone again, with what came of it.
    pub undone: Vec<Undone>,
    /// How many statements of clients were prepared at every stage of their life.
    pub queries: u64,
    /// Where the plan and the measurement differ.
    pub findings: Vec<Finding>,
}

/// Where the rows of a rehearsal came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rows {
    /// Made up.
    #[default]
    Generated,
    /// Taken from the live database.
    Sampled,
    /// Written by a script.
    Seeded,
}

impl Rows {
    /// The word in files and for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Generated => "generated",
            Self::Sampled => "sampled",
            Self::Seeded => "seeded",
        }
    }

    /// The inverse of [`Self::name`].
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Generated, Self::Sampled, Self::Seeded].into_iter().find(|rows| rows.name() == name)
    }
}

/// What one step did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Its number.
    pub step: u32,
    /// Milliseconds from its first statement to the end of its last, on the scratch server.
    pub millis: u64,
    /// Rows that it wrote.
    pub rows: u64,
    /// What it did to relations that were there before the plan, by name.
    pub seen: Vec<Seen>,
}

/// What a step did to one relation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The relation, as it is called before the step.
    pub relation: String,
    /// Its other names: at the start, behind the step; then those of the tables that it is a part of.
    #[serde(skip)]
    pub also: Vec<String>,
    /// The strongest lock, if one was seen.
    pub mode: Option<LockMode>,
    /// Read as a whole, under this lock.
    pub scan: Option<LockMode>,
    /// Written again, under this lock.
    pub rewrite: Option<LockMode>,
    /// An index built, under this lock.
    pub build: Option<LockMode>,
    /// The indexes that were built.
    pub indexes: Vec<String>,
}

impl Seen {
    /// Whether there is anything to tell beyond what every client does.
    #[must_use]
    pub fn counts(&self) -> bool {
        self.mode.is_some_and(|mode| mode > LockMode::AccessShare) || self.worst().is_some()
    }

    /// The most expensive thing that was done to it, with the lock under which it was.
    #[must_use]
    pub fn worst(&self) -> Option<(Cost, LockMode)> {
        self.works().last()
    }

    /// What was done to it, cheapest first, each with the lock under which it was.
    pub fn works(&self) -> impl Iterator<Item = (Cost, LockMode)> + use<> {
        [(Cost::Scan, self.scan), (Cost::Build, self.build), (Cost::Rewrite, self.rewrite)]
            .into_iter()
            .filter_map(|(cost, under)| Some((cost, under?)))
    }
}

/// The steps up to the end of a stage, undone again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Undone {
    /// The last stage that was run.
    pub stage: StageName,
    /// What came of it.
    pub result: UndoResult,
}

/// What came of undoing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UndoResult {
    /// The start was there again: every object and every row.
    Exact,
    /// As [`Self::Exact`], but for these columns: where they held NULL they keep what they were filled with.
    Filled(Vec<String>),
    /// The plan says that this step cannot be undone.
    Impossible(u32),
    /// It failed, or something else was there.
    Wrong(String),
}

/// Something that a rehearsal has to say about a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The step that it is about; 0: the plan as a whole.
    pub step: u32,
    /// Whether the rehearsal fails by it; else the plan claims more than it does.
    pub wrong: bool,
    /// What is so, and what the plan says.
    pub text: String,
}

impl Rehearsal {
    /// Whether the plan does what it says.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.findings.iter().all(|finding| !finding.wrong)
    }
}

/// Compares what a step did with what it claims.
///
/// Locks that clients take themselves (up to ROW EXCLUSIVE) need no claim: they block nobody who reads
/// or writes. A claim on a table speaks for its partitions and the
/// sequences that it owns.
#[must_use]
pub fn judge(step: &Step, measured: &Measured) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut tell = |wrong: bool, text: String| findings.push(Finding { step: step.number, wrong, text });
    for seen in &measured.seen {
        let names = || std::iter::once(&seen.relation).chain(&seen.also);
        let claims = || step.locks.iter().filter(|lock| names().any(|name| *name == lock.relation));
        let relation = &seen.relation;
        let claimed = claims().map(|lock| lock.mode).max();
        match (seen.mode.filter(|mode| *mode > LockMode::RowExclusive), claimed) {
            (Some(mode), None) => tell(true, format!("it takes {} on {relation}; the plan names no lock on it", mode.name())),
            (Some(mode), Some(claimed)) if mode > claimed => {
                tell(true, format!("it takes {} on {relation}; the plan says {}", mode.name(), claimed.name()));
            }
            _ => {}
        }
        let cost = claims().map(|lock| lock.cost).max().unwrap_or(Cost::Instant);
        if let Some((worst, under)) =
            seen.works().filter(|(work, _)| *work > cost).max_by_key(|(work, under)| (*under >= LockMode::Share, *work))
        {
            let does = match worst {
                Cost::Instant => continue,
                Cost::Scan => "reads the whole of",
                Cost::Build => "builds an index of",
                Cost::Rewrite => "rewrites",
            };
            tell(
                under >= LockMode::Share,
                format!(
                    "it {does} {relation} under {}; the plan says {}",
                    under.name(),
                    match cost {
                        Cost::Instant => "an instant",
                        other => other.name(),
                    }
                ),
            );
        }
    }
    for lock in &step.locks {
        let found = |seen: &&Seen| seen.relation == lock.relation || seen.also.contains(&lock.relation);
        let of_it: Vec<&Seen> = measured.seen.iter().filter(found).collect();
        let mode = of_it.iter().filter_map(|seen| seen.mode).max();
        let cost = of_it.iter().filter_map(|seen| seen.worst()).map(|(cost, _)| cost).max().unwrap_or(Cost::Instant);
        match mode {
            _ if lock.mode <= LockMode::RowExclusive => {}
            None => tell(false, format!("it takes no lock on {}; the plan says {}", lock.relation, lock.mode.name())),
            Some(mode) if mode < lock.mode => {
                tell(false, format!("it takes only {} on {}; the plan says {}", mode.name(), lock.relation, lock.mode.name()));
            }
            Some(_) if cost < lock.cost => {
                tell(false, format!("it has no {} of {}, which the plan names", lock.cost.name(), lock.relation));
            }
            Some(_) => {}
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::op::Lock;
    use crate::plan::sample;

    fn told(claims: &[(&str, LockMode, Cost)], seen: Seen) -> Vec<(bool, String)> {
        let locks =
            claims.iter().map(|(relation, mode, cost)| Lock { relation: (*relation).to_owned(), mode: *mode, cost: *cost }).collect();
        let step = Step { locks, ..sample::severity_level().stages[0].steps[0].clone() };
        let measured = Measured { step: 1, seen: vec![seen], ..Measured::default() };
        judge(&step, &measured).into_iter().map(|finding| (finding.wrong, finding.text)).collect()
    }

    #[test]
    fn claims_must_cover_what_is() {
        use LockMode::{AccessExclusive, RowExclusive, ShareUpdateExclusive};
        let seen = |mode| Seen { relation: "public.a".into(), mode: Some(mode), ..Seen::default() };
        assert_eq!(told(&[], seen(RowExclusive)), []);
        assert_eq!(
            told(&[], seen(ShareUpdateExclusive)),
            [(true, "it takes SHARE UPDATE EXCLUSIVE on public.a; the plan names no lock on it".into())]
        );
        let claim = [("public.a", ShareUpdateExclusive, Cost::Instant)];
        assert_eq!(
            told(&claim, seen(AccessExclusive)),
            [(true, "it takes ACCESS EXCLUSIVE on public.a; the plan says SHARE UPDATE EXCLUSIVE".into())]
        );
        assert_eq!(
            told(&claim, seen(RowExclusive)),
            [(false, "it takes only ROW EXCLUSIVE on public.a; the plan says SHARE UPDATE EXCLUSIVE".into())]
        );
        let part = Seen { relation: "public.a_1".into(), also: vec!["public.a".into()], ..seen(ShareUpdateExclusive) };
        assert_eq!(told(&claim, part), []);
    }

    #[test]
    fn what_takes_time_under_a_strong_lock_must_be_claimed() {
        use LockMode::{AccessExclusive, ShareUpdateExclusive};
        let seen = |under| Seen { relation: "public.a".into(), mode: Some(under), scan: Some(under), ..Seen::default() };
        let claim = |mode| [("public.a", mode, Cost::Instant)];
        assert_eq!(
            told(&claim(AccessExclusive), seen(AccessExclusive)),
            [(true, "it reads the whole of public.a under ACCESS EXCLUSIVE; the plan says an instant".into())]
        );
        assert!(!told(&claim(ShareUpdateExclusive), seen(ShareUpdateExclusive))[0].0);
        assert_eq!(
            told(&[("public.a", AccessExclusive, Cost::Rewrite)], seen(AccessExclusive)),
            [(false, "it has no rewrite of public.a, which the plan names".into())]
        );
    }
}
