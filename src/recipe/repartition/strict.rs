//! What the new form asks of a row that the old one does not: nothing may, or a client of the old release would be
//! refused what it writes.

use super::tree::{is_strict, objects, unique_keys};
use crate::catalog::id::quote;
use crate::catalog::{Catalog, Id, Ident};
use crate::kind::Object;
use crate::kind::check::Check;
use crate::kind::foreign_key::ForeignKey;
use crate::kind::index::Index;
use crate::kind::key::Key;
use crate::kind::unique::Unique;
use crate::plan::draft::Context;

/// Says which constraint or unique index of the relations `new` is stricter than what the live table has.
pub(super) fn fits(cx: &Context<'_>, root: &Id, new: &[Id]) -> Result<(), String> {
    for object in objects(cx.desired, new) {
        let there = match object {
            Object::Check(check) => cx
                .live
                .of::<Check>()
                .any(|old| old.table == *root && old.expression == check.expression && (!old.not_valid || check.not_valid)),
            Object::ForeignKey(key) => cx.live.of::<ForeignKey>().any(|old| {
                let name = key.name.clone();
                let same = ForeignKey { name, table: key.table.clone(), not_valid: key.not_valid, ..old.clone() };
                old.table == *root && same == *key && (!old.not_valid || key.not_valid)
            }),
            Object::PrimaryKey(key) => is_implied(cx.live, root, &key.key, false),
            Object::Unique(Unique { key, nulls_not_distinct }) => is_implied(cx.live, root, key, *nulls_not_distinct),
            Object::Index(index) if index.unique => unique_index(cx.live, root, index),
            Object::Exclusion(_) => false,
            _ => true,
        };
        if !there {
            return Err(format!("{} asks more of its rows than there is now: make two plans of it", object.id()));
        }
    }
    Ok(())
}

/// Whether a live key of the table makes this one hold.
fn is_implied(live: &Catalog, root: &Id, key: &Key, nulls_not_distinct: bool) -> bool {
    let within = |columns: &[Ident]| columns.iter().all(|name| key.columns.contains(name));
    unique_keys(live, root).iter().any(|old| within(&old.columns))
        || live
            .of::<Unique>()
            .any(|old| old.key.table == *root && within(&old.key.columns) && (old.nulls_not_distinct || !nulls_not_distinct))
        || live.of::<Index>().any(|old| {
            let named = |element: &String| key.columns.iter().any(|name| quote(name) == *element);
            old.on == *root && old.unique && old.filter.is_none() && old.elements.iter().all(named) && !nulls_not_distinct
        })
}

fn unique_index(live: &Catalog, root: &Id, index: &Index) -> bool {
    let twin = live.of::<Index>().any(|old| {
        old.on == *root
            && old.unique
            && !old.invalid
            && old.elements == index.elements
            && old.filter == index.filter
            && old.nulls_not_distinct == index.nulls_not_distinct
    });
    let implied = unique_keys(live, root)
        .iter()
        .any(|old| old.columns.iter().all(|name| is_strict(live, root, name) && index.elements.contains(&quote(name))));
    twin || implied
}
