//! What a plan may rest on besides the two states: sizes, versions, the project's policy.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::catalog::{Catalog, Id, Ident};
use crate::kind::default_privileges::DefaultPrivileges;
use crate::kind::lowering::Hints;

/// What is known about the live database.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// `server_version_num`.
    pub server: u32,
    /// Sizes of the tables that the change touches. A table that is not here has no known size and
    /// counts as large.
    pub tables: BTreeMap<Id, TableFacts>,
    /// Columns to be added whose default PostgreSQL would evaluate row by row (measured).
    pub volatile_defaults: BTreeSet<Id>,
    /// Columns that are to be NOT NULL, have nothing to be filled with, and hold a NULL.
    pub holding_nulls: BTreeSet<Id>,
    /// For a partition that is attached, what its bound asks of a row, as the scratch server says it. Not for hash
    /// partitions: their text holds an OID.
    pub partition_bounds: BTreeMap<Id, String>,
    /// For a partition that is detached, the CHECK that DETACH CONCURRENTLY leaves on it, if any (tried on the scratch
    /// server).
    pub detach_checks: BTreeMap<Id, Option<Ident>>,
    /// Columns that change their type, and what that does to their rows and values (measured).
    pub retypes: BTreeMap<Id, Retype>,
    /// The desired indexes and checks of columns that change their type, as the server spells them over
    /// the columns that stand beside those ([`crate::recipe::retype::shadow_name`]).
    pub beside: Catalog,
    /// Columns and types that another one takes the place of, views and routines that may be made again, and that have
    /// privileges or an owner of their own: the statements that give them to it.
    pub privileges: BTreeMap<Id, Vec<String>>,
    /// For a column that comes and one of its table that goes, the statements that would give the one the privileges of its
    /// own that the other has.
    pub handed_on: BTreeMap<Id, BTreeMap<Id, Vec<String>>>,
    /// Tables and columns that go, with an extension that goes as well and on which they stand.
    pub on_extensions: BTreeMap<Id, Id>,
    /// For a column to be added with a `backfill`, the live columns of its table that this names.
    pub reads: BTreeMap<Id, BTreeSet<Ident>>,
    /// For a column that others take the place of, the new columns that may be NULL and for which its `revert` then gives
    /// NULL.
    pub gives_null: BTreeMap<Id, BTreeSet<Ident>>,
    /// What hangs on what is renamed in place, as the scratch server says it afterwards.
    pub after_renames: Catalog,
    /// The role that applies.
    pub role: Option<String>,
    /// What its new objects are given, where the project manages that and where it does not.
    pub default_privileges: Vec<DefaultPrivileges>,
}

/// What a change of a column's type does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "independent answers")]
pub struct Retype {
    /// ALTER COLUMN TYPE writes the table again.
    pub rewrites: bool,
    /// Every value of the old type is one of the new type, and is told back as it was.
    pub keeps_values: bool,
    /// Every value of the new type is one of the old type: what new clients write can be kept in both.
    pub reverts: bool,
    /// PostgreSQL has no cast back to the old type.
    #[serde(default)]
    pub one_way: bool,
    /// Both types are of one category (manual, 51.64, `typcategory`): what clients compare it with and compute of it
    /// still has a meaning.
    pub compatible: bool,
}

/// The size of a table, as the server estimates it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableFacts {
    /// Rows.
    pub rows: u64,
    /// Bytes of the heap and its indexes.
    pub bytes: u64,
}

/// What the project wants of plans.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// Up to so many rows the direct statement is used where it is as safe.
    pub small_table_rows: u64,
    /// A development or test database: no stages, no regard for clients.
    pub direct: bool,
    /// For how many seconds dropped tables and columns are kept under another name; `None`: not at all.
    #[serde(default)]
    pub quarantine: Option<u64>,
}

impl Default for Policy {
    fn default() -> Self {
        Self { small_table_rows: 10_000, direct: false, quarantine: None }
    }
}

impl Facts {
    /// The same facts, where renamed tables are known by their new names as well.
    #[must_use]
    pub fn renamed(&self, hints: &Hints) -> Self {
        let mut facts = self.clone();
        for (new, old) in &hints.renames {
            if let Some(size) = self.tables.get(old) {
                facts.tables.entry(new.clone()).or_insert(*size);
            }
        }
        facts
    }

    /// The rows of a table, if known.
    #[must_use]
    pub fn rows(&self, table: &Id) -> Option<u64> {
        self.tables.get(table).map(|facts| facts.rows)
    }
}
