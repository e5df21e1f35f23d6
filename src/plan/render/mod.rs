//! What a plan looks like to people and to other programs. Pure: a plan in, text out.

mod json;
mod markdown;
mod rehearsal;
mod sql;
mod text;
mod words;

pub use json::json;
pub use markdown::markdown;
pub use rehearsal::rehearsal;
pub use sql::sql;
pub use text::text;
pub use words::{bytes, number, wrap};

use super::policy::Policy;
use super::rehearsal::Rehearsal;

/// How text for people is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Whether to use ANSI colours.
    pub color: bool,
    /// Columns to fill; SQL and names are never broken to fit.
    pub width: usize,
    /// Whether the SQL stands under each step.
    pub verbose: bool,
}

impl Default for Style {
    fn default() -> Self {
        Self { color: false, width: 80, verbose: false }
    }
}

/// What a rendering tells that does not stand in the plan.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// The database: `digital_twin at db1:5432, PostgreSQL 15.18`.
    pub target: Option<String>,
    /// What the environment asks for and forbids.
    pub policy: Policy,
    /// What a rehearsal of this very plan measured.
    pub rehearsal: Option<Rehearsal>,
}
