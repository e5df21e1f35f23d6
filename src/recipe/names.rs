//! Names of what stands beside something for a while: derived from its name, and free in both states.

use crate::catalog::id::{default_name, derived_name};
use crate::catalog::{Catalog, Id, Ident};
use crate::kind::Object;
use crate::kind::column::Column;
use crate::plan::draft::Context;

/// The kinds of a table's constraints, which share their names.
const CONSTRAINTS: [&str; 5] = ["check", "foreign-key", "primary-key", "unique", "exclude"];

fn free(base: &str, suffix: &str, taken: impl Fn(&Ident) -> bool) -> Ident {
    let numbered = (2..).map(|number| derived_name(base, &format!("{suffix}_{number}")));
    [derived_name(base, suffix)].into_iter().chain(numbered).find(|name| !taken(name)).expect("a schema has few relations of such names")
}

/// Whether a table, an index, a sequence, a view or a type of the schema is called so.
fn is_relation(state: &Catalog, schema: &str, name: &Ident) -> bool {
    state.objects.iter().any(|(id, object)| match object {
        Object::Column(column) => {
            let may_be = column.identity.as_ref().is_some_and(|identity| identity.name.is_some() || name.ends_with("_seq"));
            may_be && id.schema() == schema && sequence(column).as_ref() == Some(name)
        }
        _ => id.name() == name.as_str() && id.schema() == schema && object.relation_name().is_some(),
    })
}

fn sequence(column: &Column) -> Option<Ident> {
    let identity = column.identity.as_ref()?;
    Some(identity.name.clone().unwrap_or_else(|| default_name(column.table.name(), &column.name, "seq")))
}

/// A name for an index of a schema.
#[must_use]
pub fn of_index(cx: &Context<'_>, schema: &str, base: &str, suffix: &str) -> Ident {
    free(base, suffix, |name| [cx.live, cx.desired].into_iter().any(|state| is_relation(state, schema, name)))
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
