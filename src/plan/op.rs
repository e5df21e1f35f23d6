//! What one statement, or a few that belong together, do: the words in which kinds and recipes
//! speak to the planner. Refers to objects by id, so it knows no kind.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::catalog::Id;

/// PostgreSQL's table-level lock modes, weakest first (manual, 13.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum LockMode {
    /// Conflicts only with ACCESS EXCLUSIVE.
    AccessShare,
    /// SELECT FOR UPDATE and the referenced table of VALIDATE.
    RowShare,
    /// INSERT, UPDATE, DELETE.
    RowExclusive,
    /// Blocks other DDL and vacuum, neither reads nor writes.
    ShareUpdateExclusive,
    /// Blocks writes.
    Share,
    /// Blocks writes, and itself.
    ShareRowExclusive,
    /// Blocks writes and SELECT FOR UPDATE.
    Exclusive,
    /// Blocks everything.
    AccessExclusive,
}

impl LockMode {
    /// Every mode, weakest first.
    pub const ALL: [Self; 8] = [
        Self::AccessShare,
        Self::RowShare,
        Self::RowExclusive,
        Self::ShareUpdateExclusive,
        Self::Share,
        Self::ShareRowExclusive,
        Self::Exclusive,
        Self::AccessExclusive,
    ];

    /// PostgreSQL's name for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AccessShare => "ACCESS SHARE",
            Self::RowShare => "ROW SHARE",
            Self::RowExclusive => "ROW EXCLUSIVE",
            Self::ShareUpdateExclusive => "SHARE UPDATE EXCLUSIVE",
            Self::Share => "SHARE",
            Self::ShareRowExclusive => "SHARE ROW EXCLUSIVE",
            Self::Exclusive => "EXCLUSIVE",
            Self::AccessExclusive => "ACCESS EXCLUSIVE",
        }
    }

    /// The inverse of [`Self::name`].
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name() == name)
    }
}

/// What a lock is held for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Cost {
    /// A change of the catalog only.
    Instant,
    /// Reads the whole table.
    Scan,
    /// Builds an index.
    Build,
    /// Writes the whole table again.
    Rewrite,
}

impl Cost {
    /// Every cost, least first.
    pub const ALL: [Self; 4] = [Self::Instant, Self::Scan, Self::Build, Self::Rewrite];

    /// The word in plan files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Instant => "instant",
            Self::Scan => "scan",
            Self::Build => "build",
            Self::Rewrite => "rewrite",
        }
    }

    /// The inverse of [`Self::name`].
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cost| cost.name() == name)
    }
}

/// A lock that a step takes, and for how long.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Lock {
    /// The relation as people write it: `public.orders`.
    pub relation: String,
    /// The strongest mode taken on it.
    pub mode: LockMode,
    /// What it is held for.
    pub cost: Cost,
}

/// How a step stands to transactions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Transaction {
    /// In one transaction with its ledger row.
    #[default]
    Inside,
    /// Refuses to run in a transaction block (CONCURRENTLY).
    Outside,
    /// Inside, but what it makes can only be used after the commit (ALTER TYPE … ADD VALUE).
    CommitAfter,
}

/// What can lose data or break a client, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hazard {
    /// A table and its rows go.
    DropTable,
    /// A column and its values go.
    DropColumn,
    /// Other data goes: a sequence's position, materialized rows.
    DropData,
    /// An index goes: queries may become slow.
    DropIndex,
    /// A cast may change or refuse values.
    LossyCast,
    /// A statement of a client of the old release would fail.
    Breaking,
    /// A lock waits for a scan, a build or a rewrite.
    Blocking,
    /// The table is written again.
    Rewrite,
    /// Cannot be undone.
    Irreversible,
    /// A role loses a privilege.
    Revoke,
    /// User triggers or publications are driven by a backfill.
    SideEffects,
    /// The row type changes: COPY or INSERT without a column list may fail.
    RowShape,
    /// Prepared statements may fail until they are prepared again.
    Prepared,
    /// ON CONFLICT can raise a unique violation while two unique indexes stand.
    UpsertRace,
    /// The plan was not proven on a scratch server.
    Unproven,
}

impl Hazard {
    /// Every hazard.
    pub const ALL: [Self; 15] = [
        Self::DropTable,
        Self::DropColumn,
        Self::DropData,
        Self::DropIndex,
        Self::LossyCast,
        Self::Breaking,
        Self::Blocking,
        Self::Rewrite,
        Self::Irreversible,
        Self::Revoke,
        Self::SideEffects,
        Self::RowShape,
        Self::Prepared,
        Self::UpsertRace,
        Self::Unproven,
    ];

    /// The name by which it is allowed.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DropTable => "drop-table",
            Self::DropColumn => "drop-column",
            Self::DropData => "drop-data",
            Self::DropIndex => "drop-index",
            Self::LossyCast => "lossy-cast",
            Self::Breaking => "breaking",
            Self::Blocking => "blocking",
            Self::Rewrite => "rewrite",
            Self::Irreversible => "irreversible",
            Self::Revoke => "revoke",
            Self::SideEffects => "side-effects",
            Self::RowShape => "row-shape",
            Self::Prepared => "prepared",
            Self::UpsertRace => "upsert-race",
            Self::Unproven => "unproven",
        }
    }

    /// The inverse of [`Self::name`].
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|hazard| hazard.name() == name)
    }
}

impl fmt::Display for Hazard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Tells after a crash whether a step outside a transaction happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// A query of one text value: `done`, `absent`, or `leftover` (half done: clean up, run again).
    pub sql: String,
    /// What takes a leftover away; each outside a transaction.
    pub cleanup: Vec<String>,
}

/// A query that must give one value, as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verify {
    /// A query of one value.
    pub sql: String,
    /// What it must give, as text.
    pub expect: String,
}

/// Rows already there that would make a statement fail, and how they are found: looked for before
/// anything is changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Violations {
    /// What is wrong with them: `rows of table public.orders break check positive`. Behind a count.
    pub title: String,
    /// A query of those rows, their key first; a statement that only reads.
    pub rows: String,
    /// What to do about them.
    pub help: String,
    /// What the query needs in `pg_temp`: statements to be run before it, in the same session.
    pub setup: Vec<String>,
    /// Columns and tables that it reads. Where the plan makes or fills one of them, the rows can only
    /// be known after that.
    pub reads: Vec<Id>,
    /// The table of which `setup` makes a copy, which is too much for a large one.
    pub copies: Option<Id>,
}

/// Statements that do one thing, with what a reviewer must know about them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// What it does, for people: `Create table public.orders`.
    pub title: String,
    /// The statements, without a closing semicolon.
    pub sql: Vec<String>,
    /// The locks on relations that were there before.
    pub locks: Vec<Lock>,
    /// How it stands to transactions.
    pub transaction: Transaction,
    /// Hazards with their subject, for people.
    pub hazards: Vec<(Hazard, String)>,
    /// What is lost for good, if anything.
    pub loses: Option<String>,
    /// For steps outside a transaction.
    pub probe: Option<Probe>,
}

impl Action {
    /// An action with nothing to do yet.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), ..Self::default() }
    }

    /// Adds a statement (no closing semicolon).
    #[must_use]
    pub fn sql(mut self, statement: impl Into<String>) -> Self {
        self.sql.push(statement.into());
        self
    }

    /// Names a lock on the relation that `id` is or stands in.
    #[must_use]
    pub fn lock(mut self, id: &Id, mode: LockMode, cost: Cost) -> Self {
        let relation = crate::catalog::id::dotted(&id.path[..id.path.len().min(2)]);
        self.locks.push(Lock { relation, mode, cost });
        self
    }

    /// Names a hazard.
    #[must_use]
    pub fn hazard(mut self, hazard: Hazard, subject: impl fmt::Display) -> Self {
        self.hazards.push((hazard, subject.to_string()));
        self
    }

    /// Says what is lost for good.
    #[must_use]
    pub fn loses(mut self, what: impl fmt::Display) -> Self {
        self.loses = Some(what.to_string());
        self
    }

    /// Sets how it stands to transactions.
    #[must_use]
    pub fn transaction(mut self, transaction: Transaction) -> Self {
        self.transaction = transaction;
        self
    }

    /// Sets how a crash outside a transaction is judged.
    #[must_use]
    pub fn probe(mut self, sql: impl Into<String>, cleanup: Vec<String>) -> Self {
        self.probe = Some(Probe { sql: sql.into(), cleanup });
        self
    }
}

/// How a kind turns one definition into another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Alteration {
    /// In place, by these actions in this order. Empty: nothing to do.
    Act(Vec<Action>),
    /// In place, but the type of a column changes: its dependants are asked what they do then.
    Retype(Vec<Action>),
    /// Only by dropping and creating again, with everything that depends on it.
    Replace,
}
