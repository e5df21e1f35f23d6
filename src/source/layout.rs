//! Which of several forms a person chose in the files, so that writing keeps to it.

use std::collections::HashSet;

use crate::catalog::Id;
use crate::kdl::Spelling;
use crate::kind::column::Column;
use crate::kind::owned_by::OwnedBy;
use crate::kind::partition::Partition;
use crate::kind::primary_key::PrimaryKey;
use crate::kind::{Kind as _, Object};

use super::Desired;

/// Where the files say more than they must. Empty: the shortest form of everything.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    /// Partitions that stand beside their table: `table p partition-of=t`.
    pub flat_partitions: HashSet<Id>,
    /// Columns whose sequence has a node of its own.
    pub spelled_serials: HashSet<Id>,
    /// Columns of a primary key that say `not-null` nevertheless.
    pub spelled_not_null: HashSet<Id>,
    /// Columns and checks of a partition that are as its table's, and are written.
    pub spelled_in_partitions: HashSet<Id>,
}

impl Layout {
    /// The forms that files have.
    #[must_use]
    pub fn of(desired: &Desired) -> Self {
        let (Desired { catalog, sources, .. }, origins) = (desired, desired.origins());
        let mut layout = Self::default();
        let mut partitions = HashSet::new();
        for place in catalog.of::<Partition>() {
            partitions.insert(&place.table);
            if origins.get(&place.table).is_some_and(|origin| !sources.slice(origin.name).starts_with(Partition::KEYWORD)) {
                layout.flat_partitions.insert(place.table.clone());
            }
        }
        for owned in catalog.of::<OwnedBy>() {
            let (column, own) = (origins.get(&owned.column), origins.get(&owned.id()));
            if column.map(|origin| origin.name) != own.map(|origin| origin.name) {
                layout.spelled_serials.insert(owned.column.clone());
            }
        }
        for key in catalog.of::<PrimaryKey>() {
            for name in &key.key.columns {
                let id = key.key.table.child(Column::KEYWORD, name);
                let says = origins
                    .get(&id)
                    .is_some_and(|origin| origin.texts.iter().any(|text| text.spelling == Spelling::Word && text.value == "not-null"));
                if says {
                    layout.spelled_not_null.insert(id);
                }
            }
        }
        for (id, object) in &catalog.objects {
            let table = match object {
                Object::Column(column) => &column.table,
                Object::Check(check) => &check.table,
                _ => continue,
            };
            if partitions.contains(table) && origins.contains_key(id) {
                layout.spelled_in_partitions.insert(id.clone());
            }
        }
        layout
    }
}
