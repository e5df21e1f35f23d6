//! The switch: one short transaction in which the new columns take names, constraints and everything else; what undoes
//! it; and the end of the old columns.

use super::cluster::Cluster;
use super::followers::Followers;
use super::pair::{Pair, forward_trigger, reverse_trigger};
use super::parts::Part;
use super::{RECIPE, lock_tables};
use crate::catalog::id::{default_name, derived_name, literal, qualified, quote};
use crate::catalog::{Catalog, Id};
use crate::kind::column::{Column, not_null_proof};
use crate::kind::default::Default;
use crate::kind::{Kind as _, Object};
use crate::plan::draft::{Context, Effect, Op, name_blocking};
use crate::plan::op::{Action, Cost, Hazard, LockMode};
use crate::plan::plan::StageName;
use crate::recipe::sync::RowTrigger;

fn alter(table: &Id, clause: &str) -> String {
    format!("ALTER TABLE {} {clause}", table.sql())
}

fn rename(table: &Id, from: &str, to: &str) -> String {
    alter(table, &format!("RENAME COLUMN {} TO {}", quote(from), quote(to)))
}

/// The statements that make objects of a state, in this order.
fn make<'i>(catalog: &Catalog, ids: impl IntoIterator<Item = &'i Id>) -> Vec<String> {
    ids.into_iter().filter_map(|id| catalog.get(id)).flat_map(|object| object.create().sql).collect()
}

impl Cluster<'_> {
    fn forward_triggers(&self) -> Vec<RowTrigger> {
        self.tables.iter().map(|table| forward_trigger(table, &self.of_table(table))).collect()
    }

    fn reverse_triggers(&self) -> Vec<RowTrigger> {
        self.tables.iter().map(|table| reverse_trigger(table, &self.of_table(table), self.undoable)).collect()
    }

    /// Whether the old column stays NOT NULL until contract. From PostgreSQL 18 on the constraint has a name, which the
    /// new column's wants.
    fn stays_not_null(&self, cx: &Context<'_>, pair: &Pair<'_>) -> bool {
        self.undoable && pair.old.not_null && cx.facts.server < 180_000 && !cx.hints.reverts.contains_key(&pair.id())
    }

    /// The old one waits under another name, so that it is there when the switch is undone.
    fn is_set_aside(&self, part: &Part<'_>) -> bool {
        self.undoable && part.live.is_some() && part.old_can_stay()
    }

    /// The operation.
    pub(super) fn switch(&self, cx: &Context<'_>) -> Op {
        let names = self.pairs.iter().map(|pair| pair.id().to_string()).collect::<Vec<_>>().join(", ");
        let mut action = Action::new(format!("Let the new {names} take {} place", if self.pairs.len() == 1 { "its" } else { "their" }));
        action.sql = self.switch_sql(cx);
        let views = self.followers.before.iter().filter(|id| matches!(id.kind.as_str(), "view" | "materialized-view"));
        for relation in self.locked.iter().chain(views) {
            action = action.lock(relation, LockMode::AccessExclusive, Cost::Instant);
        }
        for reason in self.pairs.iter().filter_map(|pair| pair.breaks(cx)) {
            action = action.hazard(Hazard::Breaking, reason);
        }
        for table in &self.tables {
            let names = self.of_table(table).iter().map(|pair| pair.new.name.to_string()).collect::<Vec<_>>();
            let (word, names) = (if names.len() == 1 { "moves" } else { "move" }, names.join(", "));
            action = action
                .hazard(Hazard::Prepared, format!("{table}: a prepared statement that returns {names} fails until it is prepared again"))
                .hazard(Hazard::RowShape, format!("{table}: INSERT and COPY must name their columns, {names} {word} to the end"));
        }
        let filled: Vec<&Id> = self.followers.after.iter().filter(|id| id.kind == "materialized-view").collect();
        if let (Some(view), Some(table)) = (filled.first(), self.tables.first()) {
            action = action.lock(view, LockMode::AccessExclusive, Cost::Build);
            action = name_blocking(action, view, cx.facts.rows(table));
        }
        let about = self.pairs[0].id();
        let mut op = Op::new(&about, action, StageName::Switch, RECIPE);
        op.undo = self.undoable.then(|| self.undo_sql(cx));
        self.effects(cx, op)
    }

    fn switch_sql(&self, cx: &Context<'_>) -> Vec<String> {
        let (mut sql, late) = Followers::drop(cx.live, &self.followers.before);
        sql.push(lock_tables(&self.locked));
        sql.extend(self.forward_triggers().into_iter().flat_map(|trigger| trigger.take));
        sql.extend(late);
        // Foreign keys before the keys that they lean on.
        let (keys, others): (Vec<&Part<'_>>, Vec<&Part<'_>>) = self.parts.iter().partition(|part| part.id.kind == "foreign-key");
        for part in keys.iter().chain(&others).filter(|part| part.live.is_some()) {
            let name = part.id.name();
            sql.push(if self.is_set_aside(part) { part.rename(name, &part.old_name()) } else { part.drop(name) });
        }
        for pair in &self.pairs {
            sql.extend(self.swap(cx, pair));
        }
        for part in others.iter().chain(&keys) {
            sql.push(match part.key() {
                Some((_, word, _)) => match part.wanted {
                    Object::PrimaryKey(wanted) => wanted.key.adopt(&part.id, word, &part.name).sql.concat(),
                    Object::Unique(wanted) => wanted.key.adopt(&part.id, word, &part.name).sql.concat(),
                    _ => unreachable!("only these two have a key"),
                },
                None => part.rename(&part.name, part.id.name()),
            });
        }
        sql.extend(make(cx.desired, self.followers.hanging.iter().chain(&self.followers.after)));
        for pair in &self.pairs {
            sql.extend(cx.facts.column_grants.get(&pair.id()).into_iter().flatten().cloned());
        }
        sql.extend(self.reverse_triggers().into_iter().flat_map(|trigger| trigger.make));
        sql
    }

    /// The two names, the sequence, NOT NULL.
    fn swap(&self, cx: &Context<'_>, pair: &Pair<'_>) -> Vec<String> {
        let (table, name) = (pair.table(), quote(&pair.new.name));
        let aside = quote(&pair.aside);
        let mut sql = Vec::new();
        if cx.live.contains(&Default::id_of(&pair.id())) {
            sql.push(alter(table, &format!("ALTER COLUMN {name} DROP DEFAULT")));
        }
        let sequence = Sequence::of(pair);
        if let Some(sequence) = &sequence {
            sql.push(format!("ALTER SEQUENCE {} RENAME TO {}", sequence.sql(&sequence.old), quote(&sequence.aside)));
        }
        sql.push(rename(table, &pair.old.name, &pair.aside));
        sql.push(rename(table, &pair.shadow, &pair.new.name));
        // Before 18 SET NOT NULL gives the column no name that is shown; there the old one makes room for it.
        let loosen =
            (pair.old.not_null && !self.stays_not_null(cx, pair)).then(|| alter(table, &format!("ALTER COLUMN {aside} DROP NOT NULL")));
        let tighten = pair.new.not_null.then(|| {
            let proof = not_null_proof(&pair.shadow_column());
            [alter(table, &format!("ALTER COLUMN {name} SET NOT NULL")), proof.drop().sql.concat()]
        });
        let Some(sequence) = sequence else {
            sql.extend(loosen);
            sql.extend(tighten.into_iter().flatten());
            return sql;
        };
        sql.extend(tighten.into_iter().flatten());
        let plain = Column { identity: None, ..pair.new.clone() };
        if let crate::plan::Alteration::Act(actions) = Column::alter(&plain, pair.new) {
            sql.extend(actions.into_iter().flat_map(|action| action.sql));
        }
        sql.push(format!(
            "SELECT setval({}, last_value, is_called) FROM {}",
            literal(&sequence.sql(&sequence.new)),
            sequence.sql(&sequence.aside)
        ));
        sql.push(alter(table, &format!("ALTER COLUMN {aside} DROP IDENTITY")));
        sql.extend(loosen);
        sql
    }

    /// The way back, as long as the old columns are kept in step.
    fn undo_sql(&self, cx: &Context<'_>) -> Vec<String> {
        let (mut sql, late) = Followers::drop(cx.desired, &self.followers.after);
        sql.push(lock_tables(&self.locked));
        sql.extend(self.reverse_triggers().into_iter().flat_map(|trigger| trigger.take));
        sql.extend(late);
        for part in &self.parts {
            let name = part.id.name();
            sql.push(if part.key().is_some() { part.drop(name) } else { part.rename(name, &part.name) });
            if self.is_set_aside(part) {
                sql.push(part.rename(&part.old_name(), name));
            }
        }
        for pair in &self.pairs {
            let (table, name) = (pair.table(), quote(&pair.new.name));
            if cx.desired.contains(&Default::id_of(&pair.id())) {
                sql.push(alter(table, &format!("ALTER COLUMN {name} DROP DEFAULT")));
            }
            sql.push(rename(table, &pair.new.name, &pair.shadow));
            sql.push(rename(table, &pair.aside, &pair.old.name));
            if pair.new.not_null {
                sql.push(alter(table, &format!("ALTER COLUMN {} DROP NOT NULL", quote(&pair.shadow))));
                sql.extend(not_null_proof(&pair.shadow_column()).add_not_valid().sql);
            }
            if pair.old.not_null && !self.stays_not_null(cx, pair) {
                sql.push(alter(table, &format!("ALTER COLUMN {name} SET NOT NULL")));
            }
        }
        for part in self.parts.iter().filter(|part| part.live.is_some() && !self.is_set_aside(part)) {
            if let Some(Object::Check(check)) = part.live {
                sql.extend(check.add_not_valid().sql);
                sql.extend(if check.not_valid { Vec::new() } else { check.validate().sql });
            }
        }
        // Comments stayed on the old ones; defaults, owners of sequences and marks of indexes come back.
        let Followers { before, after: _, hanging, gone } = &self.followers;
        sql.extend(make(cx.live, hanging.iter().chain(gone).filter(|id| id.kind != "comment")));
        sql.extend(make(cx.live, before));
        sql.extend(self.forward_triggers().into_iter().flat_map(|trigger| trigger.make));
        sql
    }

    fn effects(&self, cx: &Context<'_>, mut op: Op) -> Op {
        for pair in &self.pairs {
            op = op.removes(&pair.shadow_id()).puts_temporary(&pair.aside_id()).puts(pair.new.clone());
        }
        for pair in self.pairs.iter().filter(|pair| pair.new.not_null) {
            op = op.removes(&not_null_proof(&pair.shadow_column()).id());
        }
        for part in &self.parts {
            op = op.removes(&part.beside_id()).puts(part.wanted.clone());
            if self.is_set_aside(part) {
                op = op.puts_temporary(&part.id.renamed(&part.old_name()));
            }
        }
        for id in self.forward_triggers().iter().flat_map(|trigger| &trigger.helpers) {
            op = op.removes(id);
        }
        for id in self.reverse_triggers().iter().flat_map(|trigger| &trigger.helpers) {
            op = op.puts_temporary(id);
        }
        for id in &self.followers.gone {
            op = op.removes(id);
        }
        for object in self.followers.hanging.iter().chain(&self.followers.after).filter_map(|id| cx.desired.get(id)) {
            op.effects.push(Effect::Put(object.clone()));
        }
        op
    }

    /// The end of the old columns.
    pub(super) fn contract(&self) -> Op {
        let names = self.pairs.iter().map(|pair| pair.aside_id().to_string()).collect::<Vec<_>>().join(", ");
        let mut action = Action::new(format!("Drop {names}"));
        let triggers = self.reverse_triggers();
        action.sql.extend(triggers.iter().flat_map(|trigger| trigger.take.clone()));
        for table in &self.tables {
            let drops: Vec<String> = self.of_table(table).iter().map(|pair| format!("DROP COLUMN {}", quote(&pair.aside))).collect();
            action.sql.push(alter(table, &drops.join(", ")));
            action = action.lock(table, LockMode::AccessExclusive, Cost::Instant);
        }
        let about = self.pairs[0].id();
        let mut op = Op::new(&about, action, StageName::Contract, RECIPE);
        for id in self.pairs.iter().map(Pair::aside_id).chain(triggers.into_iter().flat_map(|trigger| trigger.helpers)) {
            op = op.removes(&id);
        }
        for part in self.parts.iter().filter(|part| self.is_set_aside(part)) {
            op = op.removes(&part.id.renamed(&part.old_name()));
        }
        op.undo = None;
        op.teardown = true;
        op
    }
}

/// The sequence of an identity column before and after: the new column has one of its own, which goes on where the old
/// one stood.
struct Sequence {
    schema: crate::catalog::Ident,
    old: crate::catalog::Ident,
    aside: crate::catalog::Ident,
    new: crate::catalog::Ident,
}

impl Sequence {
    fn of(pair: &Pair<'_>) -> Option<Self> {
        let name = |column: &Column| {
            let identity = column.identity.as_ref()?;
            Some(identity.name.clone().unwrap_or_else(|| default_name(column.table.name(), &column.name, "seq")))
        };
        let (old, new) = (name(pair.old)?, name(pair.new)?);
        Some(Self { schema: pair.table().path[0].clone(), aside: derived_name(&old, "_schema_old"), old, new })
    }

    fn sql(&self, name: &crate::catalog::Ident) -> String {
        qualified(&[self.schema.clone(), name.clone()])
    }
}
