//! Executing a plan: resumable, never blocking clients longer than a lock timeout, one applier per database.
//!
//! | module | holds |
//! |---|---|
//! | [`executor`] | [`apply`]: stages and steps in order |
//! | [`event`] | [`Event`], [`Options`], [`Outcome`] |
//! | [`error`] | [`ApplyError`] and its exit codes |
//! | `transactional` | a step in one transaction with its ledger row, retried until it gets its locks |
//! | `outside` | a step outside transactions, judged by its probe |
//! | [`backfill`], [`pace`], `page`, `throttle` | batches, how a table is cut into them, what makes them hold |
//! | [`preflight`] | rows that would make a later step fail, looked for before the first |
//! | `policies` | rows that the applier may not see |
//! | [`gate`] | whether clients of the old release are gone |
//! | [`ledger`], [`status`] | schema `schema_ledger`: writing, reading |
//! | [`lock`], [`blockers`], `retry` | the applier's lock, who is in the way, how long to wait |
//! | `reconnect` | going on when the connection was lost |
//! | [`stale`] | whether what a plan relies on is still so; pure |
//! | [`rollback`] | [`rollback::rollback`]: the way back, from the ledger |
//! | [`kept`] | what was set aside instead of being dropped |
//! | [`mark`] | what was done by hand |
//! | [`leftovers`], [`beside`] | what a plan left behind |
//! | [`crash`] | fault injection for tests |
//!
//! Nothing is printed here: what happens is told as [`Event`]s.

pub mod backfill;
pub mod beside;
pub mod blockers;
mod context;
pub mod crash;
pub mod error;
pub mod event;
pub mod executor;
pub mod gate;
mod halt;
pub mod kept;
pub mod ledger;
pub mod leftovers;
pub mod lock;
pub mod mark;
mod outside;
pub mod pace;
mod page;
mod policies;
pub mod preflight;
mod reconnect;
mod retry;
pub mod rollback;
pub mod stale;
pub mod status;
mod throttle;
mod transactional;

pub use crate::pg::blockers::Blocker;
pub use backfill::set_control;
pub use error::{ApplyError, Kept, StepFailure};
pub use event::{Event, Options, Outcome, WaitingFor};
pub use executor::apply;
pub use ledger::PlanState;
pub use lock::Holder;
pub use pace::Pace;
