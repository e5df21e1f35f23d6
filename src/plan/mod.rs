//! From two states to a reviewed sequence of steps. Pure: no IO, no clock, no randomness.

pub mod assemble;
pub mod change;
pub mod divided;
mod domains;
pub mod draft;
pub mod facts;
pub mod file;
pub mod forecast;
pub mod graph;
pub mod op;
pub mod overlay;
#[expect(clippy::module_inception, reason = "the room is named after its main type")]
pub mod plan;
pub mod planner;
pub mod policy;
pub mod rehearsal;
pub mod rename;
pub mod renames;
pub mod render;
#[cfg(test)]
pub(crate) mod sample;
pub mod simulate;

pub use facts::{Facts, Policy, Retype, TableFacts};
pub use op::{Action, Alteration, Cost, Hazard, LockMode, Transaction};
pub use plan::Plan;
pub use planner::{Input, PlanError, plan};
