//! Which columns take the place of which: the links between those that come and those that go.

use crate::catalog::Id;
use crate::kind::Kind as _;
use crate::kind::column::Column;
use crate::kind::default::Default;
use crate::plan::change::{Change, Changes};
use crate::plan::draft::Context;
use crate::recipe::rename_column::ways;
use crate::recipe::{plain, rename, types};

/// A column that goes.
pub struct Old<'c> {
    pub column: &'c Column,
    /// How it is computed from the new ones, if the author says so.
    pub back: Option<String>,
}

/// A column that comes.
pub struct New<'c> {
    pub column: &'c Column,
    /// How it is computed from the old ones.
    pub value: String,
    /// What it gets of itself once the old ones are gone.
    pub default: Option<&'c Default>,
}

/// Columns of one table that are computed from each other.
pub struct Group<'c> {
    pub table: &'c Id,
    /// Tells it from the others of the plan.
    pub number: usize,
    pub old: Vec<Old<'c>>,
    pub new: Vec<New<'c>>,
}

/// The groups among the changes: a new column and a column that goes belong together when the `backfill` of the one
/// names the other, as PostgreSQL says, or its `revert` gives it back.
pub fn groups<'c>(cx: &Context<'c>, changes: &Changes) -> Vec<Group<'c>> {
    let stays = |table: &Id| cx.persists(table) && !matches!(changes.get(table), Some(Change::Replace));
    let of = |wanted: Change| {
        changes
            .iter()
            .filter(move |(id, change)| **change == wanted && id.kind == Column::KEYWORD && stays(&id.up("table")))
            .map(|(id, _)| id)
            .filter(|id| !plain::follows_parent(cx, changes, id))
    };
    let renamed = |id: &Id| cx.hints.renames.get(id).is_some_and(|old| changes.get(old) == Some(&Change::Drop));
    let new: Vec<&Column> = of(Change::Create)
        .filter(|id| cx.hints.backfills.contains_key(*id) || renamed(id))
        .filter_map(|id| cx.desired.get_as::<Column>(id))
        .collect();
    let old: Vec<&Column> = of(Change::Drop).filter_map(|id| cx.live.get_as::<Column>(id)).collect();
    let linked = |new: &Column, old: &Column| {
        new.table == old.table
            && (cx.facts.reads.get(&new.id()).is_some_and(|names| names.contains(&old.name))
                || cx.hints.renames.get(&new.id()) == Some(&old.id())
                || cx.hints.given_back.get(&old.id()).is_some_and(|back| back.by == new.id()))
    };
    let mut groups: Vec<(Vec<&Column>, Vec<&Column>)> = Vec::new();
    for one in new {
        let own: Vec<&Column> = old.iter().copied().filter(|old| linked(one, old)).collect();
        if own.is_empty() {
            continue;
        }
        // What it shares an old column with becomes one group with it.
        let (joined, apart): (Vec<_>, Vec<_>) = groups.into_iter().partition(|(olds, _)| olds.iter().any(|old| own.contains(old)));
        groups = apart;
        let mut olds: Vec<&Column> = joined.iter().flat_map(|(olds, _)| olds.clone()).collect();
        olds.extend(own.iter().copied().filter(|old| !joined.iter().any(|(olds, _)| olds.contains(old))));
        groups.push((olds, joined.into_iter().flat_map(|(_, news)| news).chain([one]).collect()));
    }
    groups.into_iter().enumerate().map(|(number, (olds, news))| group(cx, number, &olds, &news)).collect()
}

fn group<'c>(cx: &Context<'c>, number: usize, olds: &[&'c Column], news: &[&'c Column]) -> Group<'c> {
    let pair = |new: &Column| olds.iter().find(|old| cx.hints.renames.get(&new.id()) == Some(&old.id())).map(|old| ways(cx, old, new));
    let back = |column: &Column| {
        let given = cx.hints.given_back.get(&column.id()).map(|back| back.expression.clone());
        let by = || news.iter().find(|new| cx.hints.renames.get(&new.id()) == Some(&column.id()));
        given.or_else(|| Some(ways(cx, column, by()?).reverse))
    };
    Group {
        table: &news[0].table,
        number,
        old: olds.iter().map(|column| Old { column, back: back(column) }).collect(),
        new: news
            .iter()
            .map(|column| New {
                column,
                value: pair(column).map_or_else(|| cx.hints.backfills[&column.id()].clone(), |ways| ways.forward),
                default: cx.desired.get_as::<Default>(&Default::id_of(&column.id())),
            })
            .collect(),
    }
}

impl Group<'_> {
    /// Why triggers cannot keep the two sides in step, if they cannot.
    pub fn not_in_step(&self, cx: &Context<'_>) -> Option<String> {
        for Old { column: old, .. } in &self.old {
            if types::refuses_null(cx.live, &old.data_type) {
                return Some(format!("the domain of {} refuses NULL, and that is checked before triggers fire", old.name));
            }
            let why = self.new.iter().find_map(|new| rename::not_in_step(cx.live, cx.desired, &old.id(), &new.column.id()));
            if let Some(why) = why {
                return Some(format!("{} or what replaces it: {why}", old.name));
            }
        }
        None
    }
}
