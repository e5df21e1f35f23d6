//! What a database holds, as data: names, objects, dependencies. No IO.

#[expect(clippy::module_inception, reason = "the room is named after its main type")]
pub mod catalog;
pub mod closure;
pub mod expr;
pub mod fingerprint;
pub mod id;
pub mod indexed;
pub mod ranges;

pub use catalog::{Catalog, Pair};
pub use fingerprint::Fingerprint;
pub use id::{Id, Ident};
pub use indexed::Indexed;
