//! The switch: one short transaction in which the new columns take names, constraints and everything else; what undoes
//! it; and the end of the old columns.

use super::cluster::Cluster;
use super::followers::Followers;
use super::pair::{Pair, forward_trigger, reverse_trigger};
use super::parts::Part;
use super::relabel::Relabel;
use super::{RECIPE, lock_tables};
use crate::catalog::id::{default_name, derived_name, literal, qualified, quote};
use crate::catalog::{Catalog, Id};
use crate::kind::column::Column;
use crate::kind::default::Default;
use crate::kind::not_null::{NAMED, rename as rename_constraint, usual};
use crate::kind::{Kind as _, Object};
use crate::plan::draft::{Context, Effect, Op, name_blocking};
use crate::plan::op::{Action, Alteration, Cost, Hazard, LockMode};
use crate::plan::plan::{BEGIN, COMMIT, StageName};
use crate::recipe::sync::{self, RowTrigger};

/// The name of the old column's NOT NULL, once the new one's wants its own.
fn not_null_aside(pair: &Pair<'_>) -> crate::catalog::Ident {
    derived_name(&usual(pair.table().name(), &pair.old.name), "_schema_old")
}

/// Whatever name the old column's has.
fn set_not_null_aside(pair: &Pair<'_>) -> String {
    let (table, column) = (literal(&pair.table().sql()), literal(&pair.old.name));
    let aside = literal(&not_null_aside(pair));
    format!(
        "DO $do$ DECLARE held name; BEGIN SELECT conname INTO held FROM pg_constraint WHERE conrelid = {table}::regclass AND contype = 'n' \
         AND conkey = (SELECT ARRAY[attnum] FROM pg_attribute WHERE attrelid = {table}::regclass AND attname = {column}); \
         EXECUTE format('ALTER TABLE %s RENAME CONSTRAINT %I TO %I', {table}, held, {aside}); END $do$"
    )
}

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
    fn forward_triggers(&self, cx: &Context<'_>) -> Vec<RowTrigger> {
        self.tables.iter().map(|table| forward_trigger(cx, table, &self.of_table(table))).collect()
    }

    fn reverse_triggers(&self, cx: &Context<'_>) -> Vec<RowTrigger> {
        self.tables.iter().map(|table| reverse_trigger(cx, table, &self.of_table(table), self.undoable)).collect()
    }

    /// Whether the old column stays NOT NULL until contract.
    fn stays_not_null(&self, cx: &Context<'_>, pair: &Pair<'_>) -> bool {
        self.undoable && pair.old.not_null && !cx.hints.reverts.contains_key(&pair.id())
    }

    /// The old one waits under another name, so that it is there when the switch is undone.
    fn is_set_aside(&self, part: &Part<'_>) -> bool {
        self.undoable && part.live.is_some() && part.old_can_stay()
    }

    /// The operation.
    pub(super) fn switch(&self, cx: &Context<'_>) -> Op {
        let names: Vec<String> =
            self.types.iter().map(Relabel::id).chain(self.pairs.iter().map(Pair::id)).map(|id| id.to_string()).collect();
        let mut action =
            Action::new(format!("Let the new {} take {} place", names.join(", "), if names.len() == 1 { "its" } else { "their" }));
        action.sql = self.switch_sql(cx);
        let views = self.followers.before.iter().filter(|id| matches!(id.kind.as_str(), "view" | "materialized-view"));
        for relation in self.locked.iter().chain(views) {
            action = action.lock(relation, LockMode::AccessExclusive, Cost::Instant);
        }
        for reason in self.types.iter().flat_map(Relabel::breaks).chain(self.pairs.iter().filter_map(|pair| pair.breaks(cx))) {
            action = action.hazard(Hazard::Breaking, reason);
        }
        for table in &self.tables {
            let names = self.of_table(table).iter().map(|pair| pair.new.name.to_string()).collect::<Vec<_>>();
            let (word, them) = if names.len() == 1 { ("moves", "it") } else { ("move", "them") };
            let names = names.join(", ");
            // A parameter keeps the type that it was prepared with.
            let compares = if self.types.is_empty() { String::new() } else { format!(", or compares {them} with a parameter,") };
            action = action
                .hazard(
                    Hazard::Prepared,
                    format!("{table}: a prepared statement that returns {names}{compares} fails until it is prepared again"),
                )
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
        sql.extend(self.forward_triggers(cx).into_iter().flat_map(|trigger| trigger.take));
        sql.extend(late);
        // Foreign keys before the keys that they lean on.
        let (keys, others): (Vec<&Part<'_>>, Vec<&Part<'_>>) = self.parts.iter().partition(|part| part.id.kind == "foreign-key");
        for part in keys.iter().chain(&others).filter(|part| part.live.is_some()) {
            let name = part.id.name();
            sql.push(if self.is_set_aside(part) { part.rename(name, &part.old_name()) } else { part.drop(name) });
        }
        sql.extend(self.types.iter().flat_map(Relabel::swap));
        for pair in &self.pairs {
            sql.extend(swap(cx, pair));
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
        sql.extend(make(cx.desired, self.types.iter().flat_map(|of| &of.hanging).chain(&self.followers.hanging)));
        // Behind the replica identity, which may have been an index over the old column.
        for pair in self.pairs.iter().filter(|pair| pair.old.not_null && !self.stays_not_null(cx, pair)) {
            sql.push(alter(pair.table(), &format!("ALTER COLUMN {} DROP NOT NULL", quote(&pair.aside))));
        }
        sql.extend(make(cx.desired, &self.followers.after));
        sql.extend(say_again(cx.desired, &self.followers.spoken));
        for id in self.types.iter().map(Relabel::id).chain(self.pairs.iter().map(Pair::id)) {
            sql.extend(cx.facts.privileges.get(&id).into_iter().flatten().cloned());
        }
        sql.extend(self.reverse_triggers(cx).into_iter().flat_map(|trigger| trigger.make));
        sql
    }

    /// The way back, as long as the old columns are kept in step.
    fn undo_sql(&self, cx: &Context<'_>) -> Vec<String> {
        let (mut sql, late) = Followers::drop(cx.desired, &self.followers.after);
        sql.push(lock_tables(&self.locked));
        sql.extend(self.reverse_triggers(cx).into_iter().flat_map(|trigger| sync::take_if_there(&trigger.take)));
        sql.extend(late);
        for part in &self.parts {
            let name = part.id.name();
            sql.push(if part.key().is_some() { part.drop(name) } else { part.rename(name, &part.name) });
            if self.is_set_aside(part) {
                sql.push(part.rename(&part.old_name(), name));
            }
        }
        for pair in &self.pairs {
            if cx.desired.contains(&Default::id_of(&pair.id())) {
                sql.push(alter(pair.table(), &format!("ALTER COLUMN {} DROP DEFAULT", quote(&pair.new.name))));
            }
            sql.push(rename(pair.table(), &pair.new.name, &pair.shadow));
            sql.push(rename(pair.table(), &pair.aside, &pair.old.name));
            let [new_default, old_default] = pair.domain_default;
            if new_default {
                sql.push(alter(pair.table(), &format!("ALTER COLUMN {} SET DEFAULT NULL", quote(&pair.shadow))));
            }
            if old_default {
                sql.push(alter(pair.table(), &format!("ALTER COLUMN {} DROP DEFAULT", quote(&pair.old.name))));
            }
        }
        sql.extend(self.types.iter().flat_map(Relabel::swap_back));
        // Comments stayed on the old ones; defaults, owners of sequences and marks of indexes come back.
        let Followers { before, after: _, hanging, gone, spoken } = &self.followers;
        sql.extend(make(cx.live, hanging.iter().chain(gone).filter(|id| id.kind != "comment")));
        for pair in &self.pairs {
            if pair.new.not_null {
                sql.push(alter(pair.table(), &format!("ALTER COLUMN {} DROP NOT NULL", quote(&pair.shadow))));
                sql.extend(pair.proof().add_not_valid().sql);
            }
            if pair.old.not_null && !self.stays_not_null(cx, pair) {
                sql.extend(pair.old.set_not_null_sql(None));
            } else if pair.old.not_null && cx.facts.server >= NAMED {
                sql.push(rename_constraint(pair.table(), &not_null_aside(pair), &pair.old.not_null_name()));
            }
        }
        for part in self.parts.iter().filter(|part| part.live.is_some() && !self.is_set_aside(part)) {
            if let Some(Object::Check(check)) = part.live {
                sql.extend(check.add_not_valid().sql);
                sql.extend(if check.not_valid { Vec::new() } else { check.validate().sql });
            }
        }
        sql.extend(make(cx.live, before));
        sql.extend(say_again(cx.live, spoken));
        sql.extend(self.forward_triggers(cx).into_iter().flat_map(|trigger| trigger.make));
        // The index of a constraint went with it: it is built once more, so that the switch can come again.
        for (part, (key, _, nulls)) in self.parts.iter().filter_map(|part| Some((part, part.key()?))) {
            let drop = format!("DROP INDEX CONCURRENTLY IF EXISTS {}", part.beside_id().in_schema());
            sql.extend([COMMIT.to_owned(), drop, key.index_sql(&part.name, nulls), BEGIN.to_owned()]);
        }
        sql
    }

    fn effects(&self, cx: &Context<'_>, mut op: Op) -> Op {
        for pair in &self.pairs {
            op = op.removes(&pair.shadow_id()).puts_temporary(&pair.aside_id()).puts(pair.new.clone());
        }
        for pair in self.pairs.iter().filter(|pair| pair.new.not_null) {
            op = op.removes(&pair.proof().id());
        }
        for part in &self.parts {
            op = op.removes(&part.beside_id()).puts(part.wanted.clone());
            if self.is_set_aside(part) {
                op = op.puts_temporary(&part.id.renamed(&part.old_name()));
            }
        }
        for id in self.forward_triggers(cx).iter().flat_map(|trigger| &trigger.helpers) {
            op = op.removes(id);
        }
        for id in self.reverse_triggers(cx).iter().flat_map(|trigger| &trigger.helpers) {
            op = op.puts_temporary(id);
        }
        for of in &self.types {
            op = op.removes(of.shadow_id()).puts_temporary(of.aside_id()).puts_temporary(&of.cast().id());
            op.effects.extend(cx.desired.get(&of.id()).cloned().map(Effect::Put));
        }
        let (hanging, gone): (Vec<&Id>, Vec<&Id>) = (
            self.types.iter().flat_map(|of| &of.hanging).chain(&self.followers.hanging).collect(),
            self.types.iter().flat_map(|of| &of.gone).chain(&self.followers.gone).collect(),
        );
        for id in gone {
            op = op.removes(id);
        }
        for object in hanging.into_iter().chain(&self.followers.after).filter_map(|id| cx.desired.get(id)) {
            op.effects.push(Effect::Put(object.clone()));
        }
        op
    }

    /// The end of the old columns.
    pub(super) fn contract(&self, cx: &Context<'_>) -> Op {
        let types = self.types.iter().map(|of| of.aside_id().clone());
        let names = self.pairs.iter().map(Pair::aside_id).chain(types.clone()).map(|id| id.to_string()).collect::<Vec<_>>().join(", ");
        let mut action = Action::new(format!("Drop {names}"));
        let triggers = self.reverse_triggers(cx);
        action.sql.extend(triggers.iter().flat_map(|trigger| trigger.take.clone()));
        for table in &self.tables {
            let drops: Vec<String> = self.of_table(table).iter().map(|pair| format!("DROP COLUMN {}", quote(&pair.aside))).collect();
            action.sql.push(alter(table, &drops.join(", ")));
            action = action.lock(table, LockMode::AccessExclusive, Cost::Instant);
        }
        for part in self.parts.iter().filter(|part| part.stands_alone && self.is_set_aside(part)) {
            action.sql.push(part.drop(&part.old_name()));
            action = action.lock(&part.id.up("table"), LockMode::AccessExclusive, Cost::Instant);
        }
        action.sql.extend(self.types.iter().flat_map(Relabel::bury));
        let about = self.pairs[0].id();
        let mut op = Op::new(&about, action, StageName::Contract, RECIPE);
        let types = types.chain(self.types.iter().map(|of| of.cast().id()));
        for id in self.pairs.iter().map(Pair::aside_id).chain(types).chain(triggers.into_iter().flat_map(|trigger| trigger.helpers)) {
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

/// The statements that put routines once more, as they are.
fn say_again(catalog: &Catalog, ids: &[Id]) -> Vec<String> {
    let same = |object: &Object| match Object::alter(object, object) {
        Alteration::Act(actions) => actions.into_iter().flat_map(|action| action.sql).collect(),
        _ => Vec::new(),
    };
    ids.iter().filter_map(|id| catalog.get(id)).flat_map(same).collect()
}

/// The two names, the sequence, NOT NULL.
fn swap(cx: &Context<'_>, pair: &Pair<'_>) -> Vec<String> {
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
    if pair.old.not_null && cx.facts.server >= NAMED {
        sql.push(set_not_null_aside(pair));
    }
    sql.push(rename(table, &pair.old.name, &pair.aside));
    sql.push(rename(table, &pair.shadow, &pair.new.name));
    let [new_default, old_default] = pair.domain_default;
    if new_default {
        sql.push(alter(table, &format!("ALTER COLUMN {name} DROP DEFAULT")));
    }
    if old_default {
        sql.push(alter(table, &format!("ALTER COLUMN {aside} SET DEFAULT NULL")));
    }
    let tighten = pair.new.not_null.then(|| {
        let proof = pair.proof();
        [pair.new.set_not_null_sql(None), proof.drop().sql].concat()
    });
    let Some(sequence) = sequence else {
        sql.extend(tighten.into_iter().flatten());
        return sql;
    };
    sql.extend(tighten.into_iter().flatten());
    let plain = Column { identity: None, ..pair.new.clone() };
    if let Alteration::Act(actions) = Column::alter(&plain, pair.new) {
        sql.extend(actions.into_iter().flat_map(|action| action.sql));
    }
    sql.push(format!(
        "SELECT setval({}, last_value, is_called) FROM {}",
        literal(&sequence.sql(&sequence.new)),
        sequence.sql(&sequence.aside)
    ));
    sql.push(alter(table, &format!("ALTER COLUMN {aside} DROP IDENTITY")));
    sql
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
