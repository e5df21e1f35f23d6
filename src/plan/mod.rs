//! From two states to a reviewed sequence of steps. Pure: no IO, no clock, no randomness.

pub mod file;
pub mod op;
#[expect(clippy::module_inception, reason = "the room is named after its main type")]
pub mod plan;
pub mod policy;
pub mod render;
#[cfg(test)]
pub(crate) mod sample;

pub use op::{Action, Alteration, Cost, Hazard, LockMode, Transaction};
pub use plan::Plan;
