//! The switch: one short transaction in which the new form comes out of its schema and the old one goes into its own,
//! and everything that stood on the one stands on the other; what undoes it; and the end of the old form.
//!
//! Nothing gets another name: two schemas beside hold the same names, and with a table go its indexes, constraints and
//! sequences (manual, ALTER TABLE, SET SCHEMA).

use super::RECIPE;
use super::sync::{Side, Sync};
use super::tree::{Tree, objects};
use crate::catalog::id::{default_name, literal, qualified, quote, quoted_list};
use crate::catalog::{Catalog, Id, Ident, Indexed};
use crate::kind::Kind as _;
use crate::kind::foreign_key::ForeignKey;
use crate::kind::table::Table;
use crate::kind::trigger::Trigger;
use crate::plan::draft::{Context, Effect, Op, name_blocking};
use crate::plan::op::{Action, Cost, Hazard, LockMode};
use crate::plan::plan::{BEGIN, COMMIT, StageName};
use crate::recipe::retype::followers::Followers;
use crate::recipe::sync::take_if_there;

/// The statements that make objects of a state, in this order.
pub(super) fn make<'i>(catalog: &Catalog, ids: impl IntoIterator<Item = &'i Id>) -> Vec<String> {
    ids.into_iter().filter_map(|id| catalog.get(id)).flat_map(|object| object.create().sql).collect()
}

pub(super) fn to_schema(table: &Id, schema: &str) -> String {
    format!("ALTER TABLE {} SET SCHEMA {}", table.sql(), quote(schema))
}

impl Tree<'_> {
    fn syncs(&self, side: Side) -> Option<Sync> {
        self.keys.as_ref().map(|keys| Sync::of(self, keys, side))
    }

    /// Locks the form that has the name: who references it first, as an INSERT of a client does.
    pub(super) fn lock(&self) -> String {
        let mut tables: Vec<&Id> = self.incoming.iter().map(|key| &key.table).collect();
        tables.sort();
        tables.dedup();
        let tables: Vec<String> = tables.into_iter().chain([&self.root]).map(Id::sql).collect();
        format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", tables.join(", "))
    }

    /// The incoming foreign keys as they are wanted.
    pub(super) fn wanted<'c>(&self, cx: &Context<'c>) -> Vec<&'c ForeignKey> {
        self.incoming.iter().filter_map(|key| cx.desired.get_as(&key.id())).collect()
    }

    /// Sets the sequences of identity columns to where those of the other form stand.
    pub(super) fn sequences(&self, to: impl Fn(&Id) -> Id, from: impl Fn(&Id) -> Id) -> Vec<String> {
        let name = |table: &Id, column: &Ident, own: Option<&Ident>| {
            let name = own.cloned().unwrap_or_else(|| default_name(self.root.name(), column, "seq"));
            qualified(&[table.path[0].clone(), name])
        };
        let sequences = self.columns.iter().filter_map(|column| Some((column, column.identity.as_ref()?)));
        sequences
            .map(|(column, identity)| {
                let at = |table: Id| name(&table, &column.name, identity.name.as_ref());
                format!("SELECT setval({}, last_value, is_called) FROM {}", literal(&at(to(&self.root))), at(from(&self.root)))
            })
            .collect()
    }

    /// The statements of the switch; `between` runs while the table is locked and has its old form still.
    pub(super) fn switch_sql(&self, cx: &Context<'_>, between: Vec<String>) -> Vec<String> {
        let (mut sql, late) = Followers::drop(cx.live, &self.before);
        sql.push(self.lock());
        sql.extend(between);
        sql.extend(self.syncs(Side::Old).into_iter().flat_map(|sync| sync.take));
        sql.extend(late);
        sql.extend(self.incoming.iter().flat_map(|key| key.drop().sql));
        sql.extend(self.sequences(|table| self.made(table), Id::clone));
        sql.extend(self.owned[0].iter().map(|owned| format!("ALTER SEQUENCE {} OWNED BY NONE", owned.sequence.sql())));
        sql.extend(self.old.iter().map(|table| to_schema(table, &self.schema_old())));
        sql.extend(self.new.iter().map(|table| to_schema(&self.made(table), table.schema())));
        sql.extend(self.owned[1].iter().flat_map(|owned| owned.create().sql));
        sql.extend(self.wanted(cx).iter().flat_map(|key| key.add_not_valid().sql));
        sql.extend(make(cx.desired, &self.after));
        sql.extend(self.syncs(Side::New).into_iter().flat_map(|sync| sync.make));
        sql
    }

    /// The way back of the two forms; `between` runs while the table is locked and has its new form still.
    pub(super) fn undo_sql(&self, cx: &Context<'_>, between: Vec<String>) -> Vec<String> {
        let (mut sql, late) = Followers::drop(cx.desired, &self.after);
        sql.push(self.lock());
        sql.extend(self.syncs(Side::New).iter().flat_map(|sync| take_if_there(&sync.take)));
        sql.extend(late);
        sql.extend(self.wanted(cx).iter().flat_map(|key| key.drop().sql));
        sql.extend(between);
        sql.extend(self.sequences(|table| self.aside(table), Id::clone));
        sql.extend(self.owned[1].iter().map(|owned| format!("ALTER SEQUENCE {} OWNED BY NONE", owned.sequence.sql())));
        sql.extend(self.new.iter().map(|table| to_schema(table, &self.schema_new())));
        sql.extend(self.old.iter().map(|table| to_schema(&self.aside(table), table.schema())));
        sql.extend(self.owned[0].iter().flat_map(|owned| owned.create().sql));
        sql.extend(self.incoming.iter().flat_map(|key| key.add_not_valid().sql));
        sql.extend(make(cx.live, &self.before));
        sql.extend(self.syncs(Side::Old).into_iter().flat_map(|sync| sync.make));
        sql
    }

    /// The foreign keys that came back are proven again, beside the traffic.
    pub(super) fn proven_again(&self) -> Vec<String> {
        let validate: Vec<String> = self.incoming.iter().filter(|key| !key.not_valid).flat_map(|key| key.validate().sql).collect();
        if validate.is_empty() { validate } else { [vec![COMMIT.to_owned()], validate, vec![BEGIN.to_owned()]].concat() }
    }

    /// What the table's own row triggers see from now on of an UPDATE that moves a row to another partition: PostgreSQL
    /// deletes it and inserts it (manual, 39.1).
    fn moved_rows(&self, cx: &Context<'_>) -> Option<String> {
        let own = cx.desired.within::<Trigger>(&self.root).filter(|trigger| trigger.for_each_row);
        let own: Vec<&str> = own.map(|trigger| trigger.name.as_str()).collect();
        (!own.is_empty() && self.is_divided_now(cx)).then(|| {
            format!(
                "{}: an UPDATE that moves a row to another partition fires its triggers of DELETE and INSERT ({})",
                self.root,
                own.join(", ")
            )
        })
    }

    /// Whether a table that was in one piece is divided while clients are there.
    fn is_divided_now(&self, cx: &Context<'_>) -> bool {
        let divided = |state: &Indexed<'_>| state.get_as::<Table>(&self.root).is_some_and(|table| table.partition_by.is_some());
        divided(cx.desired) && !divided(cx.live) && !cx.policy.direct
    }

    /// Names what the switch holds, and what it means for clients.
    pub(super) fn held(&self, cx: &Context<'_>, mut action: Action) -> Action {
        let views = self.before.iter().filter(|id| matches!(id.kind.as_str(), "view" | "materialized-view"));
        let keys = self.incoming.iter().map(|key| &key.table);
        for relation in keys.chain(&self.old).chain(views) {
            action = action.lock(relation, LockMode::AccessExclusive, Cost::Instant);
        }
        if let Some(view) = self.after.iter().find(|id| id.kind == "materialized-view") {
            action = action.lock(view, LockMode::AccessExclusive, Cost::Build);
            action = name_blocking(action, view, cx.facts.rows(&self.root));
        }
        let news = super::tree::unique_keys(cx.desired, &self.root);
        let lost = super::tree::unique_keys(cx.live, &self.root).into_iter().find(|old| {
            // In whatever order.
            let same = |new: &&crate::kind::key::Key| {
                new.columns.len() == old.columns.len() && new.columns.iter().all(|name| old.columns.contains(name))
            };
            !news.iter().any(same)
        });
        if let Some(old) = lost.filter(|_| !cx.policy.direct) {
            let columns = old.columns.join(", ");
            action = action.hazard(Hazard::Breaking, format!("{}: ON CONFLICT ({columns}) fails from the switch on", self.root));
        }
        if let Some(subject) = self.moved_rows(cx) {
            action = action.hazard(Hazard::Breaking, subject);
        }
        if self.is_divided_now(cx) {
            // Measured on 15.
            let lost = "FROM ONLY and UPDATE ONLY find no rows; TRUNCATE ONLY, and ON CONFLICT DO UPDATE that moves a row to another partition, fail";
            action = action.hazard(Hazard::Breaking, format!("{}: from the switch on {lost}", self.root));
        }
        // Their rows are in the new form, their names are not.
        for table in self.old.iter().filter(|table| **table != self.root && !cx.desired.contains(table) && !cx.policy.direct) {
            action = action.hazard(Hazard::Breaking, format!("{table}: statements that name it fail from the switch on"));
        }
        action
    }

    /// What stands after the switch that did not before, and the other way round.
    pub(super) fn effects(&self, cx: &Context<'_>, mut op: Op) -> Op {
        for table in &self.old {
            op = op.removes(table);
        }
        for id in self.before.iter().filter(|id| !self.after.contains(id)) {
            op = op.removes(id);
        }
        for key in self.incoming.iter().filter(|key| !cx.desired.contains(&key.id())) {
            op = op.removes(&key.id());
        }
        let after = self.after.iter().filter_map(|id| cx.desired.get(id));
        for object in objects(cx.desired, &self.new).chain(after) {
            op.effects.push(Effect::Put(object.clone()));
        }
        for key in self.wanted(cx) {
            op = op.puts(ForeignKey { not_valid: true, ..key.clone() });
        }
        for owned in &self.owned[1] {
            op = op.puts((*owned).clone());
        }
        op
    }

    /// The proofs of the foreign keys that point at the new form.
    pub(super) fn validations(&self, cx: &Context<'_>) -> Vec<Op> {
        let wanted = self.wanted(cx);
        let proven = wanted.iter().filter(|key| !key.not_valid);
        proven.map(|key| Op::new(&key.id(), key.validate(), StageName::Switch, RECIPE).undo(Vec::new()).puts((*key).clone())).collect()
    }

    /// The end of the old form: its foreign keys one by one, for dropping one locks both of its tables.
    pub(super) fn contract(&self, cx: &Context<'_>) -> Vec<Op> {
        let mut ops = Vec::new();
        let root = &self.root;
        let teardown = |action: Action| {
            let mut op = Op::new(root, action, StageName::Contract, RECIPE);
            op.teardown = true;
            op
        };
        if let Some(sync) = self.syncs(Side::New) {
            let mut action = Action::new(format!("Let the old form of {root} go out of step"));
            action.sql = sync.take;
            for table in &self.new {
                action = action.lock(table, LockMode::AccessExclusive, Cost::Instant);
            }
            let mut op = teardown(action);
            op.effects.extend(sync.helpers.into_iter().map(Effect::Remove));
            ops.push(op);
        }
        for key in cx.live.of::<ForeignKey>().filter(|key| self.old.contains(&key.table)) {
            let table = self.aside(&key.table);
            let action = Action::new(format!("Drop {} of the old form", key.id()))
                .sql(format!("ALTER TABLE {} DROP CONSTRAINT {}", table.sql(), quote(&key.name)))
                .lock(&table, LockMode::AccessExclusive, Cost::Instant)
                .lock(&key.references, LockMode::AccessExclusive, Cost::Instant);
            ops.push(teardown(action));
        }
        let mut end = teardown(Action::new(format!("Drop the old form of {root}")));
        end.action.sql = self.end_sql();
        for table in &self.old {
            let aside = self.aside(table);
            end.action = end.action.lock(&aside, LockMode::AccessExclusive, Cost::Instant);
            end = end.removes(&aside);
        }
        if let Some(index) = self.helper_index() {
            end.action.sql.insert(0, format!("DROP INDEX {}", index.in_schema()));
            for table in &self.new {
                end.action = end.action.lock(table, LockMode::AccessExclusive, Cost::Instant);
            }
            end = end.removes(&index);
        }
        for schema in [self.schema_new(), self.schema_old()] {
            end = end.removes(&Id::new("schema", [schema]));
        }
        ops.push(end);
        ops
    }

    /// The statements that end the old form and both schemas.
    pub(super) fn end_sql(&self) -> Vec<String> {
        let mut sql = vec![format!("DROP TABLE {}", self.aside(&self.root).sql())];
        sql.extend([self.schema_new(), self.schema_old()].iter().map(|schema| format!("DROP SCHEMA {}", quote(schema))));
        sql
    }

    /// The unique index that stands in for a key, until contract; as it is called after the switch.
    pub(super) fn helper_index(&self) -> Option<Id> {
        self.keys.as_ref().filter(|keys| keys.by_index)?;
        let name = crate::catalog::id::derived_name(self.root.name(), "_schema_key");
        Some(self.root.child("index", &name))
    }

    /// A query whose answer is `same` where both forms hold the same rows: `other` is the one that clients do not see.
    /// One statement sees one moment of both, and only reads.
    pub(super) fn compare(&self, other: &Id) -> String {
        let list = quoted_list(self.copied());
        let sum = |table: &Id| {
            format!(
                "SELECT count(*) AS rows, sum(hashtextextended(ROW({list})::text COLLATE \"C\", 0)::numeric) AS sum FROM {}",
                table.sql()
            )
        };
        format!(
            "SELECT CASE WHEN own.rows <> other.rows THEN own.rows || ' rows and ' || other.rows WHEN own.sum IS DISTINCT FROM other.sum \
             THEN own.rows || ' rows that differ' ELSE 'same' END\nFROM ({}) own,\n    ({}) other",
            sum(&self.root),
            sum(other)
        )
    }
}
