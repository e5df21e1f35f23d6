//! One column with the one that takes its place.

use super::relabel::Relabel;
use super::{aside_name, shadow_name};
use crate::catalog::id::{literal, quote};
use crate::catalog::{Id, Ident};
use crate::kind::Kind as _;
use crate::kind::check::Check;
use crate::kind::column::{Column, not_null_proof};
use crate::kind::sql_type::display;
use crate::plan::draft::Context;
use crate::plan::op::{Action, Hazard};
use crate::recipe::sync::{self, RowTrigger, assign, differ, field, row_trigger};
use crate::recipe::types;

/// A column whose type changes, or becomes another one of its name.
#[derive(Debug)]
pub(super) struct Pair<'c> {
    pub(super) old: &'c Column,
    pub(super) new: &'c Column,
    /// The new column's name until the switch.
    pub(super) shadow: Ident,
    /// The old column's name after it.
    pub(super) aside: Ident,
    /// The new value, over the columns before the switch.
    pub(super) forward: String,
    given: Option<&'c String>,
    revert: Option<&'c String>,
    /// The enum that it is of, where that one is changed beside the old one.
    relabel: Option<Relabel<'c>>,
    /// Whether every value that new clients write can be kept in the old column as well.
    pub(super) reverts: bool,
    /// Whether the domain of the new column, or that of the old one, has a default: it would stand for a value that
    /// nobody gave.
    pub(super) domain_default: [bool; 2],
    /// Whether the values of the new column, or those of the old one, are rows.
    pub(super) is_row: [bool; 2],
}

impl<'c> Pair<'c> {
    pub(super) fn new(cx: &Context<'c>, old: &'c Column, new: &'c Column) -> Self {
        let id = new.id();
        let (given, revert) = (cx.hints.backfills.get(&id), cx.hints.reverts.get(&id));
        let forward = given.map_or_else(|| new.conversion(old, &quote(&old.name)), |expression| format!("({expression})"));
        let measured = given.is_none() && cx.facts.retypes.get(&id).is_some_and(|retype| retype.reverts);
        Self {
            old,
            new,
            shadow: shadow_name(cx.live, cx.desired, &id),
            aside: aside_name(cx.live, cx.desired, &id),
            forward,
            given,
            revert,
            relabel: None,
            reverts: revert.is_some() || measured,
            domain_default: domain_default(cx, old, new),
            is_row: [new, old].map(|column| types::is_row(cx, &column.data_type)),
        }
    }

    /// A column of an enum that is changed beside the old one. What the author says of it is for rows whose value goes:
    /// it may have been said for another change, long ago.
    pub(super) fn relabelled(cx: &Context<'c>, relabel: &Relabel<'c>, old: &'c Column, new: &'c Column) -> Self {
        let id = new.id();
        let given = cx.hints.backfills.get(&id).filter(|_| relabel.loses());
        let revert = cx.hints.reverts.get(&id).filter(|_| !relabel.reverts());
        let forward = relabel.forward(&new.data_type, &quote(&old.name), given.map(String::as_str));
        Self {
            old,
            new,
            shadow: shadow_name(cx.live, cx.desired, &id),
            aside: aside_name(cx.live, cx.desired, &id),
            forward: format!("{forward}::{}", relabel.shadow_type(&new.data_type)),
            given,
            revert,
            relabel: Some(relabel.clone()),
            reverts: relabel.reverts() || revert.is_some(),
            domain_default: domain_default(cx, old, new),
            is_row: [false; 2],
        }
    }

    pub(super) fn id(&self) -> Id {
        self.new.id()
    }

    /// The enum that it is of, where that one is changed beside the old one.
    pub(super) const fn relabel(&self) -> Option<&Relabel<'c>> {
        self.relabel.as_ref()
    }

    pub(super) fn table(&self) -> &'c Id {
        &self.new.table
    }

    pub(super) fn shadow_id(&self) -> Id {
        self.id().renamed(&self.shadow)
    }

    pub(super) fn aside_id(&self) -> Id {
        self.id().renamed(&self.aside)
    }

    /// As it is added: what it has to be besides comes with the switch.
    pub(super) fn shadow_column(&self) -> Column {
        let data_type =
            self.relabel.as_ref().map_or_else(|| self.new.data_type.clone(), |relabel| relabel.shadow_type(&self.new.data_type));
        Column { name: self.shadow.clone(), data_type, not_null: false, identity: None, ..self.new.clone() }
    }

    /// What the way to the new type may change or refuse.
    pub(super) fn lossy(&self, cx: &Context<'_>) -> Option<String> {
        if let Some(relabel) = &self.relabel {
            let lists = [relabel.changed(self.new, self.given.is_some()), relabel.refused(self.new, self.given.is_some())];
            return lists.into_iter().flatten().reduce(|one, other| format!("{one}; {other}"));
        }
        let is_lossy = self.given.is_none() && !cx.facts.retypes.get(&self.id()).is_some_and(|retype| retype.keeps_values);
        is_lossy.then(|| format!("{}: what {} cannot hold is refused from the first step on", self.id(), display(&self.new.data_type)))
    }

    /// Where the column is converted in place after all: what its values become.
    pub(super) fn convert(&self, action: &mut Action) {
        let Some(relabel) = &self.relabel else { return };
        let value = relabel.forward(&self.new.data_type, &quote(&self.new.name), self.given.map(String::as_str));
        action.sql = vec![self.new.retype_sql(&format!("{value}::{}", self.new.data_type))];
        let changed = relabel.changed(self.new, self.given.is_some());
        action.hazards.extend(changed.map(|subject| (Hazard::LossyCast, subject)));
    }

    /// What clients of the old release lose, where one name means two things.
    pub(super) fn breaks(&self, cx: &Context<'_>) -> Option<String> {
        if self.relabel.is_some() {
            // Said of the enum, once.
            return None;
        }
        if self.given.is_some() {
            return Some(format!("{}: clients of the old release read and write it in its old meaning", self.id()));
        }
        incompatible(cx, self.old, self.new)
    }

    /// Which rows want the new value.
    pub(super) fn unfilled(&self) -> String {
        let [new_is_row, old_is_row] = self.is_row;
        let (source, is_row) = if self.given.is_some() { (self.forward.clone(), new_is_row) } else { (quote(&self.old.name), old_is_row) };
        let is_not_null = if is_row { "IS DISTINCT FROM NULL" } else { "IS NOT NULL" };
        let has_value = if self.old.not_null && self.given.is_none() { String::new() } else { format!(" AND {source} {is_not_null}") };
        format!("{} {}{has_value}", quote(&self.shadow), if new_is_row { "IS NOT DISTINCT FROM NULL" } else { "IS NULL" })
    }

    /// The check that proves the shadow column NOT NULL.
    pub(super) fn proof(&self) -> Check {
        not_null_proof(&self.shadow_column(), self.is_row[0])
    }

    /// Before the switch: the statement that writes the shadow column of the new row.
    fn write_shadow(&self) -> String {
        let target = quote(&self.shadow);
        match self.given {
            Some(_) => assign(self.table(), &target, &self.forward),
            None => format!("{} := {}", field("NEW", &target), self.forward_of(&field("NEW", &quote(&self.old.name)))),
        }
    }

    /// `value`, of the old column, as one of the new column, before the switch.
    fn forward_of(&self, value: &str) -> String {
        let data_type = &self.new.data_type;
        match &self.relabel {
            Some(relabel) => format!("{}::{}", relabel.forward(data_type, value, None), relabel.shadow_type(data_type)),
            None => self.new.conversion(self.old, value),
        }
    }

    /// `value`, of the new column, as one of the old column, after the switch.
    fn back_of(&self, value: &str) -> String {
        let data_type = &self.old.data_type;
        match &self.relabel {
            Some(relabel) => format!("{}::{}", relabel.back(data_type, value, None), relabel.aside_type(data_type)),
            None => self.old.conversion(self.new, value),
        }
    }

    /// After the switch: whether `value`, of the old column, would have become another one than `new`.
    fn becomes_another(&self, value: &str, new: &str) -> String {
        let data_type = &self.new.data_type;
        match &self.relabel {
            Some(relabel) => differ(&relabel.forward(data_type, value, None), &relabel.back(data_type, new, None)),
            None => differ(&self.new.conversion(self.old, value), new),
        }
    }

    /// After the switch: what of a row that gives the old column a value of its own is refused. It stands where the
    /// column stood, so an INSERT without a column list means it.
    fn refuse_misplaced(&self) -> String {
        let (aside, name) = (field("NEW", &quote(&self.aside)), field("NEW", &quote(&self.new.name)));
        let other = match (self.given, self.revert) {
            (None, None) if self.reverts => format!(" AND {}", differ(&aside, &self.back_of(&name))),
            (None, None) => format!(" AND {}", self.becomes_another(&aside, &name)),
            _ => String::new(),
        };
        let message = format!("{} stands at the end of its table now", self.id());
        format!(
            "    IF TG_OP = 'INSERT' AND {aside} IS NOT NULL{other} THEN\n        RAISE EXCEPTION USING ERRCODE = 'feature_not_supported', MESSAGE = {}, HINT = 'name the columns in INSERT and COPY';\n    END IF;\n",
            literal(&message)
        )
    }

    /// After the switch: the statement that writes the old column of the new row. Where several old values became one,
    /// a row keeps its own as long as nobody gives it another.
    fn write_aside(&self) -> String {
        let target = quote(&self.aside);
        let name = quote(&self.new.name);
        let write = match (&self.relabel, self.revert) {
            (Some(relabel), Some(expression)) => {
                let data_type = &self.old.data_type;
                let back = relabel.back(data_type, &name, Some(expression));
                assign(self.table(), &target, &format!("{back}::{}", relabel.aside_type(data_type)))
            }
            (None, Some(expression)) => assign(self.table(), &target, &format!("({expression})")),
            (_, None) => format!("{} := {}", field("NEW", &target), self.back_of(&field("NEW", &name))),
        };
        if !self.relabel.as_ref().is_some_and(Relabel::loses) {
            return write;
        }
        let changed = differ(&field("NEW", &name), &field("OLD", &name));
        format!("IF TG_OP = 'INSERT' OR {changed} THEN\n        {write};\n    END IF")
    }
}

fn domain_default(cx: &Context<'_>, old: &Column, new: &Column) -> [bool; 2] {
    [types::has_default(cx.desired, &new.data_type), types::has_default(cx.live, &old.data_type)]
}

/// What statements of the old release meet, where the types are of two categories.
pub(super) fn incompatible(cx: &Context<'_>, old: &Column, new: &Column) -> Option<String> {
    let id = new.id();
    let (from, to) = (display(&old.data_type), display(&new.data_type));
    (!cx.facts.retypes.get(&id).is_some_and(|retype| retype.compatible))
        .then(|| format!("{id}: statements that take it for {from} may fail on {to}"))
}

fn settings<'c>(cx: &Context<'_>, table: &Id, pairs: &[&Pair<'c>], said: impl Fn(&Pair<'c>) -> Option<&'c String>) -> String {
    let columns: Vec<&Column> = pairs.iter().flat_map(|pair| [pair.old, pair.new]).collect();
    let said: Vec<&str> = pairs.iter().filter_map(|pair| said(pair)).map(String::as_str).collect();
    sync::settings(cx, table, &columns, &said)
}

/// Writes the shadow columns of a table, last of all triggers: what the table's own ones made of a row counts.
pub(super) fn forward_trigger(cx: &Context<'_>, table: &Id, pairs: &[&Pair<'_>]) -> RowTrigger {
    let lines = pairs.iter().map(|pair| format!("    {};\n", pair.write_shadow())).collect::<Vec<_>>().concat();
    let name = sync::name(cx, table, &pairs[0].new.name, "_retype");
    let resolution = sync::resolution(&pairs.iter().filter_map(|pair| pair.given).map(String::as_str).collect::<Vec<_>>());
    let settings = settings(cx, table, pairs, |pair| pair.given);
    row_trigger(table, "~", &name, "INSERT OR UPDATE", &settings, &format!("{resolution}BEGIN\n{lines}    RETURN NEW;\nEND"))
}

/// Writes the old columns of a table after the switch, where the switch can be undone; refuses rows that mean them.
pub(super) fn reverse_trigger(cx: &Context<'_>, table: &Id, pairs: &[&Pair<'_>], undoable: bool) -> RowTrigger {
    let refused: String = pairs.iter().map(|pair| pair.refuse_misplaced()).collect();
    let kept = pairs.iter().filter(|_| undoable);
    let written = kept.map(|pair| format!("    {};\n", pair.write_aside())).collect::<Vec<_>>().concat();
    let events = if undoable { "INSERT OR UPDATE" } else { "INSERT" };
    let resolution = sync::resolution(&pairs.iter().filter_map(|pair| pair.revert).map(String::as_str).collect::<Vec<_>>());
    let body = format!("{resolution}BEGIN\n{refused}{written}    RETURN NEW;\nEND");
    let settings = settings(cx, table, pairs, |pair| pair.revert);
    row_trigger(table, "~", &sync::name(cx, table, &pairs[0].new.name, "_retype_back"), events, &settings, &body)
}
