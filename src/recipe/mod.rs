//! Safe sequences, one file each: changes to operations in stages.
//!
//! A recipe takes the changes that it knows out of the pile and puts operations into the draft. What
//! no recipe takes is done by its kind's own statement ([`plain`]). **Adding a recipe: one file and
//! its call in [`draft`].**

use crate::plan::change::{Change, Changes};
use crate::plan::draft::{Context, Draft};

pub mod above;
pub mod add_column;
pub mod backfill;
pub mod carry;
pub mod check;
pub mod default_grants;
pub mod domain_check;
pub mod drop_column;
pub mod excluded;
pub mod expression;
pub mod foreign_key;
pub mod identity;
pub mod index;
pub mod key;
pub mod materialized_view;
pub mod names;
pub mod not_null;
pub mod own_trigger;
pub mod part_column;
pub mod part_default;
pub mod partition;
pub mod partitioned_index;
pub mod partitioned_key;
pub mod plain;
pub mod preflight;
pub mod published;
pub mod quarantine;
pub mod reindex;
pub mod rename;
pub mod rename_column;
pub mod rename_part;
pub mod repartition;
pub mod replace_columns;
pub mod retype;
pub mod rights;
pub mod split_table;
pub mod sync;
pub mod types;
pub mod undo;

/// Every change as operations. The order of the calls matters only where two recipes could take the
/// same change.
#[must_use]
pub fn draft(cx: &Context<'_>, changes: &mut Changes) -> Draft {
    let leaving = changes.iter().filter(|(_, change)| matches!(change, Change::Drop | Change::Replace)).map(|(id, _)| id.clone());
    let mut draft = Draft::default();
    draft.leaving = leaving.collect();
    expression::apply(cx, changes, &mut draft);
    rename_column::apply(cx, changes, &mut draft);
    repartition::apply(cx, changes, &mut draft);
    retype::apply(cx, changes, &mut draft);
    split_table::apply(cx, changes, &mut draft);
    replace_columns::apply(cx, changes, &mut draft);
    add_column::apply(cx, changes, &mut draft);
    not_null::apply(cx, changes, &mut draft);
    drop_column::apply(cx, changes, &mut draft);
    partition::apply(cx, changes, &mut draft);
    index::apply(cx, changes, &mut draft);
    key::apply(cx, changes, &mut draft);
    foreign_key::stand_on_index(cx, &mut draft);
    check::apply(cx, changes, &mut draft);
    foreign_key::apply(cx, changes, &mut draft);
    default_grants::apply(cx, changes, &mut draft);
    domain_check::apply(cx, changes, &mut draft);
    let reindex = reindex::wanted(cx, changes);
    plain::apply(cx, changes, &mut draft);
    part_column::set_again(cx, &mut draft);
    part_default::set_again(cx, &mut draft);
    rights::columns_keep_theirs(cx, &mut draft);
    identity::count_on(cx, &mut draft);
    foreign_key::without_gap(cx, &mut draft);
    reindex::apply(cx, reindex, &mut draft);
    retype::sessions::put_again(cx, &mut draft);
    own_trigger::make_way(cx, &mut draft);
    excluded::make_way(cx, &mut draft);
    own_trigger::stopped_first(cx, &mut draft);
    own_trigger::left_behind(cx, &mut draft);
    expression::ends_first(cx, &mut draft);
    preflight::attach(cx, &mut draft);
    draft
}
