//! GENERATED … AS IDENTITY: a column that counts by itself, and where its sequence goes on.

use serde::{Deserialize, Serialize};

use super::column::Column;
use super::sequence::SequenceOptions;
use crate::catalog::Ident;
use crate::catalog::id::{literal, quote};

/// GENERATED … AS IDENTITY.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// ALWAYS, else BY DEFAULT.
    pub always: bool,
    /// The sequence's name, where it is not the default one.
    pub name: Option<Ident>,
    /// What it counts.
    pub options: SequenceOptions,
}

impl Column {
    /// The statement after which a sequence (`sequence` gives it) goes on behind the values that rows have, where those
    /// lie within its bounds.
    #[must_use]
    pub fn behind_rows(&self, sequence: &str, options: &SequenceOptions) -> String {
        let SequenceOptions { start, min, max, increment, .. } = options;
        let (word, least, greatest) = if *increment < 0 { ("min", min, start) } else { ("max", start, max) };
        let value = format!("{word}({})", quote(&self.name));
        format!("SELECT setval({sequence}, {value}) FROM {} HAVING {value} BETWEEN {least} AND {greatest}", self.table.sql())
    }

    /// The same of its own identity, where it has one and `old` has none.
    #[must_use]
    pub fn counts_on(&self, old: &Self) -> Option<String> {
        let identity = self.identity.as_ref().filter(|_| old.identity.is_none())?;
        let sequence = format!("pg_get_serial_sequence({}, {})", literal(&self.table.sql()), literal(&self.name));
        Some(self.behind_rows(&sequence, &identity.options))
    }
}
