//! Ordered operations as the steps that people review.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::draft::{Context, Draft, Effect, Op};
use super::op::{Hazard, Lock, Transaction, Violations};
use super::plan::{Assumption, COMMIT, HazardNote, Preflight, RowsBound, Stage, StageName, Step, Summary, Undo, Work};
use crate::catalog::closure::words;
use crate::catalog::ranges::in_ranges;
use crate::catalog::{Catalog, Fingerprint, Id, Ident, Pair};
use crate::kind::{Object, sql_type};
use crate::plan::plan::Reliance;
use crate::plan::rename::Renaming;
use crate::recipe;

/// The most statements that are put together in one step because nobody can see what they touch yet.
const STATEMENTS_IN_A_STEP: usize = 200;

/// The stages with their steps.
#[must_use]
pub fn stages(cx: &Context<'_>, draft: &Draft, order: &[usize]) -> Vec<Stage> {
    let mut runs: Vec<Vec<&Op>> = Vec::new();
    let mut open_group: Option<usize> = None;
    let last_of_group: BTreeMap<usize, usize> =
        order.iter().enumerate().filter_map(|(place, at)| draft.ops[*at].group.map(|group| (group, place))).collect();
    for (place, at) in order.iter().enumerate() {
        let op = &draft.ops[*at];
        if op.action.sql.is_empty() && op.backfill.is_none() {
            // Nothing to run; what it leads to is counted with its neighbour.
            match runs.last_mut() {
                Some(run) => run.push(op),
                None => runs.push(vec![op]),
            }
            continue;
        }
        // Neither a backfill nor what runs outside a transaction takes others along.
        let shares = |op: &Op| op.action.transaction == Transaction::Inside && op.backfill.is_none();
        let joins = runs
            .last()
            .is_some_and(|run| open_group.is_some() && run[0].stage == op.stage && shares(op) && run.iter().all(|other| shares(other)))
            || runs.last().is_some_and(|run| can_join(cx, run, op));
        if joins {
            runs.last_mut().expect("there is one to join").push(op);
        } else {
            runs.push(vec![op]);
        }
        if let Some(group) = op.group {
            open_group = (last_of_group[&group] > place).then_some(group);
        }
    }
    let mut stages: Vec<Stage> = Vec::new();
    let mut number = 0;
    let mut earlier: Vec<Earlier<'_>> = Vec::new();
    for run in runs {
        let Some(stage) = run.iter().find(|op| !op.action.sql.is_empty() || op.backfill.is_some()).map(|op| op.stage) else { continue };
        number += 1;
        let mut step = step(cx, &run, number);
        step.preflight = run.iter().flat_map(|op| op.violations.iter().map(|one| preflight(&earlier, one, &op.id))).collect();
        earlier.extend(run.iter().map(|op| Earlier::new(cx, op, number)));
        match stages.last_mut() {
            Some(last) if last.name == stage => last.steps.push(step),
            _ => stages.push(Stage { name: stage, note: note(stage).to_owned(), steps: vec![step] }),
        }
    }
    stages
}

/// The steps of two stages of which the later one would have to run first: nobody could apply such a plan stage by stage.
#[must_use]
pub fn backwards(stages: &[Stage]) -> Option<String> {
    let [before, behind] = stages.windows(2).map(|pair| [&pair[0], &pair[1]]).find(|[before, behind]| before.name >= behind.name)?;
    let told = |stage: &Stage, step: &Step| format!("step {}, {} ({})", step.number, step.title, stage.name.name());
    let (last, first) = (before.steps.last()?, behind.steps.first()?);
    Some(format!("{} comes behind {}", told(behind, first), told(before, last)))
}

fn note(stage: StageName) -> &'static str {
    match stage {
        StageName::Expand | StageName::Backfill => "Old clients go on",
        StageName::Switch => "Old clients go on; the new release may be deployed afterwards",
        StageName::Contract => "When no client of the old release is left",
    }
}

/// What a look for rows must know of an operation before it.
struct Earlier<'o> {
    step: u32,
    /// The columns that it fills.
    fills: Vec<&'o Id>,
    /// What it makes, and the row that it puts.
    makes: Vec<Id>,
    row: Option<&'o Id>,
}

impl<'o> Earlier<'o> {
    fn new(cx: &Context<'_>, op: &'o Op, step: u32) -> Self {
        // What is renamed in place is live under its new name already, as the planner sees it.
        let renamed = op.recipe.starts_with("rename");
        let put = op.effects.iter().filter_map(|effect| if let Effect::Put(object) = effect { Some(object.id()) } else { None });
        Self {
            step,
            fills: op.fills.iter().map(|(column, _)| column).collect(),
            makes: put.filter(|id| renamed || !cx.live.contains(id)).collect(),
            row: (op.id.kind == "row").then_some(&op.id),
        }
    }
}

/// A look for rows, with the step after which they can be known: the last of the `earlier` ones that makes or fills what
/// it reads.
fn preflight(earlier: &[Earlier<'_>], violations: &Violations, own: &Id) -> Preflight {
    let Violations { title, rows, help, setup, reads, copies: _ } = violations;
    let home = Id::new("table", own.path[..own.path.len().min(2)].to_vec());
    let reading = |id: &Id| {
        matches!(id.kind.as_str(), "schema" | "table" | "column") && reads.iter().chain([&home]).any(|read| read.path.starts_with(&id.path))
    };
    // What it calls, and the types that it speaks of.
    let spoken: BTreeSet<String> = setup.iter().chain([rows]).flat_map(|sql| words(sql)).collect();
    let calls = |id: &Id| {
        let callable = matches!(id.kind.as_str(), "function" | "enum" | "domain" | "type" | "range-type");
        callable && id.path.get(1).is_some_and(|name| spoken.contains(name.as_str()))
    };
    // Reference rows come into the table that they are rows of.
    let comes_into = |row: &Id| reads.iter().any(|read| row.path.starts_with(&read.path[..read.path.len().min(2)]));
    let makes = |op: &Earlier<'_>| {
        let filled = op.fills.iter().any(|column| reads.contains(column));
        filled || op.row.is_some_and(comes_into) || op.makes.iter().any(|id| reading(id) || calls(id))
    };
    let after = earlier.iter().filter(|op| makes(op)).map(|op| op.step).max();
    Preflight { title: title.clone(), rows: rows.clone(), help: help.clone(), setup: setup.clone(), after }
}

/// Whether an operation can share the transaction of those before it: all of them touch only what
/// this plan makes, so that nobody waits for them, or there is nobody to wait.
fn can_join(cx: &Context<'_>, run: &[&Op], op: &Op) -> bool {
    let first = run.iter().find(|op| !op.action.sql.is_empty() || op.backfill.is_some());
    let Some(first) = first else { return true };
    let plain = |op: &Op| op.action.transaction == Transaction::Inside && op.backfill.is_none();
    if first.stage != op.stage && !cx.policy.direct || !run.iter().all(|op| plain(op)) || !plain(op) {
        return false;
    }
    let count: usize = run.iter().map(|op| op.action.sql.len()).sum();
    if cx.policy.direct {
        return true;
    }
    let unseen = |op: &Op| locks(cx, op).is_empty() && op.action.hazards.is_empty() && op.verify.is_empty();
    count < STATEMENTS_IN_A_STEP && run.iter().all(|op| unseen(op)) && unseen(op)
}

/// The locks on relations that were there before.
fn locks(cx: &Context<'_>, op: &Op) -> Vec<Lock> {
    let lives = |lock: &&Lock| {
        let path = crate::catalog::id::undotted(&lock.relation);
        // What stood under another name before, and waits for its end there.
        if path[0].starts_with(crate::kind::row::BESIDE) {
            return true;
        }
        ["table", "materialized-view", "view", "sequence"].iter().any(|kind| {
            let id = Id::new(kind, path.clone());
            cx.live.contains(&id) || cx.hints.renames.values().any(|old| *old == id)
        })
    };
    op.action.locks.iter().filter(lives).cloned().collect()
}

fn step(cx: &Context<'_>, run: &[&Op], number: u32) -> Step {
    let lead = run.iter().find(|op| !op.action.sql.is_empty() || op.backfill.is_some()).expect("a run holds something to do");
    let visible: Vec<&&Op> = run.iter().filter(|op| !op.action.sql.is_empty() || op.backfill.is_some()).collect();
    let title = match visible.len() {
        1 => lead.action.title.clone(),
        2 => format!("{}; {}", lead.action.title, lower_first(&visible[1].action.title)),
        more => format!("{}, and {} more changes", lead.action.title, more - 1),
    };
    let mut strongest: BTreeMap<String, Lock> = BTreeMap::new();
    for lock in run.iter().flat_map(|op| locks(cx, op)) {
        let entry = strongest.entry(lock.relation.clone()).or_insert_with(|| lock.clone());
        entry.mode = entry.mode.max(lock.mode);
        entry.cost = entry.cost.max(lock.cost);
    }
    let undo = undo(run);
    let ids = |take: fn(&Effect) -> Option<Id>| -> Vec<Id> {
        let set: BTreeSet<Id> = run.iter().flat_map(|op| op.effects.iter().filter_map(take)).collect();
        set.into_iter().collect()
    };
    let work = match &lead.backfill {
        Some(backfill) => Work::Backfill(backfill.clone()),
        None => Work::Sql(run.iter().flat_map(|op| op.action.sql.clone()).collect()),
    };
    Step {
        number,
        title,
        recipe: lead.recipe.to_owned(),
        transaction: run.iter().map(|op| op.action.transaction).find(|kind| *kind != Transaction::Inside).unwrap_or_default(),
        work,
        locks: strongest.into_values().collect(),
        undo: match undo {
            None => Undo::Impossible,
            Some(sql) if sql.is_empty() => Undo::Nothing,
            Some(sql) => Undo::Sql(sql),
        },
        loses: run.iter().filter_map(|op| op.action.loses.clone()).collect(),
        makes: ids(|effect| match effect {
            Effect::Put(object) => Some(object.id()),
            Effect::PutTemporary(id) => Some(id.clone()),
            Effect::Remove(_) => None,
        }),
        takes: ids(|effect| if let Effect::Remove(id) = effect { Some(id.clone()) } else { None }),
        probe: run.iter().find_map(|op| op.action.probe.clone()),
        verify: run.iter().flat_map(|op| op.verify.clone()).collect(),
        preflight: Vec::new(),
    }
}

/// The operations back, the last one first. What may only follow a commit comes when all the rest is done.
fn undo(run: &[&Op]) -> Option<Vec<String>> {
    let (mut sql, mut after) = (Vec::new(), Vec::new());
    for op in run.iter().rev() {
        let own = op.undo.as_ref()?;
        let head = own.iter().position(|statement| statement == COMMIT).unwrap_or(own.len());
        sql.extend_from_slice(&own[..head]);
        after.extend_from_slice(&own[head..]);
    }
    sql.extend(after);
    Some(sql)
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

/// The hazards of every operation, without repetitions, in the order of the steps.
#[must_use]
pub fn hazards(draft: &Draft, order: &[usize]) -> Vec<HazardNote> {
    let mut notes: Vec<HazardNote> = Vec::new();
    for at in order {
        for (hazard, subject) in &draft.ops[*at].action.hazards {
            let note = HazardNote { hazard: *hazard, subject: subject.clone() };
            // Adding two columns is one change of the row's shape.
            if !notes.contains(&note) {
                notes.push(note);
            }
        }
    }
    notes.sort_by_key(|note| note.hazard == Hazard::RowShape);
    notes
}

/// The live objects at the top that the plan touches or leans on.
#[must_use]
pub fn relies_on(live: &Catalog, draft: &Draft) -> Vec<Reliance> {
    let mut tops: BTreeSet<Id> = BTreeSet::new();
    for op in &draft.ops {
        for effect in &op.effects {
            match effect {
                // Of something new, what it is put into.
                Effect::Put(object) if !live.contains(&object.id()) => tops.extend(object.parent().and_then(|parent| top(live, &parent))),
                Effect::Put(object) => tops.extend(top(live, &object.id())),
                Effect::Remove(id) => tops.extend(top(live, id)),
                Effect::PutTemporary(_) => {}
            }
        }
    }
    // For a few, each looks through all ids; for many, ids are first put together by the names in their paths.
    let names: HashSet<&str> = if tops.len() > 4 { tops.iter().map(Id::name).collect() } else { HashSet::new() };
    let mut by_name: HashMap<&str, Vec<&Id>> = HashMap::new();
    if !names.is_empty() {
        for (id, name) in
            live.objects.keys().flat_map(|id| id.path.iter().map(move |name| (id, name.as_str()))).filter(|(_, name)| names.contains(name))
        {
            by_name.entry(name).or_default().push(id);
        }
    }
    tops.iter()
        .map(|id| {
            let parts =
                if names.is_empty() { parts_of(live, id) } else { parts_among(by_name.get(id.name()).into_iter().flatten().copied(), id) };
            let (fingerprint, parts) = Fingerprint::of_parts(live, &parts);
            let id = id.clone();
            Reliance { id, fingerprint, parts }
        })
        .collect()
}

/// The object directly in a schema (or in the database) that `id` is or stands in, if it is live.
fn top(live: &Catalog, id: &Id) -> Option<Id> {
    let mut at = live.get(id)?;
    loop {
        let parent = at.parent()?;
        if parent.kind == "schema" {
            return Some(at.id());
        }
        at = live.get(&parent)?;
    }
}

/// An object and everything that hangs on it, sorted.
#[must_use]
pub fn parts_of(catalog: &Catalog, id: &Id) -> Vec<Id> {
    let mut parts = in_ranges(catalog.objects.len(), |places| {
        let ids = catalog.objects.get_range(places).into_iter().flat_map(|objects| objects.keys());
        parts_among(ids, id)
    })
    .concat();
    parts.sort();
    parts
}

fn parts_among<'i>(ids: impl Iterator<Item = &'i Id>, id: &Id) -> Vec<Id> {
    let inside = |other: &Id| {
        other == id
            || (other.path.len() > id.path.len() && other.path[..id.path.len()] == id.path[..] && other.path.len() > 1)
            || (other.path.len() > id.path.len()
                && KINDS_OF_SATELLITES.contains(&other.kind.as_str())
                && other.path[1..].starts_with(&id.path))
            || (other.path == id.path
                && matches!(other.kind.as_str(), "partition" | "replica-identity" | "row-security")
                && id.kind == "table")
    };
    let mut parts: Vec<Id> = ids.filter(|other| inside(other)).cloned().collect();
    parts.sort();
    parts.dedup();
    parts
}

const KINDS_OF_SATELLITES: &[&str] = &["comment", "owner", "grant", "owned-by", "cluster-on"];

/// The facts about sizes that the choice of recipes rested on.
#[must_use]
pub fn assumptions(cx: &Context<'_>, draft: &Draft) -> Vec<Assumption> {
    if cx.policy.direct {
        return Vec::new();
    }
    let tables: BTreeSet<Id> = draft
        .ops
        .iter()
        .flat_map(|op| {
            op.action
                .locks
                .iter()
                .filter(|lock| lock.cost != super::op::Cost::Instant || op.recipe != "create")
                .map(|lock| Id::new("table", crate::catalog::id::undotted(&lock.relation)))
        })
        .filter(|id| cx.live.contains(id))
        .collect();
    tables
        .into_iter()
        .filter_map(|table| {
            let rows = cx.facts.rows(&table)?;
            let small = cx.policy.small_table_rows;
            Some(Assumption { table, rows: if rows <= small { RowsBound::AtMost(small) } else { RowsBound::Over(small) } })
        })
        .collect()
}

/// What changes, object by object, for people. `differing` holds (at least) every id that is not the same in both
/// states; after renames in place that is not known, and they are compared again.
#[must_use]
pub fn summary(cx: &Context<'_>, before: &Catalog, differing: Option<&[Id]>) -> Vec<Summary> {
    let mut tops: BTreeMap<String, Summary> = BTreeMap::new();
    // A renamed table is one table.
    let moved: Vec<(&Id, &Id)> = cx
        .hints
        .renames
        .iter()
        .filter(|(new, old)| new.path.len() <= 2 && before.contains(old) && !before.contains(new) && cx.desired.contains(new))
        .collect();
    let shown = (!moved.is_empty()).then(|| {
        let mut renaming = Renaming::new(before.clone(), moved.iter().map(|(_, old)| Ident::new(old.plain_name())));
        for (new, old) in &moved {
            renaming.rename(old, new);
        }
        renaming.into_state()
    });
    let before = shown.as_ref().unwrap_or(before);
    for (new, old) in moved {
        let home = top(before, new).filter(|home| home != new);
        let (subject, line) = match home {
            Some(home) => (home, format!("{old} -> {} renamed", new.name())),
            None => (new.clone(), format!("renamed from {}", crate::catalog::id::dotted(&old.path))),
        };
        tops.entry(subject.to_string()).or_insert_with(|| summary_of(cx, &subject, '~')).lines.push(('~', line));
    }
    let mut pairs: Vec<Pair<'_>> = match differing {
        Some(ids) => ids.iter().map(|id| (id, before.get(id), cx.desired.get(id))).filter(|(_, old, new)| old != new).collect(),
        None => before.differences(cx.desired),
    };
    pairs.sort_unstable_by_key(|(id, ..)| *id);
    let renamed_to: BTreeMap<&Id, &Id> = cx
        .hints
        .renames
        .iter()
        .filter(|(new, old)| before.contains(old) && !before.contains(new) && cx.desired.contains(new) && !cx.desired.contains(old))
        .map(|(new, old)| (old, new))
        .collect();
    let renamed_from: BTreeSet<&Id> = renamed_to.values().copied().collect();
    for (id, old, new) in pairs {
        let object = new.or(old).expect("one of the two states holds it");
        if told_above(cx, before, id, object) {
            continue;
        }
        let home = top(cx.desired, id).or_else(|| top(before, id)).unwrap_or_else(|| id.clone());
        let is_top = home == *id;
        let sign = match (old, new) {
            (None, Some(_)) => '+',
            (Some(_), None) => '-',
            _ => '~',
        };
        let whole = match (before.contains(&home), cx.desired.contains(&home)) {
            (false, true) => '+',
            (true, false) => '-',
            _ => '~',
        };
        let entry = tops.entry(home.to_string()).or_insert_with(|| summary_of(cx, &home, whole));
        if let (Some(Object::Table(was)), Some(Object::Table(now))) = (old, new)
            && was.partition_by != now.partition_by
        {
            let how = now.partition_by.as_ref().map_or_else(
                || "no longer partitioned".to_owned(),
                |key| format!("partitioned by {} ({})", key.strategy, key.elements.join(", ")),
            );
            entry.lines.push(('~', how));
        }
        // Of something new or gone as a whole only the first level is told.
        if is_top || (whole != '~' && !matches!(object, Object::Column(_))) {
            continue;
        }
        if let Some(to) = renamed_to.get(id) {
            entry.lines.push(('~', format!("{} -> {} renamed", label(id), to.name())));
            continue;
        }
        if renamed_from.contains(id) && before.get(&cx.hints.renames[id]).is_some() {
            continue;
        }
        entry.lines.push((sign, describe(id, old, new)));
    }
    tops.into_values().collect()
}

/// Whether a change of a partition is that of the table above it, of which it is told: a thousand partitions would say it
/// a thousand times.
fn told_above(cx: &Context<'_>, before: &Catalog, id: &Id, object: &Object) -> bool {
    let part_of = match object {
        Object::Column(_) | Object::Default(_) | Object::Check(_) => Some(id.name()),
        Object::Index(index) => index.part_of.as_deref(),
        Object::PrimaryKey(key) => key.key.part_of.as_deref(),
        Object::Unique(key) => key.key.part_of.as_deref(),
        _ => None,
    };
    let table = id.up("table");
    let Some((name, parent)) = part_of.zip(recipe::plain::live_parent(cx, &table)) else { return false };
    let above = parent.child(&id.kind, name);
    let ends = |id: &Id| [before.get(id), cx.desired.get(id)];
    let [[old, new], [was, is]] = [ends(id), ends(&above)];
    let named = matches!(object, Object::Column(_) | Object::Default(_));
    let same = !named || describe(id, old, new) == describe(&above, was, is);
    was != is && old.is_some() == was.is_some() && new.is_some() == is.is_some() && same
}

fn summary_of(cx: &Context<'_>, home: &Id, sign: char) -> Summary {
    let facts = cx.facts.tables.get(home);
    Summary {
        subject: home.to_string(),
        sign,
        rows: facts.map(|facts| facts.rows),
        bytes: facts.map(|facts| facts.bytes),
        lines: Vec::new(),
    }
}

fn label(id: &Id) -> String {
    let name = if KINDS_OF_SATELLITES.contains(&id.kind.as_str()) { id.path.last().cloned().unwrap_or_default() } else { id.name().into() };
    format!("{} {name}", id.kind)
}

fn describe(id: &Id, old: Option<&Object>, new: Option<&Object>) -> String {
    let base = label(id);
    match (old, new) {
        (None, Some(Object::Column(column))) => {
            format!("{base} {}{}", sql_type::display(&column.data_type), if column.not_null { " NOT NULL" } else { "" })
        }
        (Some(Object::Column(was)), Some(Object::Column(now))) => {
            let mut parts = Vec::new();
            if was.data_type != now.data_type {
                parts.push(format!("{} -> {}", sql_type::display(&was.data_type), sql_type::display(&now.data_type)));
            }
            match (was.not_null, now.not_null) {
                (false, true) => parts.push("now NOT NULL".to_owned()),
                (true, false) => parts.push("may now be NULL".to_owned()),
                _ => {}
            }
            if parts.is_empty() { base } else { format!("{base} {}", parts.join(", ")) }
        }
        (Some(Object::Default(was)), Some(Object::Default(now))) => format!("{base} {} -> {}", was.expression, now.expression),
        (None, Some(Object::Default(now))) => format!("{base} {}", now.expression),
        _ => base,
    }
}
