//! The example that `schema demo` shows, clients that use it meanwhile, and what is measured.
//!
//! | module | holds |
//! |---|---|
//! | [`load`] | clients that repeat statements, and what they felt |
//! | [`example`] | the digital twin: its two states, its rows, the statements of both releases |
//! | [`dump`] | `pg_dump` of a database, comparable |
//!
//! Nothing is printed here. Tests use the same pieces.

pub mod dump;
pub mod example;
pub mod load;

pub use load::{Clients, Measured, Release};
