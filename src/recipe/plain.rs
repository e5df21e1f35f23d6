//! What no other recipe took: each kind's own statements, and the closure of what is made again.

use std::collections::{BTreeMap, BTreeSet};

use super::above::{counterpart, index_above};
pub use super::above::{follows_parent, follows_parent_index, live_parent};
use super::quarantine;
use super::retype::relabel;
use crate::catalog::Id;
use crate::catalog::id::derived_name;
use crate::kind::column::Column;
use crate::kind::{Inline, Object, registration, weight};
use crate::plan::change::{Change, Changes};
use crate::plan::draft::{Context, Draft, Effect, Op, create, drop, name_blocking};
use crate::plan::op::{Action, Cost, Hazard, LockMode};
use crate::plan::plan::StageName;
use crate::plan::rename::renamed_object;

/// Whether something that the old object stands on is made again or goes away beneath it, so that it
/// must be dropped first; and the stage of that.
#[must_use]
pub fn must_go_first(cx: &Context<'_>, changes: &Changes, id: &Id) -> Option<StageName> {
    let old = cx.live.get(id)?;
    cx.live
        .all_needs(old)
        .iter()
        .filter_map(|need| match changes.get(need) {
            Some(Change::Replace) => Some(replacement_stage(cx, need)),
            Some(Change::Drop) if need.kind != "column" => Some(StageName::Expand),
            _ => None,
        })
        .max()
}

/// The stage in which an object is made again: what clients name, when the new release comes.
fn replacement_stage(cx: &Context<'_>, id: &Id) -> StageName {
    if cx.live.get(id) != cx.desired.get(id) && breaks_clients(&id.kind) && !cx.policy.direct {
        StageName::Switch
    } else {
        StageName::Expand
    }
}

/// The stage in which something may be taken away: what loosens can go at once, what clients of the
/// old release may still use goes when they are gone. They use a default when they leave its column out.
fn drop_stage(kind: &str) -> StageName {
    match kind {
        "check" | "foreign-key" | "comment" | "cluster-on" | "replica-identity" | "owned-by" | "domain-check" => StageName::Expand,
        _ => StageName::Contract,
    }
}

/// Takes everything that is left.
pub fn apply(cx: &Context<'_>, changes: &mut Changes, draft: &mut Draft) {
    let all = std::mem::take(changes);
    let state = State { groups: groups(cx, &all), all: &all };
    let mut group_of = BTreeMap::new();
    for (id, change) in &all {
        if draft.ready.contains_key(id) {
            // Made by its parent's statement just before.
            continue;
        }
        match change {
            Change::Create => state.create(cx, id, draft),
            Change::Drop => state.drop(cx, id, draft),
            Change::Alter(actions) => {
                if follows_parent(cx, &all, id) {
                    draft.followers.push((id.clone(), counterpart(cx, id).expect("it follows one")));
                    continue;
                }
                let Some(new) = cx.desired.get(id) else { continue };
                let mut ops = alterations(cx, id, actions.clone(), new);
                if ops.is_empty() {
                    draft.silent.push(id.clone());
                    continue;
                }
                together(&mut ops, draft);
                draft.chain(id, ops);
            }
            Change::Replace => state.replace(cx, id, draft, &mut group_of),
            Change::Convert(action) => {
                if follows_parent(cx, &all, id) {
                    draft.followers.push((id.clone(), counterpart(cx, id).expect("it follows one")));
                    continue;
                }
                let Some(new) = cx.desired.get(id) else { continue };
                let table = new.parent().unwrap_or_else(|| id.clone());
                let action = if cx.is_small(&table) { unblock(action.clone()) } else { name_blocking(action.clone(), &table, None) };
                let mut op = Op::new(id, action, StageName::Expand, "convert").puts(new.clone());
                op.undo = relabel::converted_back(cx, id);
                op.irreversible = op.undo.is_none();
                op.group = state.group(id, draft, &mut group_of);
                draft.chain(id, vec![op]);
            }
        }
    }
}

/// The operations of an alteration in place; the last one gives the object its final form.
#[must_use]
pub fn alterations(cx: &Context<'_>, id: &Id, actions: Vec<Action>, new: &Object) -> Vec<Op> {
    let table = if id.path.len() >= 2 { Id::new("table", id.path[..2].to_vec()) } else { id.clone() };
    let count = actions.len();
    let actions: Vec<Action> = actions.into_iter().filter(|action| !action.sql.is_empty()).collect();
    let last = actions.len().saturating_sub(1);
    let mut ops: Vec<Op> = actions
        .into_iter()
        .enumerate()
        .map(|(at, action)| {
            let revokes = action.hazards.iter().any(|(hazard, _)| *hazard == Hazard::Revoke);
            let action = if cx.is_small(&table) { unblock(action) } else { name_blocking(action, &table, cx.facts.rows(&table)) };
            // What only reads beside the traffic is a proof.
            let proves =
                action.locks.iter().any(|lock| lock.cost == Cost::Scan) && action.locks.iter().all(|lock| lock.mode < LockMode::Share);
            let stage = if revokes {
                StageName::Contract
            } else if proves && !cx.policy.direct {
                StageName::Backfill
            } else {
                StageName::Expand
            };
            let mut op = Op::new(id, action, stage, "alter");
            // Undone as a whole by the last one.
            op.undo = (at != last).then(Vec::new);
            op
        })
        .collect();
    if let Some(op) = ops.last_mut() {
        if let (Some(old), Object::Column(new)) = (cx.live.get_as::<Column>(id), new) {
            if let Some(goes_on) = new.counts_on(old) {
                op.action = super::identity::looked_up(cx, std::mem::take(&mut op.action), new).sql(goes_on);
            }
            if new.data_type != old.data_type || new.collation != old.collation {
                op.action.sql.extend(super::index::targets_again(cx, id));
            }
        }
        op.effects.push(Effect::Put(new.clone()));
    } else if count > 0 {
        ops.push(Op::new(id, Action::default(), StageName::Expand, "alter").puts(new.clone()));
    }
    ops
}

/// The parts of one alteration are one transaction where they can be: they are undone together.
pub fn together(ops: &mut [Op], draft: &mut Draft) {
    let alike = |op: &Op| op.action.transaction == crate::plan::Transaction::Inside && op.stage == ops[0].stage;
    if ops.len() > 1 && ops.iter().all(alike) {
        let group = draft.group();
        for op in ops {
            op.group = Some(group);
        }
    }
}

/// On a small table nobody waits long enough for it to be a hazard.
fn unblock(mut action: Action) -> Action {
    action.hazards.retain(|(hazard, _)| *hazard != Hazard::Blocking);
    action
}

struct State<'a> {
    groups: BTreeMap<Id, Id>,
    all: &'a Changes,
}

impl State<'_> {
    fn is_replaced(&self, id: &Id) -> bool {
        self.all.get(id) == Some(&Change::Replace)
    }

    /// Whether what `object` is part of goes away and takes it along.
    fn absorbed(&self, cx: &Context<'_>, object: &Object) -> Option<Id> {
        let mut at = object.clone();
        loop {
            let parent = at.parent()?;
            // A schema must be empty; everything else takes its children along.
            if parent.kind == "schema" {
                return None;
            }
            // What only carries others has no statement that could take them along.
            let carrier = cx.live.get(&parent).is_some_and(|parent| parent.drop().sql.is_empty());
            if !carrier && cx.live.contains(&parent) && (!cx.desired.contains(&parent) || self.is_replaced(&parent)) {
                return Some(parent);
            }
            at = cx.live.get(&parent)?.clone();
        }
    }

    fn create(&self, cx: &Context<'_>, id: &Id, draft: &mut Draft) {
        let Some(object) = cx.desired.get(id) else { return };
        if follows_parent(cx, self.all, id) {
            draft.followers.push((id.clone(), counterpart(cx, id).expect("it follows one")));
            return;
        }
        if let Some(view) = self.beside(cx, id) {
            super::materialized_view::replace(cx, &view, object, object, None, draft);
            return;
        }
        let op = self.creation(cx, object, StageName::Expand);
        let made: Vec<Id> =
            op.effects.iter().filter_map(|effect| if let Effect::Put(object) = effect { Some(object.id()) } else { None }).collect();
        let at = draft.chain(id, vec![op])[0];
        for child in made {
            draft.ready.insert(child.clone(), at);
            draft.first.insert(child, at);
        }
    }

    /// Its CREATE statement, with those of its children that can be part of it.
    fn creation(&self, cx: &Context<'_>, object: &Object, stage: StageName) -> Op {
        let id = object.id();
        let ready = |child: &Object| {
            cx.desired.all_needs(child).iter().all(|need| {
                let own = need.path.len() >= id.path.len() && need.path[..id.path.len()] == id.path[..];
                let made = matches!(self.all.get(need), Some(Change::Create | Change::Replace));
                own || !made || weight(&need.kind) < weight(&id.kind)
            })
        };
        let inner: Vec<&Object> = inlinable(cx, &id)
            .filter(|child| match child.inlines() {
                Inline::Never => false,
                Inline::Always => child.parent().as_ref() == Some(&id),
                Inline::IfReady => {
                    let parent = child.parent();
                    (parent.as_ref() == Some(&id)
                        || parent.as_ref().is_some_and(|parent| parent.kind == "column" && parent.up("table") == id))
                        && ready(child)
                }
            })
            .collect();
        if inner.is_empty() {
            let mut op = create(object, stage);
            let persists = object.parent().is_some_and(|parent| cx.persists(&parent));
            if matches!(object, Object::ForeignKey(key) if !cx.live.contains(&key.table)) {
                // A new table has no rows to be looked at.
                op.action.locks.iter_mut().for_each(|lock| lock.cost = Cost::Instant);
            }
            if matches!(object, Object::Column(column) if column.generated.as_ref().is_some_and(|generated| !generated.is_virtual)) {
                // It is computed for every row.
                op.action.locks.iter_mut().for_each(|lock| lock.cost = Cost::Rewrite);
            }
            let table = object.parent().filter(|parent| parent.kind == "table").unwrap_or_else(|| id.clone());
            if persists && !cx.is_small(&table) {
                op.action = name_blocking(op.action, &table, cx.facts.rows(&table));
            }
            return op;
        }
        let mut op = Op::new(&id, object.create_with(&inner), stage, "create").puts(object.clone());
        for child in inner {
            op = op.puts(child.clone());
        }
        op
    }

    fn drop(&self, cx: &Context<'_>, id: &Id, draft: &mut Draft) {
        let Some(object) = cx.live.get(id) else { return };
        if follows_parent(cx, self.all, id) {
            draft.followers.push((id.clone(), counterpart(cx, id).expect("it follows one")));
            return;
        }
        let goes = |above: &Id| !cx.desired.contains(above) || self.is_replaced(above) || draft.making.contains_key(above);
        if let Some(above) = index_above(cx, id).filter(goes) {
            draft.followers.push((id.clone(), above));
            return;
        }
        let absorbed = self.absorbed(cx, object);
        // Foreign keys go one by one: dropping one locks both tables, and two tables may point at each
        // other (safe-changes.md).
        let own_statement = id.kind == "foreign-key";
        if let Some(parent) = absorbed.filter(|_| !own_statement) {
            draft.followers.push((id.clone(), parent));
            return;
        }
        if let Some(column) = Self::owning_column(cx, id) {
            draft.followers.push((id.clone(), column));
            return;
        }
        let waits = own_statement && self.absorbed(cx, object).is_some() || guards_leaving_column(cx, object);
        let stage = if waits { StageName::Contract } else { drop_stage(&id.kind) };
        let kept = quarantine::table(cx, &draft.leaving, id).unwrap_or_else(|why| {
            let mut op = drop(object, stage);
            quarantine::say(&mut op.action, why);
            op
        });
        let at = draft.push(kept);
        draft.first.insert(id.clone(), at);
        draft.gone.insert(id.clone(), at);
    }

    /// The column (or its table) that goes away and takes an owned sequence along.
    fn owning_column(cx: &Context<'_>, id: &Id) -> Option<Id> {
        let sequence = match cx.live.get(id)? {
            Object::Sequence(_) => id.clone(),
            object if object.parent().is_some_and(|parent| parent.kind == "sequence") => object.parent()?,
            _ => return None,
        };
        if cx.desired.contains(&sequence) {
            return None;
        }
        let owned = cx.live.get(&sequence.satellite("owned-by", None))?;
        let Object::OwnedBy(owned) = owned else { return None };
        let table = owned.column.up("table");
        if !cx.desired.contains(&table) {
            return Some(table);
        }
        (!cx.desired.contains(&owned.column)).then(|| owned.column.clone())
    }

    fn replace(&self, cx: &Context<'_>, id: &Id, draft: &mut Draft, group_of: &mut BTreeMap<Id, usize>) {
        let (Some(old), Some(new)) = (cx.live.get(id), cx.desired.get(id)) else { return };
        if follows_parent(cx, self.all, id) {
            draft.followers.push((id.clone(), counterpart(cx, id).expect("it follows one")));
            return;
        }
        let group = self.group(id, draft, group_of);
        let changed = old != new;
        let stage = replacement_stage(cx, id);
        let converts = self.converts(cx, id);
        let absorbed = self.absorbed(cx, old).filter(|_| id.kind != "foreign-key");
        let index_above =
            index_above(cx, id).filter(|above| cx.live.get(above) != cx.desired.get(above) || draft.making.contains_key(above));
        if let Some(view) = self.beside(cx, id) {
            super::materialized_view::replace(cx, &view, old, new, group, draft);
            return;
        }
        // The one above is undone first, and takes it away.
        let with_above = |sql: String| {
            sql.replacen("DROP INDEX ", "DROP INDEX IF EXISTS ", 1).replacen("DROP CONSTRAINT ", "DROP CONSTRAINT IF EXISTS ", 1)
        };
        let (mut last_drop, mut made_back) =
            (None, index_above.is_some().then(|| new.drop().sql.into_iter().map(with_above).collect::<Vec<String>>()));
        let away = if absorbed.is_some() || index_above.is_some() {
            draft.removed_with.extend(absorbed.or(index_above).map(|parent| (id.clone(), parent)));
            None
        } else if let Some((rename, temporary)) = converts.then(|| rename_away(cx, id)).flatten() {
            // Columns still use it: it makes room under another name until they are converted.
            let mut away = Op::new(id, rename, stage, "replace").removes(id).puts_temporary(&temporary);
            away.teardown = true;
            let moved = renamed_object(old, id, id, &temporary);
            let mut action = moved.drop();
            action.title = format!("Drop the old {id}");
            let mut buried = Op::new(id, action, stage, "replace").removes(&temporary);
            let [begin, end] = relabel::back_in_place(cx, id, &temporary).map_or([None, None], |ways| ways.map(Some));
            away.undo = begin.is_some().then(|| super::undo::hanging(cx, id));
            (buried.undo, made_back) = (begin, end);
            last_drop = Some(buried);
            Some(away)
        } else {
            let mut away = drop(old, stage);
            if is_plain_column(old) || is_plain_column(new) {
                // A generated column is computed again; what it takes the place of, or leaves to clients to write, is not.
                away.action.hazards = vec![(Hazard::DropColumn, format!("{id} is made anew: its values go"))];
                away.action.loses = Some(id.to_string());
            } else if !loses_rows(&id.kind) {
                away.action.hazards.clear();
                away.action.loses = None;
            } else if id.kind == "table" {
                // How a table is divided cannot be changed in place.
                let why = draft.refused.get(id).map(|reason| format!("; they could not be kept: {reason}")).unwrap_or_default();
                away.action.hazards =
                    vec![(Hazard::DropTable, format!("{id} is dropped with its rows and made anew, divided otherwise{why}"))];
            }
            Some(away)
        };
        let mut made = self.creation(cx, new, stage);
        if changed && breaks_clients(&id.kind) && !cx.policy.direct {
            made.action = made.action.hazard(Hazard::Breaking, format!("{id} is made anew: statements that rely on its old form fail"));
        }
        let index_of_table =
            matches!(id.kind.as_str(), "index") && new.parent().is_some_and(|parent| cx.persists(&parent) && !self.is_replaced(&parent));
        let put: Vec<Id> =
            made.effects.iter().filter_map(|effect| if let Effect::Put(object) = effect { Some(object.id()) } else { None }).collect();
        let mut away_at = None;
        if let Some(mut away) = away {
            away.group = group;
            away.irreversible = last_drop.is_some() && away.undo.is_none();
            let at = draft.push(away);
            draft.gone.insert(id.clone(), at);
            draft.first.insert(id.clone(), at);
            away_at = Some(at);
        }
        made.irreversible = last_drop.is_some() && made_back.is_none();
        made.undo = made_back;
        made.group = if index_of_table { None } else { group };
        let at = draft.push(made);
        if let Some(away) = away_at {
            draft.order(away, at);
        }
        draft.ready.insert(id.clone(), at);
        draft.making.insert(id.clone(), at);
        for child in put {
            draft.ready.insert(child.clone(), at);
            draft.making.insert(child, at);
        }
        if let Some(mut buried) = last_drop {
            buried.group = group;
            buried.irreversible = buried.undo.is_none();
            buried.teardown = true;
            let buried_at = draft.push(buried);
            draft.order(at, buried_at);
            draft.buried.insert(id.clone(), buried_at);
        }
    }

    /// Whether a column is to be converted from it, or from a type that is made of it and stands aside until then.
    fn converts(&self, cx: &Context<'_>, id: &Id) -> bool {
        cx.live.dependants(id).any(|dependant| match self.all.get(dependant) {
            Some(Change::Convert(_)) => true,
            Some(Change::Replace) => matches!(dependant.kind.as_str(), "domain" | "type" | "range-type") && self.converts(cx, dependant),
            _ => false,
        })
    }

    /// The materialized view that `id` is, or whose index it is, where that can be built beside the old one: nothing
    /// that it stands on is made again or changes its form.
    fn beside(&self, cx: &Context<'_>, id: &Id) -> Option<Id> {
        let view = match id.kind.as_str() {
            "materialized-view" => id.clone(),
            "index" => cx.desired.get(id)?.parent().filter(|parent| parent.kind == "materialized-view")?,
            _ => return None,
        };
        if cx.policy.direct || !self.is_replaced(&view) || cx.live.get(&view) == cx.desired.get(&view) {
            return None;
        }
        let states = [(cx.live, cx.live.get(&view)?), (cx.desired, cx.desired.get(&view)?)];
        let stands = states.into_iter().all(|(state, object)| {
            state.all_needs(object).iter().all(|need| match self.all.get(need) {
                Some(Change::Replace | Change::Drop | Change::Convert(_)) => false,
                Some(Change::Alter(_)) => need.kind != "column",
                _ => true,
            })
        });
        stands.then_some(view)
    }

    fn group(&self, id: &Id, draft: &mut Draft, group_of: &mut BTreeMap<Id, usize>) -> Option<usize> {
        let root = self.groups.get(id)?;
        Some(*group_of.entry(root.clone()).or_insert_with(|| draft.group()))
    }
}

/// What may be part of the CREATE statement of an object: its children and those of its columns, in the
/// order of the desired state.
fn inlinable<'c>(cx: &Context<'c>, id: &Id) -> impl Iterator<Item = &'c Object> {
    let mut parts = cx.desired.parts(id);
    let columns: Vec<Id> = parts.iter().map(|part| part.id()).filter(|id| id.kind == "column").collect();
    parts.extend(columns.iter().flat_map(|column| cx.desired.parts(column)));
    parts.retain(|object| object.inlines() != Inline::Never);
    parts.sort_by_cached_key(|object| cx.desired.objects.get_index_of(&object.id()));
    parts.into_iter()
}

/// Whether a constraint guards a column that old clients still write: a renamed one, or a foreign key
/// of one that goes. (A check of a column that goes would stop new clients, who leave it NULL.)
fn guards_leaving_column(cx: &Context<'_>, object: &Object) -> bool {
    let kind = object.id().kind;
    matches!(kind.as_str(), "check" | "foreign-key")
        && cx.live.all_needs(object).iter().any(|need| {
            let own = object.parent().is_some_and(|table| need.path.len() == 3 && need.path[..2] == table.path[..]);
            let leaves = own && need.kind == "column" && !cx.desired.contains(need);
            leaves && (kind == "foreign-key" || cx.hints.renames.values().any(|old| old == need))
        })
}

fn is_plain_column(object: &Object) -> bool {
    matches!(object, Object::Column(column) if column.generated.is_none())
}

fn loses_rows(kind: &str) -> bool {
    matches!(kind, "table" | "sequence")
}

/// Whether clients name it in their statements, so that a new form may not suit the old ones.
fn breaks_clients(kind: &str) -> bool {
    matches!(
        kind,
        "view"
            | "materialized-view"
            | "function"
            | "procedure"
            | "aggregate"
            | "table"
            | "enum"
            | "domain"
            | "type"
            | "range-type"
            | "column"
    )
}

/// Renames a type so that its name is free: the action and the temporary id.
fn rename_away(cx: &Context<'_>, id: &Id) -> Option<(Action, Id)> {
    let temporary = id.renamed(&derived_name(id.name(), "_old"));
    let mut action = (registration(&id.kind)?.rename)(id, &temporary)?;
    action.sql.extend(super::rename::domain_not_null(cx, cx.live, id, &temporary).map(|[there, _]| there));
    action.title = format!("Set the old {id} aside");
    action.hazards.clear();
    Some((action, temporary))
}

/// What is made again together: connected by needs. Each set gives its least id as the root.
fn groups(cx: &Context<'_>, changes: &Changes) -> BTreeMap<Id, Id> {
    let mut members: BTreeSet<&Id> =
        changes.iter().filter(|(_, change)| matches!(change, Change::Replace | Change::Convert(_))).map(|(id, _)| id).collect();
    // A column that changes its type belongs to what is made again around it.
    members
        .extend(changes.iter().filter(|(_, change)| matches!(change, Change::Alter(_))).map(|(id, _)| id).filter(|id| id.kind == "column"));
    let mut root: BTreeMap<Id, Id> = members.iter().map(|id| ((*id).clone(), (*id).clone())).collect();
    for id in &members {
        let Some(object) = cx.live.get(id) else { continue };
        for need in cx.live.all_needs(object) {
            if members.contains(&need) {
                let (a, b) = (find(&root, id), find(&root, &need));
                let (low, high) = if a < b { (a, b) } else { (b, a) };
                root.insert(high, low);
            }
        }
    }
    let roots: Vec<(Id, Id)> = members
        .iter()
        .filter(|id| !matches!(changes.get(**id), Some(Change::Alter(_))))
        .map(|id| ((*id).clone(), find(&root, id)))
        .collect();
    roots.into_iter().collect()
}

/// The root of a set.
fn find(root: &BTreeMap<Id, Id>, id: &Id) -> Id {
    let mut at = id.clone();
    while root[&at] != at {
        at = root[&at].clone();
    }
    at
}
