//! An enum that loses values, or whose values change places. PostgreSQL has no statement for either (manual, ALTER
//! TYPE): a second type stands beside it, each of its columns gets one of that type beside it, and at the switch the
//! types change names together with the columns. Values go from one type to the other as text.

use std::collections::BTreeSet;

use super::RECIPE;
use crate::catalog::id::{derived_name, literal, quote};
use crate::catalog::{Catalog, Id, Ident, Indexed};
use crate::kind::cast::{Cast, Method};
use crate::kind::column::Column;
use crate::kind::enum_type::EnumType;
use crate::kind::lowering::Hints;
use crate::kind::violations::rows;
use crate::kind::{Kind as _, Object, sql_type};
use crate::plan::change::{Change, Changes};
use crate::plan::draft::{Context, Op};
use crate::plan::op::{Action, Violations};
use crate::plan::plan::StageName;

/// An enum with the one that takes its place.
#[derive(Clone, Debug)]
pub struct Relabel<'c> {
    old: &'c EnumType,
    new: &'c EnumType,
    /// The new type until the switch.
    shadow: Id,
    /// The old type after it.
    aside: Id,
    /// What rows get instead of a value that goes, as the author says.
    instead: Vec<(&'c Ident, &'c Ident)>,
    /// What hangs on the type itself and is put on the new one: comment, owner, grants.
    pub(super) hanging: Vec<Id>,
    /// The same, where it is there now and not wanted.
    pub(super) gone: Vec<Id>,
}

/// The enums that cannot be altered in place: those that lose values, or whose values change places.
pub fn relabelled<'c>(live: &'c Indexed<'c>, desired: &'c Indexed<'c>) -> impl Iterator<Item = (&'c EnumType, &'c EnumType)> {
    let both = live.of::<EnumType>().filter_map(|old| Some((old, desired.get_as::<EnumType>(&old.id())?)));
    both.filter(|(old, new)| is_relabelled(old, new))
}

/// The enums of a live state under the names, their own and those of their values, that they have once what is renamed in
/// place has its new name; each with what it is called now.
#[must_use]
pub fn renamed<'c>(live: &'c Catalog, hints: &Hints) -> Vec<(&'c EnumType, EnumType)> {
    let renamed = |old: &'c EnumType| {
        let id = old.id();
        let new = hints.renames.iter().find(|(new, old)| **old == id && !live.contains(new)).map_or(&id, |(new, _)| new);
        let mut object = EnumType { schema: new.schema().into(), name: new.name().into(), ..old.clone() };
        for ((_, to), from) in hints.part_renames.iter().filter(|((owner, _), _)| owner == new) {
            let taken = object.values.contains(to);
            object.values.iter_mut().filter(|value| *value == from && !taken).for_each(|value| *value = to.clone());
        }
        (old, object)
    };
    live.of::<EnumType>().map(renamed).collect()
}

/// Whether the one cannot become the other in place: it loses values, or they change places.
#[must_use]
pub fn is_relabelled(old: &EnumType, new: &EnumType) -> bool {
    !gone(old, new).is_empty() || !old.is_ordered_as(new)
}

/// The values that the second type has not.
fn gone<'c>(from: &'c EnumType, to: &EnumType) -> Vec<&'c Ident> {
    from.values.iter().filter(|value| !to.values.contains(value)).collect()
}

/// The type that stands beside an enum until the switch.
#[must_use]
pub fn shadow_type(live: &Indexed<'_>, desired: &Indexed<'_>, id: &Id) -> Id {
    free_type(live, desired, id, "_schema_new")
}

fn free_type(live: &Indexed<'_>, desired: &Indexed<'_>, id: &Id, suffix: &str) -> Id {
    // Types share their namespace with relations.
    let taken = |id: &Id| [live, desired].iter().any(|state| state.has_relation(id.schema(), id.name()));
    let numbered = (2..).map(|number| derived_name(id.name(), &format!("{suffix}_{number}")));
    let mut names = [derived_name(id.name(), suffix)].into_iter().chain(numbered).map(|name| id.renamed(&name));
    names.find(|id| !taken(id)).expect("a schema has few types")
}

/// The columns of a type, or of arrays of it, by the name that they call it.
pub fn columns_of_type<'c>(state: &'c Catalog, id: &Id) -> impl Iterator<Item = &'c Column> + use<'c> {
    let name = id.sql();
    state.of::<Column>().filter(move |column| sql_type::base(&column.data_type) == name)
}

/// What hangs on an object itself.
fn on(state: &Catalog, id: &Id) -> impl Iterator<Item = Id> {
    let id = id.clone();
    state.objects.values().filter(move |object| object.parent().as_ref() == Some(&id)).map(Object::id)
}

/// A text type for values of `data_type`: `text`, or `text[]`.
fn text_of(data_type: &str) -> String {
    sql_type::with_base(data_type, "text")
}

fn list(values: &[&Ident]) -> String {
    values.iter().map(|value| literal(value)).collect::<Vec<_>>().join(", ")
}

fn named(values: &[&Ident]) -> String {
    values.iter().map(|value| format!("'{value}'")).collect::<Vec<_>>().join(", ")
}

/// Whether `value`, or an element of it, is one of `values`.
fn holds(data_type: &str, value: &str, values: &[&Ident]) -> String {
    if data_type.ends_with(']') {
        format!("{value}::text[] && ARRAY[{}]", list(values))
    } else {
        format!("{value}::text IN ({})", list(values))
    }
}

/// For a column of such an enum: the rows that the new type has no value for. Nothing is known of other columns.
#[must_use]
pub fn violations(cx: &Context<'_>, column: &Column) -> Option<Vec<Violations>> {
    let base = sql_type::base(&column.data_type);
    let (old, new) = relabelled(cx.live, cx.desired).find(|(_, new)| new.id().sql() == base)?;
    let same = cx.live.get_as::<Column>(&column.id()).is_some_and(|old| old.data_type == column.data_type);
    same.then(|| Relabel::new(cx, old, new).violations(cx, column).into_iter().collect())
}

/// Where the enum `id` is made again in place, the old one under the name of `temporary` until its columns are converted:
/// what begins the way back, and what ends it. There is none where values became others, or new ones have no old type to
/// go to; nor where something carries the type in its own name.
#[must_use]
pub fn back_in_place(cx: &Context<'_>, id: &Id, temporary: &Id) -> Option<[Vec<String>; 2]> {
    let of = Relabel::with_way_back(cx, &id.sql())?;
    let named = |id: &Id| ["function", "procedure", "aggregate", "cast"].contains(&id.kind.as_str());
    if cx.live.dependants(id).any(named) {
        return None;
    }
    let begin = [vec![rename(id, temporary)], of.old.create().sql].concat();
    Some([begin, vec![format!("DROP TYPE {}", temporary.sql())]])
}

/// How a column of such an enum comes back.
#[must_use]
pub fn converted_back(cx: &Context<'_>, column: &Id) -> Option<Vec<String>> {
    let old = cx.live.get_as::<Column>(column)?;
    let of = Relabel::with_way_back(cx, &sql_type::base(&old.data_type))?;
    if of.loses() && cx.hints.backfills.contains_key(column) {
        return None;
    }
    let value = of.back(&old.data_type, &quote(&old.name), None);
    Some(vec![old.retype_sql(&format!("{value}::{}", old.data_type))])
}

impl<'c> Relabel<'c> {
    /// The enum of this name, where every value that rows may hold is one of the old type, and the one that they held.
    fn with_way_back(cx: &Context<'c>, name: &str) -> Option<Self> {
        let (old, new) = relabelled(cx.live, cx.desired).find(|(_, new)| new.id().sql() == name)?;
        Some(Self::new(cx, old, new)).filter(|of| of.reverts() && of.instead.is_empty())
    }

    pub(super) fn all(cx: &Context<'c>, changes: &Changes) -> Vec<Self> {
        let replaced = |id: &Id| changes.get(id) == Some(&Change::Replace);
        relabelled(cx.live, cx.desired).filter(|(old, _)| replaced(&old.id())).map(|(old, new)| Self::new(cx, old, new)).collect()
    }

    fn new(cx: &Context<'c>, old: &'c EnumType, new: &'c EnumType) -> Self {
        let id = new.id();
        let instead = cx.hints.value_backfills.iter().filter(|((owner, value), _)| *owner == id && old.values.contains(value));
        Self {
            old,
            new,
            shadow: shadow_type(cx.live, cx.desired, &id),
            aside: free_type(cx.live, cx.desired, &id, "_schema_old"),
            instead: instead.map(|((_, value), with)| (value, with)).collect(),
            gone: on(cx.live, &id).filter(|part| !cx.desired.contains(part)).collect(),
            hanging: on(cx.desired, &id).collect(),
        }
    }

    pub(super) fn id(&self) -> Id {
        self.new.id()
    }

    /// The new type's id until the switch.
    pub(super) fn shadow_id(&self) -> &Id {
        &self.shadow
    }

    /// The name of the new type's counterpart of `data_type`, until the switch.
    pub(super) fn shadow_type(&self, data_type: &str) -> String {
        sql_type::with_base(data_type, &self.shadow.sql())
    }

    /// The name of the old type's counterpart of `data_type`, after the switch.
    pub(super) fn aside_type(&self, data_type: &str) -> String {
        sql_type::with_base(data_type, &self.aside.sql())
    }

    /// The columns that have the type before and after.
    pub(super) fn columns(&self, cx: &Context<'c>) -> Vec<(&'c Column, &'c Column)> {
        let both = columns_of_type(cx.live, &self.id()).filter_map(|old| Some((old, cx.desired.get_as::<Column>(&old.id())?)));
        both.filter(|(old, new)| old.data_type == new.data_type).collect()
    }

    /// Whether some value of the old type is none of the new one.
    pub(super) fn loses(&self) -> bool {
        !gone(self.old, self.new).is_empty()
    }

    /// Whether every value of the new type is one of the old one.
    pub(super) fn reverts(&self) -> bool {
        gone(self.new, self.old).is_empty()
    }

    /// Whether a comparison of two values may give another answer.
    pub(super) fn moves(&self) -> bool {
        !self.old.is_ordered_as(self.new)
    }

    /// The text of what `value`, of a column of the old type, becomes; `expression` is for rows whose value goes.
    pub(super) fn forward(&self, data_type: &str, value: &str, expression: Option<&str>) -> String {
        carried(data_type, value, &gone(self.old, self.new), &self.instead, expression)
    }

    /// The way back.
    pub(super) fn back(&self, data_type: &str, value: &str, expression: Option<&str>) -> String {
        carried(data_type, value, &gone(self.new, self.old), &[], expression)
    }

    /// Values that go and for which rows get no other one.
    fn left(&self) -> Vec<&'c Ident> {
        gone(self.old, self.new).into_iter().filter(|value| !self.instead.iter().any(|(other, _)| other == value)).collect()
    }

    /// What rows of `column` become that hold a value which goes, for the hazard.
    pub(super) fn changed(&self, column: &Column, has_expression: bool) -> Option<String> {
        let id = column.id();
        if has_expression {
            return Some(format!("{id}: rows that hold {} get what its backfill says", named(&gone(self.old, self.new))));
        }
        let gets: Vec<String> = self.instead.iter().map(|(value, with)| format!("'{value}' becomes '{with}'")).collect();
        (!gets.is_empty()).then(|| format!("{id}: {}", gets.join(", ")))
    }

    /// What clients cannot write into `column` any more as soon as the new type stands beside.
    pub(super) fn refused(&self, column: &Column, has_expression: bool) -> Option<String> {
        let left = if has_expression { Vec::new() } else { self.left() };
        (!left.is_empty()).then(|| format!("{}: {} is refused from the first step on", column.id(), named(&left)))
    }

    /// What clients of the old release meet after the switch.
    pub(super) fn breaks(&self) -> Vec<String> {
        let gone = gone(self.old, self.new);
        let lost = (!gone.is_empty()).then(|| format!("{}: statements that use {} fail", self.id(), named(&gone)));
        let moved = self.moves().then(|| format!("{}: its values are in another order for comparisons and ORDER BY", self.id()));
        lost.into_iter().chain(moved).collect()
    }

    /// Rows that hold a value which goes and get none instead.
    fn violations(&self, cx: &Context<'_>, column: &Column) -> Option<Violations> {
        let gone = gone(self.old, self.new);
        let (table, name, data_type) = (&column.table, quote(&column.name), &column.data_type);
        let expression = cx.hints.backfills.get(&column.id()).filter(|_| !gone.is_empty());
        let shown = if expression.is_some() { gone } else { self.left() };
        let first = *shown.first()?;
        let mut condition = if data_type.ends_with(']') {
            format!("{name} && ARRAY[{}]::{data_type}", list(&shown))
        } else {
            format!("{name} IN ({})", list(&shown))
        };
        let mut help = format!("give them another value, or say what they get: backfill {first} with=… at {}", self.id());
        if let Some(expression) = expression {
            // What it gives is known only from the rows.
            let text = format!("(({expression})::{})", text_of(data_type));
            let values = list(&self.new.values.iter().collect::<Vec<_>>());
            let wrong = if data_type.ends_with(']') {
                format!("EXISTS (SELECT FROM unnest({text}) AS value WHERE value <> ALL (ARRAY[{values}]::text[]))")
            } else {
                format!("{text} <> ALL (ARRAY[{values}]::text[])")
            };
            let null = if column.not_null { format!(" OR {text} IS NULL") } else { String::new() };
            condition = format!("{condition} AND ({wrong}{null})");
            "let its backfill give one of the values that stay".clone_into(&mut help);
        }
        Some(Violations {
            title: format!("rows of {table} hold {} in {}, which {} has no longer", named(&shown), column.name, self.id()),
            rows: rows(cx.live, table, "", std::slice::from_ref(&column.name), &condition),
            help,
            reads: vec![column.id()],
            ..Violations::default()
        })
    }

    /// The operation that makes the new type.
    pub(super) fn expand(&self) -> Op {
        let shadow = EnumType { name: self.shadow.name().into(), ..self.new.clone() };
        let action = Action { title: format!("Make {} beside {}", self.shadow, self.id()), ..shadow.create() };
        let (sql, drop) = (action, shadow.drop().sql);
        Op::new(&self.shadow, sql, StageName::Expand, RECIPE).undo(drop).puts_temporary(&self.shadow)
    }

    /// From the switch on: what was prepared, or is running in a function, with a value of the old type can still write it
    /// (measured; nothing can let it compare the two).
    pub(super) fn cast(&self) -> Cast {
        let (source, target) = (self.aside.sql(), self.id().sql());
        Cast { source, target, method: Method::InOut, context: "assignment".to_owned() }
    }

    /// The statements that let the new type take the name.
    pub(super) fn swap(&self) -> Vec<String> {
        let id = self.id();
        [vec![rename(&id, &self.aside), rename(&self.shadow, &id)], self.cast().create().sql].concat()
    }

    /// The statements that give the name back.
    pub(super) fn swap_back(&self) -> Vec<String> {
        let id = self.id();
        [self.cast().drop().sql, vec![rename(&id, &self.shadow), rename(&self.aside, &id)]].concat()
    }

    /// The statements that end the old type.
    pub(super) fn bury(&self) -> Vec<String> {
        let old = EnumType { name: self.aside.name().into(), ..self.old.clone() };
        [self.cast().drop().sql, old.drop().sql].concat()
    }

    /// The old type after the switch.
    pub(super) fn aside_id(&self) -> &Id {
        &self.aside
    }

    /// Why a second type cannot take the place of this one; `covered` is what is made again with it.
    pub(super) fn may_stand_beside(&self, cx: &Context<'_>, covered: &BTreeSet<Id>) -> Result<(), String> {
        let id = self.id();
        let is_it = |column: &Column| sql_type::base(&column.data_type) == id.sql();
        for old in cx.live.of::<Column>() {
            let (column, new) = (old.id(), cx.desired.get_as::<Column>(&old.id()));
            match new {
                Some(new) if new.data_type != old.data_type && (is_it(old) || is_it(new)) => {
                    return Err(format!("{column} changes its type in the same plan: make two plans of it"));
                }
                None if is_it(old) && cx.hints.renames.values().any(|renamed| *renamed == column) => {
                    return Err(format!("{column} is renamed in the same plan: make two plans of it"));
                }
                None if is_it(old) && cx.policy.quarantine.is_some() => {
                    return Err(format!("{column} goes in the same plan and is kept for a while: make two plans of it"));
                }
                _ => {}
            }
        }
        for dependant in cx.live.dependants(&id).filter(|dependant| !covered.contains(*dependant)) {
            if cx.desired.contains(dependant) {
                return Err(format!("{dependant} uses {id}"));
            }
            // Their own names hold the type's.
            if dependant.is_routine() || dependant.kind == "cast" {
                return Err(format!("{dependant} uses {id} and goes in the same plan: make two plans of it"));
            }
        }
        Ok(())
    }
}

fn rename(from: &Id, to: &Id) -> String {
    format!("ALTER TYPE {} RENAME TO {}", from.sql(), to.name_sql())
}

/// `value` as text, where each of `gone` is something else: by the expression over the row, or value by value.
fn carried(data_type: &str, value: &str, gone: &[&Ident], instead: &[(&Ident, &Ident)], expression: Option<&str>) -> String {
    let text = format!("{value}::{}", text_of(data_type));
    match expression {
        _ if gone.is_empty() => text,
        Some(expression) => {
            format!("(CASE WHEN {} THEN ({expression})::{} ELSE {text} END)", holds(data_type, value, gone), text_of(data_type))
        }
        None if instead.is_empty() => text,
        // No value that takes the place of another one goes itself, so one after the other is as all at once.
        None if data_type.ends_with(']') => {
            instead.iter().fold(text, |text, (value, with)| format!("array_replace({text}, {}, {})", literal(value), literal(with)))
        }
        None => {
            let arms: Vec<String> = instead.iter().map(|(value, with)| format!("WHEN {} THEN {}", literal(value), literal(with))).collect();
            format!("(CASE {text} {} ELSE {text} END)", arms.join(" "))
        }
    }
}
