//! What hangs on an index that another takes the place of: the replica identity, the order of CLUSTER, a comment.
//! It goes over to the new index while that still has its temporary name: dropping the old one would take it along.

use super::names;
use crate::catalog::{Catalog, Id, Ident};
use crate::kind::cluster_on::ClusterOn;
use crate::kind::comment::Comment;
use crate::kind::index::Index;
use crate::kind::replica_identity::{IdentityMode, ReplicaIdentity};
use crate::kind::{Kind as _, Object};
use crate::plan::change::{Change, Changes};
use crate::plan::draft::{Context, Draft, Op};
use crate::plan::op::Action;
use crate::plan::plan::{BEGIN, COMMIT, StageName};

/// The desired objects that name the index, taken from the changes.
#[must_use]
pub fn hanging(cx: &Context<'_>, index: &Index, changes: &mut Changes) -> Vec<Object> {
    let found = in_state(cx.desired, index);
    for object in &found {
        if changes.get(&object.id()) != Some(&Change::Drop) {
            changes.shift_remove(&object.id());
        }
    }
    found
}

/// The objects of a state that name the index.
fn in_state(state: &Catalog, index: &Index) -> Vec<Object> {
    let id = index.id();
    let of_index = |object: &Object| match object {
        Object::ReplicaIdentity(identity) => identity.table == index.on && identity.mode == IdentityMode::Index(index.name.clone()),
        Object::ClusterOn(cluster) => cluster.on == index.on && cluster.index == index.name,
        Object::Comment(comment) => comment.on == id,
        _ => false,
    };
    let candidates = [
        index.on.as_kind(ReplicaIdentity::KEYWORD),
        ClusterOn { on: index.on.clone(), index: index.name.clone() }.id(),
        id.satellite(Comment::KEYWORD, None),
    ];
    candidates.iter().filter_map(|id| state.get(id)).filter(|object| of_index(object)).cloned().collect()
}

/// Builds an index of the live state once more beside itself, lets what hangs on it go over, and puts it in its place: for
/// an undo. (REINDEX CONCURRENTLY does as much, but what it leaves behind when it is cut off is another index.)
#[must_use]
pub fn built_again(cx: &Context<'_>, index: &Index) -> Vec<String> {
    let id = index.id();
    let beside = Index { name: names::of_index(cx, index.on.schema(), &index.name, "_back"), ..index.clone() };
    let hanging = in_state(cx.live, index);
    let over = hanging.iter().flat_map(|object| on_index(object, index, &beside.name).create().sql);
    let outside = vec![
        COMMIT.to_owned(),
        format!("DROP INDEX CONCURRENTLY IF EXISTS {}", beside.id().in_schema()),
        beside.create_sql(&beside.name, true, false),
        BEGIN.to_owned(),
    ];
    outside
        .into_iter()
        .chain(beside.after_creation(&beside.name))
        .chain(over)
        .chain(index.drop().sql)
        .chain(Index::rename(&beside.id(), &id).unwrap_or_default().sql)
        .collect()
}

/// The operation that lets them go over to the index with the temporary name, and back.
#[must_use]
pub fn over(index: &Index, hanging: &[Object], temporary: &Ident, recipe: &'static str, stage: StageName) -> Option<Op> {
    let named = |name: &Ident| -> Vec<Action> { hanging.iter().map(|object| on_index(object, index, name).create()).collect() };
    let mut action = Action::new(format!("Let what hangs on {} go over to the new one", index.id()));
    for one in named(temporary) {
        action.sql.extend(one.sql);
        action.locks.extend(one.locks);
    }
    let undo = named(&index.name).into_iter().flat_map(|action| action.sql).collect();
    (!hanging.is_empty()).then(|| Op::new(&index.id(), action, stage, recipe).undo(undo))
}

/// The object, of the same index under another name.
fn on_index(object: &Object, index: &Index, name: &Ident) -> Object {
    match object.clone() {
        Object::ReplicaIdentity(identity) => ReplicaIdentity { mode: IdentityMode::Index(name.clone()), ..identity }.into(),
        Object::ClusterOn(cluster) => ClusterOn { index: name.clone(), ..cluster }.into(),
        Object::Comment(comment) => Comment { on: Index { name: name.clone(), ..index.clone() }.id(), ..comment }.into(),
        other => other,
    }
}

/// A replica identity asks for columns that are NOT NULL: they are before.
pub fn after_not_null(cx: &Context<'_>, index: &Index, carried: usize, draft: &mut Draft) {
    let proven: Vec<usize> = draft
        .not_null
        .iter()
        .filter(|(column, _)| column.up("table") == index.on && stands_on(cx, index, column))
        .map(|(_, at)| *at)
        .collect();
    for at in proven {
        draft.order(at, carried);
    }
}

fn stands_on(cx: &Context<'_>, index: &Index, column: &Id) -> bool {
    index.elements.iter().any(|element| element == column.name_sql().as_str())
        || cx.desired.needs.get(&index.id()).is_some_and(|needs| needs.contains(column))
}
