//! One column with the one that takes its place.

use super::{aside_name, shadow_name};
use crate::catalog::id::{derived_name, literal, quote};
use crate::catalog::{Id, Ident};
use crate::kind::Kind as _;
use crate::kind::column::Column;
use crate::kind::sql_type::display;
use crate::plan::draft::Context;
use crate::recipe::sync::{RowTrigger, assign, differ, row_trigger};

/// A column whose type changes.
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
    /// Whether every value that new clients write can be kept in the old column as well.
    pub(super) reverts: bool,
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
            reverts: revert.is_some() || measured,
        }
    }

    pub(super) fn id(&self) -> Id {
        self.new.id()
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
        Column { name: self.shadow.clone(), not_null: false, identity: None, ..self.new.clone() }
    }

    /// Whether the server's own cast may change or refuse a value.
    pub(super) fn is_lossy(&self, cx: &Context<'_>) -> bool {
        self.given.is_none() && !cx.facts.retypes.get(&self.id()).is_some_and(|retype| retype.keeps_values)
    }

    /// What clients of the old release lose, where one name means two things.
    pub(super) fn breaks(&self, cx: &Context<'_>) -> Option<String> {
        if self.given.is_some() {
            return Some(format!("{}: clients of the old release read and write it in its old meaning", self.id()));
        }
        incompatible(cx, self.old, self.new)
    }

    /// Which rows want the new value.
    pub(super) fn unfilled(&self) -> String {
        let source = if self.given.is_some() { self.forward.clone() } else { quote(&self.old.name) };
        let has_value = if self.old.not_null && self.given.is_none() { String::new() } else { format!(" AND {source} IS NOT NULL") };
        format!("{} IS NULL{has_value}", quote(&self.shadow))
    }

    /// Before the switch: the statement that writes the shadow column of the new row.
    fn write_shadow(&self) -> String {
        let target = quote(&self.shadow);
        match self.given {
            Some(_) => assign(self.table(), &target, &self.forward),
            None => format!("NEW.{target} := {}", self.new.conversion(self.old, &format!("NEW.{}", quote(&self.old.name)))),
        }
    }

    /// After the switch: what of a row that gives the old column a value of its own is refused. It stands where the
    /// column stood, so an INSERT without a column list means it.
    fn refuse_misplaced(&self) -> String {
        let (aside, name) = (format!("NEW.{}", quote(&self.aside)), format!("NEW.{}", quote(&self.new.name)));
        let other = match (self.given, self.revert) {
            (None, None) if self.reverts => format!(" AND {}", differ(&aside, &self.old.conversion(self.new, &name))),
            (None, None) => format!(" AND {}", differ(&self.new.conversion(self.old, &aside), &name)),
            _ => String::new(),
        };
        let message = format!("{} stands at the end of its table now", self.id());
        format!(
            "    IF TG_OP = 'INSERT' AND {aside} IS NOT NULL{other} THEN\n        RAISE EXCEPTION USING ERRCODE = 'feature_not_supported', MESSAGE = {}, HINT = 'name the columns in INSERT and COPY';\n    END IF;\n",
            literal(&message)
        )
    }

    /// After the switch: the statement that writes the old column of the new row.
    fn write_aside(&self) -> String {
        let target = quote(&self.aside);
        match self.revert {
            Some(expression) => assign(self.table(), &target, &format!("({expression})")),
            None => format!("NEW.{target} := {}", self.old.conversion(self.new, &format!("NEW.{}", quote(&self.new.name)))),
        }
    }
}

/// What statements of the old release meet, where the types are of two categories.
pub(super) fn incompatible(cx: &Context<'_>, old: &Column, new: &Column) -> Option<String> {
    let id = new.id();
    let (from, to) = (display(&old.data_type), display(&new.data_type));
    (!cx.facts.retypes.get(&id).is_some_and(|retype| retype.compatible))
        .then(|| format!("{id}: statements that take it for {from} may fail on {to}"))
}

fn trigger_name(table: &Id, pairs: &[&Pair<'_>], suffix: &str) -> Ident {
    derived_name(&format!("{}_{}", table.name(), pairs[0].new.name), suffix)
}

/// Writes the shadow columns of a table, last of all triggers: what the table's own ones made of a row counts.
pub(super) fn forward_trigger(table: &Id, pairs: &[&Pair<'_>]) -> RowTrigger {
    let lines: String = pairs.iter().map(|pair| format!("    {};\n", pair.write_shadow())).collect();
    row_trigger(table, "~", &trigger_name(table, pairs, "_retype"), "INSERT OR UPDATE", &format!("BEGIN\n{lines}    RETURN NEW;\nEND"))
}

/// Writes the old columns of a table after the switch, where the switch can be undone; refuses rows that mean them.
pub(super) fn reverse_trigger(table: &Id, pairs: &[&Pair<'_>], undoable: bool) -> RowTrigger {
    let refused: String = pairs.iter().map(|pair| pair.refuse_misplaced()).collect();
    let written: String =
        if undoable { pairs.iter().map(|pair| format!("    {};\n", pair.write_aside())).collect() } else { String::new() };
    let events = if undoable { "INSERT OR UPDATE" } else { "INSERT" };
    let body = format!("BEGIN\n{refused}{written}    RETURN NEW;\nEND");
    row_trigger(table, "~", &trigger_name(table, pairs, "_retype_back"), events, &body)
}
