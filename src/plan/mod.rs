//! From two states to a reviewed sequence of steps. Pure: no IO, no clock, no randomness.

pub mod op;
pub mod plan;

pub use op::{Action, Alteration, Cost, Hazard, LockMode, Transaction};
pub use plan::Plan;
