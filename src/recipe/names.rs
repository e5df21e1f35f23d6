//! Names of what stands beside something for a while: derived from its name, and free in both states.

use crate::catalog::id::derived_name;
use crate::catalog::{Id, Ident};
use crate::plan::draft::Context;

/// The kinds of a table's constraints, which share their names.
const CONSTRAINTS: [&str; 5] = ["check", "foreign-key", "primary-key", "unique", "exclude"];

fn free(base: &str, suffix: &str, taken: impl Fn(&Ident) -> bool) -> Ident {
    let numbered = (2..).map(|number| derived_name(base, &format!("{suffix}_{number}")));
    [derived_name(base, suffix)].into_iter().chain(numbered).find(|name| !taken(name)).expect("a schema has few relations of such names")
}

/// A name for an index of a schema.
#[must_use]
pub fn of_index(cx: &Context<'_>, schema: &str, base: &str, suffix: &str) -> Ident {
    free(base, suffix, |name| [cx.live, cx.desired].into_iter().any(|state| state.has_relation(schema, name)))
}

/// A name for a constraint beside another one.
#[must_use]
pub fn of_constraint(cx: &Context<'_>, id: &Id, suffix: &str) -> Ident {
    let taken = |name: &Ident| {
        let ids = CONSTRAINTS.map(|kind| id.renamed(name).as_kind(kind));
        [cx.live, cx.desired].into_iter().any(|state| ids.iter().any(|id| state.contains(id)))
    };
    free(id.name(), suffix, taken)
}
