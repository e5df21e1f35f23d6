//! The plan: what people review, what `apply` executes. Plain data, no kind of object.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::op::{Hazard, Lock, Probe, Transaction, Verify};
use crate::catalog::id::quoted_list;
use crate::catalog::{Fingerprint, Id, Ident};

/// The stages, in the order in which they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StageName {
    /// Adds beside what is there.
    Expand,
    /// Moves data in batches, builds indexes, proves constraints.
    Backfill,
    /// One short transaction (or a few) that makes the new form the true one.
    Switch,
    /// Takes the old form away, when no client of the old release is left.
    Contract,
}

impl StageName {
    /// Every stage, in order.
    pub const ALL: [Self; 4] = [Self::Expand, Self::Backfill, Self::Switch, Self::Contract];

    /// The word in plan files and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Expand => "expand",
            Self::Backfill => "backfill",
            Self::Switch => "switch",
            Self::Contract => "contract",
        }
    }

    /// The inverse of [`Self::name`].
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.name() == name)
    }
}

/// A reviewed sequence of steps from one state to another.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Number and slug: `0007-severity-level`.
    pub name: String,
    /// `schema 0.1.0`.
    pub made_by: String,
    /// Where the desired texts were elaborated: `PostgreSQL 15.18, local`; empty if nowhere.
    pub elaborated_on: String,
    /// The state it was computed from. Informs; staleness is decided per object.
    pub from: Fingerprint,
    /// The state it leads to.
    pub to: Fingerprint,
    /// The live objects that it touches, as they were.
    pub relies_on: Vec<Reliance>,
    /// Facts that the choice of recipe rests on.
    pub assumes: Vec<Assumption>,
    /// What can lose data or break a client.
    pub hazards: Vec<HazardNote>,
    /// Which hazards the authors allow, and why.
    pub allowances: Vec<Allowance>,
    /// What changes, object by object, for people.
    pub summary: Vec<Summary>,
    /// The stages that have steps, in order.
    pub stages: Vec<Stage>,
    /// Whether it was run on a scratch server, and what came of it.
    pub proof: Proof,
    /// What must be seen before the contract stage begins, wherever it is applied.
    pub gate: Option<Gate>,
}

/// A live object that a plan touches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reliance {
    /// The object, with everything that hangs on it.
    pub id: Id,
    /// Its fingerprint (children included) when the plan was made.
    pub fingerprint: Fingerprint,
    /// Fingerprints of the object itself and each thing that hangs on it, so that a stale plan can
    /// say which of them moved.
    pub parts: Vec<(Id, Fingerprint)>,
}

/// A fact about a live table that the choice of recipe rests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Assumption {
    /// The table.
    pub table: Id,
    /// What was assumed of its number of rows.
    pub rows: RowsBound,
}

/// A bound on a number of rows (as the server estimates them).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RowsBound {
    /// At most so many: the direct statement was chosen.
    AtMost(u64),
    /// More than so many: the staged recipe was chosen. Fewer do no harm.
    Over(u64),
}

/// A hazard of this plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HazardNote {
    /// Which.
    pub hazard: Hazard,
    /// What it is about, for people: `column public.orders.note`.
    pub subject: String,
}

/// A hazard that the authors of the plan allow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Allowance {
    /// Which.
    pub hazard: Hazard,
    /// Why.
    pub reason: Option<String>,
}

/// One changed object with its changed parts, for people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The object at the top: `table public.orders`.
    pub subject: String,
    /// `+` made, `-` taken away, `~` changed.
    pub sign: char,
    /// Its rows as the server estimates them; `None` where unknown or not a table.
    pub rows: Option<u64>,
    /// Its size in bytes.
    pub bytes: Option<u64>,
    /// Sign and text of each part.
    pub lines: Vec<(char, String)>,
}

/// What must be seen before the contract stage begins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gate {
    /// A pattern of `application_name`: `app/1.*`.
    pub clients: Option<String>,
    /// A pattern of the role's name.
    pub user: Option<String>,
    /// How long no session that matches both may have been seen.
    pub idle: Duration,
    /// Whether `pg_stat_statements` must show no statement on what goes away since the switch.
    pub statements: bool,
}

/// What came of running the plan on a scratch server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Proof {
    /// It ends in the desired state there; on which server.
    Proven(String),
    /// Not run, and why.
    #[default]
    Skipped,
    /// Could not be run, and why.
    Impossible(String),
    /// It was proven there, and its steps are other ones now.
    Edited(String),
}

/// One stage with its steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// Which.
    pub name: StageName,
    /// Who can work while and after it runs, for people.
    pub note: String,
    /// The steps, in order.
    pub steps: Vec<Step>,
}

/// What `apply` does at once, and recognises as done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Counted through the whole plan, from 1.
    pub number: u32,
    /// What and why, for people.
    pub title: String,
    /// The recipe or plain statement that it belongs to.
    pub recipe: String,
    /// What it does.
    pub work: Work,
    /// How it stands to transactions. A backfill commits batch by batch.
    pub transaction: Transaction,
    /// Locks on relations that were there before.
    pub locks: Vec<Lock>,
    /// How it is undone.
    pub undo: Undo,
    /// What is lost for good.
    pub loses: Vec<String>,
    /// Objects that it makes or changes, temporary ones included.
    pub makes: Vec<Id>,
    /// Objects that it takes away, temporary ones included.
    pub takes: Vec<Id>,
    /// How a crash outside a transaction is judged.
    pub probe: Option<Probe>,
    /// What must hold afterwards.
    pub verify: Vec<Verify>,
    /// Rows that would make it fail, looked for before anything is changed.
    pub preflight: Vec<Preflight>,
}

/// A look for rows that would make a step fail. None may be found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preflight {
    /// What is wrong with them, for people, behind a count: `rows of table public.orders break check positive`.
    pub title: String,
    /// A query of those rows, their key first.
    pub rows: String,
    /// What to do about them, for people.
    pub help: String,
    /// Statements that make what the query needs in `pg_temp`.
    pub setup: Vec<String>,
    /// The step after which it can be known, because that makes or fills what it reads; `None`: at once.
    pub after: Option<u32>,
}

/// The work of a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Work {
    /// Statements, without closing semicolons.
    Sql(Vec<String>),
    /// Batched updates.
    Backfill(Backfill),
}

/// Batched updates over one table, in key order, resumable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Backfill {
    /// The table.
    pub table: Id,
    /// Columns of a unique, NOT NULL key, in index order; empty: by ctid ranges.
    pub key: Vec<Ident>,
    /// The SET list.
    pub set: String,
    /// Which rows still want it.
    pub filter: String,
    /// Settings made in each batch's transaction (name, value), for the sync triggers to read.
    pub settings: Vec<(String, String)>,
    /// Rows in the table as the server estimates them.
    pub rows: Option<u64>,
    /// Its rows are copied into another table; they stay as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy: Option<Box<Copying>>,
}

/// Rows that are copied in batches: those that are in the other table already, put there by a trigger, are left alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Copying {
    /// The other table.
    pub into: Id,
    /// The columns that get a value.
    pub columns: Vec<Ident>,
    /// What they are called in the table that is read, in the same order; empty: the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<Ident>,
    /// The unique key of the other table that tells a row apart.
    pub unique: Vec<Ident>,
}

impl Backfill {
    /// Which rows still want it; a missing filter means all.
    #[must_use]
    pub fn filter(&self) -> &str {
        if self.filter.trim().is_empty() { "true" } else { &self.filter }
    }

    /// The statement for the rows of `relation` for which `condition` holds.
    ///
    /// A copy locks the rows that it reads: a client that changes one waits until it is in the other table as well, so
    /// that its trigger finds it there; one that changed it before is waited for, and its row is the one that is copied.
    #[must_use]
    pub fn statement(&self, relation: &str, condition: &str) -> String {
        let Some(Copying { into, columns, from, unique }) = self.copy.as_deref() else {
            return format!("UPDATE {relation} SET {} WHERE {condition}", self.set);
        };
        let read = quoted_list(if from.is_empty() { columns } else { from });
        let columns = quoted_list(columns);
        format!(
            "WITH batch AS MATERIALIZED (SELECT {read} FROM {relation} WHERE {condition} FOR SHARE)\n\
             INSERT INTO {} ({columns}) OVERRIDING SYSTEM VALUE SELECT {read} FROM batch ON CONFLICT ({}) DO NOTHING",
            into.sql(),
            quoted_list(unique)
        )
    }

    /// The statement for all rows at once.
    #[must_use]
    pub fn whole(&self) -> String {
        self.statement(&self.table.sql(), self.filter())
    }
}

/// How a step is undone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Undo {
    /// Nothing to do.
    Nothing,
    /// By these statements. Those of a step outside transactions run one by one; the others in one transaction,
    /// which ends at `COMMIT`; between that and `BEGIN` each runs by itself (an index is built again beside the
    /// traffic, a constraint proven again). The first of those must take away what a try that was cut off left.
    Sql(Vec<String>),
    /// Not at all.
    Impossible,
}

/// Ends a transaction of an undo.
pub const COMMIT: &str = "COMMIT";
/// Begins the next one.
pub const BEGIN: &str = "BEGIN";

/// A part of an undo, done as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// In one transaction.
    Inside(Vec<String>),
    /// One by one, outside of any. Cut off, they begin again with the first, which takes away what is half done.
    Outside(Vec<String>),
}

impl Undo {
    /// Its parts, in order; `outside` for a step that is itself outside transactions.
    #[must_use]
    pub fn parts(&self, outside: bool) -> Vec<Part> {
        let Self::Sql(statements) = self else { return Vec::new() };
        let (mut parts, mut open, mut inside) = (Vec::new(), Vec::new(), !outside);
        let mut close = |open: &mut Vec<String>, inside: bool| {
            let statements = std::mem::take(open);
            let part = if inside { Part::Inside(statements.clone()) } else { Part::Outside(statements.clone()) };
            parts.extend((!statements.is_empty()).then_some(part));
        };
        for statement in statements {
            match statement.as_str() {
                COMMIT | BEGIN => {
                    close(&mut open, inside);
                    inside = statement == BEGIN;
                }
                _ => open.push(statement.clone()),
            }
        }
        close(&mut open, inside);
        parts
    }
}

impl Plan {
    /// Every step with its stage, in order.
    pub fn steps(&self) -> impl Iterator<Item = (StageName, &Step)> {
        self.stages.iter().flat_map(|stage| stage.steps.iter().map(move |step| (stage.name, step)))
    }

    /// The stage with this name, if it has steps.
    #[must_use]
    pub fn stage(&self, name: StageName) -> Option<&Stage> {
        self.stages.iter().find(|stage| stage.name == name)
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.stages.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_undo_is_done_part_by_part() {
        let undo = |words: &str| Undo::Sql(words.split(' ').map(str::to_owned).collect());
        let list = |words: &str| words.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let parts = undo("a b COMMIT c d BEGIN e COMMIT BEGIN f").parts(false);
        let expected = [Part::Inside(list("a b")), Part::Outside(list("c d")), Part::Inside(list("e")), Part::Inside(list("f"))];
        assert_eq!(parts, expected);
        assert_eq!(undo("a b").parts(true), [Part::Outside(list("a b"))]);
        assert_eq!(undo("BEGIN a b").parts(true), [Part::Inside(list("a b"))]);
        assert_eq!(Undo::Nothing.parts(false), []);
    }
}
