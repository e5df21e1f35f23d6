//! A plan in the making: operations with their effects and the order between them.

use std::collections::{BTreeMap, BTreeSet};

use super::facts::{Facts, Policy};
use super::op::{Action, Cost, Hazard, Verify, Violations};
use super::plan::{Backfill, StageName};
use crate::catalog::{Id, Indexed};
use crate::kind::Object;
use crate::kind::lowering::Hints;

/// An object that is there, or not there, after an operation.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "nearly all of them are the large one")]
pub enum Effect {
    /// It is there, in this form.
    Put(Object),
    /// It is gone.
    Remove(Id),
    /// A helper of a recipe is there; a later operation removes it.
    PutTemporary(Id),
}

/// One operation: what it does, when, and what it leads to.
#[derive(Clone, Debug)]
pub struct Op {
    /// The object that it is about, for ordering and for people.
    pub id: Id,
    /// Statements, locks, hazards.
    pub action: Action,
    /// The earliest stage in which it may run.
    pub stage: StageName,
    /// The recipe that it belongs to.
    pub recipe: &'static str,
    /// What it leads to.
    pub effects: Vec<Effect>,
    /// Statements that undo it (see [`super::plan::Undo::Sql`]); `None`: whatever takes back its effects, where
    /// that can be told from them ([`crate::recipe::undo`]).
    pub undo: Option<Vec<String>>,
    /// What it does to rows cannot be taken back, whatever its effects say.
    pub irreversible: bool,
    /// A batched update instead of statements.
    pub backfill: Option<Backfill>,
    /// What must hold afterwards.
    pub verify: Vec<Verify>,
    /// Rows that would make it fail.
    pub violations: Vec<Violations>,
    /// The columns that it fills in rows that are there, each with the value.
    pub fills: Vec<(Id, String)>,
    /// Whether it takes something away: those come in the reverse order of kinds.
    pub teardown: bool,
    /// Operations of one group run in one transaction.
    pub group: Option<usize>,
}

impl Op {
    /// An operation of the plain kind.
    #[must_use]
    pub fn new(id: &Id, action: Action, stage: StageName, recipe: &'static str) -> Self {
        Self {
            id: id.clone(),
            action,
            stage,
            recipe,
            effects: Vec::new(),
            undo: None,
            irreversible: false,
            backfill: None,
            verify: Vec::new(),
            violations: Vec::new(),
            fills: Vec::new(),
            teardown: false,
            group: None,
        }
    }

    /// Adds an effect.
    #[must_use]
    pub fn puts(mut self, object: impl Into<Object>) -> Self {
        self.effects.push(Effect::Put(object.into()));
        self
    }

    /// Adds a helper that a later operation removes.
    #[must_use]
    pub fn puts_temporary(mut self, id: &Id) -> Self {
        self.effects.push(Effect::PutTemporary(id.clone()));
        self
    }

    /// Adds an effect.
    #[must_use]
    pub fn removes(mut self, id: &Id) -> Self {
        self.effects.push(Effect::Remove(id.clone()));
        self
    }

    /// Says how it is undone.
    #[must_use]
    pub fn undo(mut self, sql: Vec<String>) -> Self {
        self.undo = Some(sql);
        self
    }

    /// Adds rows that would make it fail, to be looked for before anything is changed.
    #[must_use]
    pub fn preflight(mut self, violations: Violations) -> Self {
        self.violations.push(violations);
        self
    }

    /// Adds a check.
    #[must_use]
    pub fn verify(mut self, sql: impl Into<String>, expect: impl Into<String>) -> Self {
        self.verify.push(Verify { sql: sql.into(), expect: expect.into() });
        self
    }
}

/// What everything in the planner looks at.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The live state, renames in place already applied.
    pub live: &'a Indexed<'a>,
    /// The desired state.
    pub desired: &'a Indexed<'a>,
    /// Renames, backfills.
    pub hints: &'a Hints,
    /// Sizes, versions.
    pub facts: &'a Facts,
    /// What the project wants.
    pub policy: &'a Policy,
}

impl Context<'_> {
    /// Whether statements that scan or build may run directly on a table: it is small, or nobody
    /// else is there.
    #[must_use]
    pub fn is_small(&self, table: &Id) -> bool {
        self.policy.direct || self.facts.rows(table).is_some_and(|rows| rows <= self.policy.small_table_rows)
    }

    /// Whether a relation is there before the plan and stays.
    #[must_use]
    pub fn persists(&self, relation: &Id) -> bool {
        self.live.contains(relation) && self.desired.contains(relation)
    }
}

/// Operations and the edges between them.
#[derive(Debug, Default)]
pub struct Draft {
    /// The operations, in the order in which they were thought of.
    pub ops: Vec<Op>,
    /// (earlier, later).
    pub edges: BTreeSet<(usize, usize)>,
    /// For an object, the operation after which it is there in its desired form and may be used.
    pub ready: BTreeMap<Id, usize>,
    /// For an object, the operation that takes its old form away.
    pub gone: BTreeMap<Id, usize>,
    /// For a column, the operation after which it is NOT NULL.
    pub not_null: BTreeMap<Id, usize>,
    /// For an object, the first operation that touches it.
    pub first: BTreeMap<Id, usize>,
    /// What goes or is made anew: nothing that is kept may stand on it.
    pub leaving: BTreeSet<Id>,
    /// Facts that the choice of a recipe rested on.
    pub assumed: BTreeMap<Id, bool>,
    /// Changes that come with another object's: the partition's with its table's, the child's with
    /// its parent's end.
    pub followers: Vec<(Id, Id)>,
    /// Objects made again whose old form goes away with another object.
    pub removed_with: Vec<(Id, Id)>,
    /// Operations that come after an object is ready, or gone, whatever its own needs.
    pub follow_ups: Vec<(Id, usize)>,
    /// For an object that is made again, the operation that makes it.
    pub making: BTreeMap<Id, usize>,
    /// For a foreign key that is made beside its old form, the operation after which the index that it leans on is there:
    /// the key itself is made of that index later.
    pub leans: BTreeMap<Id, usize>,
    /// For a type that is set aside, the operation that drops it in the end.
    pub buried: BTreeMap<Id, usize>,
    /// Objects whose difference needs no statement.
    pub silent: Vec<Id>,
    /// Tables that are dropped and made anew, and why their rows could not be kept.
    pub refused: BTreeMap<Id, String>,
    groups: usize,
}

impl Draft {
    /// Adds an operation.
    pub fn push(&mut self, op: Op) -> usize {
        self.ops.push(op);
        self.ops.len() - 1
    }

    /// Says that one operation comes before another.
    pub fn order(&mut self, earlier: usize, later: usize) {
        if earlier != later {
            self.edges.insert((earlier, later));
        }
    }

    /// Adds operations one after the other; the first makes, the last readies `id`.
    pub fn chain(&mut self, id: &Id, ops: Vec<Op>) -> Vec<usize> {
        let indexes: Vec<usize> = ops.into_iter().map(|op| self.push(op)).collect();
        for pair in indexes.windows(2) {
            self.order(pair[0], pair[1]);
        }
        if let (Some(first), Some(last)) = (indexes.first(), indexes.last()) {
            self.first.entry(id.clone()).or_insert(*first);
            self.ready.insert(id.clone(), *last);
        }
        indexes
    }

    /// A new group: one transaction.
    pub fn group(&mut self) -> usize {
        self.groups += 1;
        self.groups
    }
}

/// The operation that makes an object by its own CREATE.
#[must_use]
pub fn create(object: &Object, stage: StageName) -> Op {
    let id = object.id();
    Op::new(&id, object.create(), stage, "create").puts(object.clone())
}

/// The operation that takes an object away.
#[must_use]
pub fn drop(object: &Object, stage: StageName) -> Op {
    let id = object.id();
    let mut op = Op::new(&id, object.drop(), stage, "drop").removes(&id);
    op.teardown = true;
    op
}

/// Whether an action waits for a scan, a build or a rewrite while others are locked out.
#[must_use]
pub fn blocks(action: &Action) -> bool {
    action.locks.iter().any(|lock| lock.cost != Cost::Instant && lock.mode >= crate::plan::LockMode::Share)
}

/// Names the hazard `blocking` on an action that blocks a table of this size.
#[must_use]
pub fn name_blocking(action: Action, table: &Id, rows: Option<u64>) -> Action {
    if !blocks(&action) || action.hazards.iter().any(|(hazard, _)| *hazard == Hazard::Blocking) {
        return action;
    }
    let size = rows.map_or_else(|| "of unknown size".to_owned(), |rows| format!("about {rows} rows"));
    action.hazard(Hazard::Blocking, format!("{table} ({size}) is locked while it runs"))
}
