//! A column of a table: `column no bigint not-null default=0`.

use serde::{Deserialize, Serialize};

use super::check::Check;
use super::identity::Identity;
use super::not_null::NotNull;
use super::sequence::SequenceOptions;
use super::type_change::{converted, keeps_heap};
use super::{Inline, Kind, Lowering, Object, Rebuild, Row, Scope, Why, collation_name, not_null, row, sql_type, table};
use crate::catalog::expr::unwrap_parens;
use crate::catalog::id::{default_name, qualified, quote};
use crate::catalog::{Catalog, Id, Ident};
use crate::kdl::{Node, NodeOut, ValueOut};
use crate::plan::op::{Action, Alteration, Cost, Hazard, LockMode};

/// A column's own attributes; its default is an object of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Column {
    /// The table.
    pub table: Id,
    /// Its name.
    pub name: Ident,
    /// As `format_type` says it.
    pub data_type: String,
    /// Qualified, where it is not the type's own.
    pub collation: Option<String>,
    /// Whether it refuses NULL, and holds none.
    pub not_null: bool,
    /// What NOT NULL is besides, from PostgreSQL 18 on.
    #[serde(default)]
    pub constraint: NotNull,
    /// Filled from a sequence of its own.
    pub identity: Option<Box<Identity>>,
    /// Computed from other columns.
    pub generated: Option<Generated>,
    /// `plain`, `external`, `extended` or `main`, where it is not the type's own.
    pub storage: Option<String>,
    /// `pglz` or `lz4`, where it is set.
    pub compression: Option<String>,
    /// The statistics target, where it is set.
    pub statistics: Option<i64>,
    /// `n_distinct`, `n_distinct_inherited`.
    pub options: Vec<(String, String)>,
}

/// GENERATED ALWAYS AS (…).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Generated {
    /// The expression.
    pub expression: String,
    /// VIRTUAL (PostgreSQL 18), else STORED.
    pub is_virtual: bool,
}

/// The serial pseudo types and the type behind each (manual, 8.1.4).
const SERIALS: &[(&str, &str)] = &[
    ("smallserial", "smallint"),
    ("serial2", "smallint"),
    ("serial", "integer"),
    ("serial4", "integer"),
    ("bigserial", "bigint"),
    ("serial8", "bigint"),
];

impl Column {
    /// The id of a column of `table`.
    #[must_use]
    pub fn id_of(table: &Id, name: &str) -> Id {
        table.child(Self::KEYWORD, name)
    }

    /// Whether a partition's column is as the one of its table: a partition takes its rows' identity
    /// from the table above.
    #[must_use]
    pub fn is_inherited_from(&self, above: &Self) -> bool {
        let Self { table: _, name, data_type, collation, not_null, constraint, identity, generated, storage, compression, statistics, options } = self;
        let same_name = constraint.name.as_ref().is_none_or(|name| above.has_not_null() && *name == above.not_null_name());
        identity.is_none()
            && same_name
            && NotNull { name: None, ..constraint.clone() } == NotNull { name: None, ..above.constraint.clone() }
            && *name == above.name
            && *data_type == above.data_type
            && *collation == above.collation
            && *not_null == above.not_null
            && *generated == above.generated
            && *storage == above.storage
            && *compression == above.compression
            && *statistics == above.statistics
            && *options == above.options
    }

    /// The serial word that stands for this column, with what it stands for besides: the sequence,
    /// the default, that the column owns it. Only where all of them are what the word makes.
    #[must_use]
    pub fn serial(&self, catalog: &Catalog) -> Option<(&'static str, Vec<Id>)> {
        if !self.not_null || self.identity.is_some() || self.generated.is_some() {
            return None;
        }
        let word = match self.data_type.as_str() {
            "smallint" => "smallserial",
            "integer" => "serial",
            "bigint" => "bigserial",
            _ => return None,
        };
        let parts = serial_parts(&self.id(), &self.data_type);
        parts.iter().all(|part| catalog.get(&part.id()) == Some(part)).then(|| (word, parts.iter().map(Object::id).collect()))
    }

    /// Turns its node into the one of a serial column.
    pub fn write_serial(node: &mut NodeOut, word: &str) {
        Self::leave_out_not_null(node);
        if let Some(data_type) = node.args.get_mut(1) {
            *data_type = word.into();
        }
    }

    /// Takes `not-null` from its node, behind name and type.
    pub fn leave_out_not_null(node: &mut NodeOut) {
        if node.args.get(2).is_some_and(|flag| *flag == ValueOut::from("not-null")) {
            node.args.remove(2);
        }
    }

    /// `name type …`, for CREATE TABLE and ADD COLUMN.
    #[must_use]
    pub fn clause(&self, default: Option<&str>) -> String {
        let Self { table: _, name, data_type, collation, not_null, constraint, identity, generated, storage: _, compression, statistics: _, options: _ } = self;
        let mut sql = format!("{} {data_type}", quote(name));
        if let Some(method) = compression {
            sql += &format!(" COMPRESSION {}", quote(method));
        }
        if let Some(collation) = collation {
            sql += &format!(" COLLATE {collation}");
        }
        if let Some(expression) = default {
            sql += &format!(" DEFAULT {expression}");
        }
        if let Some(Generated { expression, is_virtual }) = generated {
            sql += &format!(" GENERATED ALWAYS AS ({expression}) {}", if *is_virtual { "VIRTUAL" } else { "STORED" });
        }
        if let Some(identity) = identity {
            sql += &format!(" {}", self.identity_clause(identity));
        }
        if *not_null {
            sql += &format!(" {}NOT NULL{}", constraint.prefix(), if constraint.no_inherit { " NO INHERIT" } else { "" });
        }
        sql
    }

    fn identity_clause(&self, identity: &Identity) -> String {
        let Identity { always, name, options } = identity;
        let when = if *always { "ALWAYS" } else { "BY DEFAULT" };
        let mut inner = options.clauses(false);
        if let Some(name) = name {
            inner = format!(" SEQUENCE NAME {}{inner}", qualified(&[self.table.path[0].clone(), name.clone()]));
        }
        let inner = if inner.is_empty() { String::new() } else { format!(" ({})", inner.trim_start()) };
        format!("GENERATED {when} AS IDENTITY{inner}")
    }

    /// What CREATE TABLE and ADD COLUMN cannot say on every supported version.
    #[must_use]
    pub fn after_creation(&self) -> Vec<String> {
        let start = format!("ALTER TABLE {} ALTER COLUMN {}", self.table.sql(), quote(&self.name));
        let mut sql = Vec::new();
        if let Some(storage) = &self.storage {
            sql.push(format!("{start} SET STORAGE {}", storage.to_uppercase()));
        }
        if let Some(target) = self.statistics {
            sql.push(format!("{start} SET STATISTICS {target}"));
        }
        if !self.options.is_empty() {
            sql.push(format!("{start} SET ({})", table::options_sql(&self.options)));
        }
        if self.constraint.not_valid {
            sql.push(self.add_not_null_sql());
        }
        sql
    }

    /// The action that adds it, with a default in the same statement.
    #[must_use]
    pub fn add(&self, default: Option<&str>) -> Action {
        let mut action = Action::new(format!("Add {}", self.id()))
            .sql(format!("ALTER TABLE {} ADD COLUMN {}", self.table.sql(), self.clause(default)))
            .lock(&self.table, LockMode::AccessExclusive, Cost::Instant);
        action.sql.extend(self.after_creation());
        action
    }

    /// ALTER COLUMN …, in one statement with its lock.
    #[must_use]
    pub fn altering(&self, title: String, clause: &str, mode: LockMode, cost: Cost) -> Action {
        Action::new(title).sql(format!("ALTER TABLE {} ALTER COLUMN {} {clause}", self.table.sql(), quote(&self.name))).lock(&self.table, mode, cost)
    }

    /// `value`, of the type of `old`, as a value of this column.
    #[must_use]
    pub fn conversion(&self, old: &Self, value: &str) -> String {
        converted(&old.data_type, &self.data_type, value)
    }

    /// ALTER COLUMN TYPE with an expression over the old columns.
    #[must_use]
    pub fn retype_sql(&self, using: &str) -> String {
        format!("ALTER TABLE {} ALTER COLUMN {} {}", self.table.sql(), quote(&self.name), self.retype(using))
    }

    fn retype(&self, using: &str) -> String {
        let collation = self.collation.as_ref().map_or_else(String::new, |collation| format!(" COLLATE {collation}"));
        format!("TYPE {}{collation} USING {using}", self.data_type)
    }
}

impl Kind for Column {
    const KEYWORD: &'static str = "column";
    const CATALOG: &'static str = "pg_class";
    const EFFORT: u32 = 9;
    const PARENTS: &'static [&'static str] = &["table", "partition"];
    cast_to!(Column);

    fn query(server: u32) -> Option<String> {
        // attstattarget became nullable in 17. Some builds keep a bookkeeping option of their own in
        // attoptions (`pg_attver=…`): pg_dump leaves it out, and `pg_` is the server's own prefix.
        let statistics = if server >= 170_000 { "a.attstattarget::int8" } else { "NULLIF(a.attstattarget, -1)::int8" };
        let (not_null, named) = if server >= not_null::NAMED {
            (
                "a.attnotnull AND COALESCE(k.convalidated, true), k.conname::text, c.relispartition, COALESCE(k.connoinherit, false), COALESCE(NOT k.convalidated, false)",
                " LEFT JOIN pg_constraint k ON k.conrelid = a.attrelid AND k.contype = 'n' AND k.conkey[1] = a.attnum",
            )
        } else {
            ("a.attnotnull, NULL::text, false, false, false", "")
        };
        Some(format!(
            "SELECT c.oid::int8, a.attnum::int8, n.nspname::text, c.relname::text, a.attname::text, format_type(a.atttypid, a.atttypmod), \
             CASE WHEN a.attcollation <> t.typcollation THEN (SELECT quote_ident(cn.nspname) || '.' || quote_ident(co.collname) FROM pg_collation co JOIN pg_namespace cn ON cn.oid = co.collnamespace WHERE co.oid = a.attcollation) END, \
             {not_null}, \
             CASE WHEN a.attgenerated <> '' THEN (SELECT pg_get_expr(d.adbin, d.adrelid) FROM pg_attrdef d WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum) END, a.attgenerated = 'v', \
             CASE WHEN a.attstorage <> t.typstorage THEN CASE a.attstorage WHEN 'p' THEN 'plain' WHEN 'e' THEN 'external' WHEN 'x' THEN 'extended' ELSE 'main' END END, \
             CASE a.attcompression WHEN 'p' THEN 'pglz' WHEN 'l' THEN 'lz4' END, {statistics}, CASE WHEN a.attoptions IS NOT NULL THEN (SELECT array_agg(o) FROM unnest(a.attoptions) o WHERE o NOT LIKE 'pg\\_%') END, \
             CASE WHEN i.relname IS NOT NULL THEN CASE a.attidentity WHEN 'a' THEN 'always' WHEN 'd' THEN 'default' END END, i.* \
             FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_type t ON t.oid = a.atttypid{named} \
             LEFT JOIN LATERAL (SELECT q.relname::text, {} FROM pg_depend e JOIN pg_class q ON q.oid = e.objid JOIN pg_sequence s ON s.seqrelid = q.oid \
               WHERE a.attidentity <> '' AND e.classid = 'pg_class'::regclass AND e.refclassid = 'pg_class'::regclass AND e.refobjid = a.attrelid AND e.refobjsubid = a.attnum AND e.deptype = 'i') i ON a.attidentity <> '' \
             WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND a.attnum > 0 AND NOT a.attisdropped AND {} AND {} ORDER BY 3, 4, 2",
            SequenceOptions::COLUMNS,
            row::in_user_schema("c.relnamespace"),
            row::not_extension_member("pg_class", "c.oid")
        ))
    }

    fn from_row(row: &mut Row<'_>) -> Self {
        let table = Id::new("table", [row.name(), row.name()]);
        let (name, data_type, collation, not_null) = (row.name(), row.text(), row.opt_text(), row.flag());
        let (constraint_name, in_partition, no_inherit, not_valid) = (row.opt_name(), row.flag(), row.flag(), row.flag());
        let (expression, is_virtual) = (row.opt_text(), row.flag());
        let generated = expression.map(|expression| Generated { expression: unwrap_parens(&expression).to_owned(), is_virtual });
        let (storage, compression, statistics, options) = (row.opt_text(), row.opt_text(), row.opt_int(), row::options(row.texts()));
        let identity = row.opt_text().map(|when| {
            let sequence = row.name();
            let usual = default_name(table.name(), &name, "seq");
            let name = (sequence != usual).then_some(sequence);
            Box::new(Identity { always: when == "always", name, options: SequenceOptions::from_row(row) })
        });
        let constraint = NotNull { name: None, no_inherit, not_valid };
        let mut column = Self { table, name, data_type, collation, not_null, constraint, identity, generated, storage, compression, statistics, options };
        if let Some(name) = constraint_name {
            column.name_not_null(name, in_partition);
        }
        column
    }

    fn read(node: &mut Node<'_>, at: &Scope<'_>, out: &mut Lowering) -> Option<Id> {
        let name = node.arg("a name", &mut out.findings)?;
        let written = node.arg("a type", &mut out.findings)?;
        let table = at.parent().as_kind("table");
        let serial = SERIALS.iter().find(|(serial, _)| *serial == written.value.to_ascii_lowercase()).map(|(_, real)| *real);
        let data_type = serial.map_or_else(|| sql_type::canonical(&written.value), str::to_owned);
        let collation = node.value("collation", &mut out.findings).map(|text| collation_name::from_kdl(&text.value));
        let identity = node.child("identity", &mut out.findings).and_then(|mut identity| {
            let when = identity.arg("`always` or `by-default`", &mut out.findings)?;
            crate::kdl::one_of(&when, "identity", &["always", "by-default"], &mut out.findings);
            let sequence = identity.value("name", &mut out.findings).map(|text| Ident::new(&text.value));
            let usual = default_name(table.name(), &name.value, "seq");
            let options = SequenceOptions::read(&mut identity, &data_type, out);
            identity.finish(&mut out.findings);
            let name = sequence.filter(|name| *name != usual);
            Some(Box::new(Identity { always: when.value == "always", name, options }))
        });
        let generated = node.child("generated", &mut out.findings).and_then(|mut generated| {
            let expression = generated.arg("an expression", &mut out.findings)?;
            let is_virtual = generated.flag("virtual", &mut out.findings);
            generated.finish(&mut out.findings);
            Some(Generated { expression: expression.value, is_virtual })
        });
        let storage = node.word("storage", &["plain", "external", "extended", "main"], &mut out.findings).map(|text| text.value);
        let compression = node.word("compression", &["pglz", "lz4"], &mut out.findings).map(|text| text.value);
        let statistics = node.number("statistics", &mut out.findings);
        let not_null = node.flag("not-null", &mut out.findings) || identity.is_some() || serial.is_some();
        let constraint = NotNull::read(node, out);
        let not_null = not_null && !constraint.not_valid;
        let options = table::read_options(node, out);
        let default = node.value("default", &mut out.findings);
        let backfill = node.value("backfill", &mut out.findings);
        let reverts = super::column_reverts::read(node, out);
        let was_in_place = node.word("rename", &["in-place", "staged"], &mut out.findings);
        super::column_slips::check(node, &written, out);
        if let Some(default) = &default {
            let other = if generated.is_some() { Some("is generated") } else if identity.is_some() { Some("is an identity") } else { None };
            if let Some(other) = other {
                out.complain(default, format!("column `{}` {other}, so it can have no default", name.value), "keep one of the two");
            }
        }
        if let (Some(backfill), true) = (&backfill, generated.is_some()) {
            out.complain(backfill, format!("column `{}` is generated: its values need no backfill", name.value), "take `backfill` out");
        }
        if identity.is_some() && generated.is_some() {
            out.findings.push(crate::kdl::Finding::at(node.title(), format!("column `{}` is both an identity and generated", name.value)).help("keep one of the two"));
        }
        if identity.is_some() && !matches!(data_type.as_str(), "smallint" | "integer" | "bigint") {
            out.complain(&written, format!("an identity column cannot be of type {}", written.value), "identity columns are smallint, integer or bigint");
        }
        let name = Ident::new(&name.value);
        let column = Self { table: table.clone(), name, data_type, collation, not_null, constraint, identity, generated, storage, compression, statistics, options };
        let id = out.put(node, column);
        super::column_reverts::put(&id, reverts, backfill.is_some(), out);
        if let Some(backfill) = backfill {
            out.hints.backfills.insert(id.clone(), backfill.value);
        }
        if was_in_place.is_some_and(|word| word.value == "in-place") {
            out.hints.in_place.insert(id.clone());
        }
        if let Some(default) = default {
            let expression = default.value.clone();
            let of = out.put(node, super::default::Default { column: id.clone(), expression });
            // PostgreSQL gives no position for most of what is wrong with a default.
            if let Some(origin) = out.origins.get_mut(&of) {
                origin.name = default.span;
            }
            if serial.is_some() {
                out.complain(&default, "a serial column has its default already", "remove the default, or write the type itself");
            }
        } else if let Some(real) = serial {
            for part in serial_parts(&id, real) {
                out.put(node, part);
            }
        }
        Some(id)
    }

    fn write<'n>(&self, parent: &'n mut NodeOut) -> &'n mut NodeOut {
        let mut node = NodeOut::new("column").arg(self.name.as_str()).arg(sql_type::display(&self.data_type));
        if self.not_null && self.identity.is_none() {
            node = node.arg("not-null");
        }
        self.constraint.write(&mut node);
        if let Some(collation) = &self.collation {
            node.set("collation", collation_name::to_kdl(collation));
        }
        if let Some(Identity { always, name, options }) = self.identity.as_deref() {
            let when = if *always { "always" } else { "by-default" };
            let mut inner = NodeOut::new("identity").arg(when);
            if let Some(name) = name {
                inner.set("name", name.as_str());
            }
            options.write(&mut inner);
            if inner.is_plain() { node.set("identity", when) } else { { node.add(inner); } }
        }
        if let Some(Generated { expression, is_virtual }) = &self.generated {
            if *is_virtual {
                node.add(NodeOut::new("generated").arg(expression.as_str()).arg("virtual"));
            } else {
                node.set("generated", expression.as_str());
            }
        }
        if let Some(storage) = &self.storage {
            node.set("storage", storage.as_str());
        }
        if let Some(compression) = &self.compression {
            node.set("compression", compression.as_str());
        }
        if let Some(statistics) = self.statistics {
            node.set("statistics", ValueOut::Number(statistics.to_string()));
        }
        table::write_options(&self.options, &mut node);
        parent.add(node)
    }

    fn id(&self) -> Id {
        Self::id_of(&self.table, &self.name)
    }

    fn parent(&self) -> Option<Id> {
        Some(self.table.clone())
    }

    fn texts(&self) -> Vec<&str> {
        [self.data_type.as_str()].into_iter().chain(self.generated.as_ref().map(|generated| generated.expression.as_str())).chain(self.collation.as_deref()).collect()
    }

    fn type_names(&mut self) -> Vec<&mut String> {
        vec![&mut self.data_type]
    }

    fn inlines(&self) -> Inline {
        Inline::Always
    }

    fn create(&self) -> Action {
        self.add(None)
    }

    fn drop(&self) -> Action {
        let id = self.id();
        let action = Action::new(format!("Drop {id}"))
            .sql(format!("ALTER TABLE {} DROP COLUMN {}", self.table.sql(), quote(&self.name)))
            .lock(&self.table, LockMode::AccessExclusive, Cost::Instant);
        // What is computed from other columns can be computed again.
        if self.generated.is_some() { action } else { action.hazard(Hazard::DropColumn, &id).loses(&id) }
    }

    fn alter(old: &Self, new: &Self) -> Alteration {
        let Self { table: _, name, data_type, collation, not_null, constraint, identity, generated, storage, compression, statistics, options } = new;
        let id = new.id();
        let exclusive = |title: String, clause: &str| new.altering(title, clause, LockMode::AccessExclusive, Cost::Instant);
        let mut actions = Vec::new();
        match (&old.generated, generated) {
            (None, None) => {}
            (Some(was), Some(now)) if was == now => {}
            (Some(was), None) if !was.is_virtual => actions.push(exclusive(format!("Make {id} a plain column"), "DROP EXPRESSION")),
            _ => return Alteration::Replace,
        }
        if old.identity.is_some() && identity.is_none() {
            // The way back counts on behind the rows.
            let action = exclusive(format!("Drop the identity of {id}"), "DROP IDENTITY");
            actions.push(action.hazard(Hazard::DropData, format!("the position of the identity of {id}")));
        }
        let retyped = old.data_type != *data_type || old.collation != *collation;
        if retyped {
            if generated.is_some() {
                return Alteration::Replace;
            }
            let using = new.conversion(old, &quote(name));
            let cheap = keeps_heap(&old.data_type, data_type) || (old.data_type == *data_type);
            let mut action = new.altering(
                format!("Change the type of {id} from {} to {}", sql_type::display(&old.data_type), sql_type::display(data_type)),
                &new.retype(&using),
                LockMode::AccessExclusive,
                if cheap { Cost::Instant } else { Cost::Rewrite },
            );
            if !cheap {
                action = action
                    .hazard(Hazard::Blocking, format!("{} is written again while nobody can use it", new.table))
                    .hazard(Hazard::LossyCast, format!("{id} from {} to {}", sql_type::display(&old.data_type), sql_type::display(data_type)));
            }
            actions.push(action);
        }
        if (*not_null, constraint) != (old.not_null, &old.constraint) && (new.has_not_null() || identity.is_none()) {
            actions.extend(new.alter_not_null(old));
        }
        match (&old.identity, identity) {
            (None, Some(now)) => {
                actions.push(exclusive(format!("Make {id} an identity column"), &format!("ADD {}", new.identity_clause(now))));
            }
            (Some(was), Some(now)) if was != now => {
                let sequence = |identity: &Identity| identity.name.clone().unwrap_or_else(|| default_name(new.table.name(), name, "seq"));
                if was.always != now.always {
                    actions.push(exclusive(format!("Change the identity of {id}"), if now.always { "SET GENERATED ALWAYS" } else { "SET GENERATED BY DEFAULT" }));
                }
                if !now.options.changes(&was.options, "SET ").is_empty() {
                    let mut action = exclusive(format!("Change the identity of {id}"), "");
                    let alter = format!("ALTER TABLE {} ALTER COLUMN {}", new.table.sql(), quote(name));
                    let held = qualified(&[new.table.path[0].clone(), sequence(was)]);
                    action.sql = vec![now.options.change_statement(&was.options, &alter, &held, "SET ")];
                    actions.push(action);
                }
                if sequence(was) != sequence(now) {
                    actions.push(Action::new(format!("Rename the sequence of {id}")).sql(format!(
                        "ALTER SEQUENCE {} RENAME TO {}",
                        qualified(&[new.table.path[0].clone(), sequence(was)]),
                        quote(&sequence(now))
                    )));
                }
            }
            _ => {}
        }
        if *storage != old.storage || (retyped && storage.is_some()) {
            actions.push(match storage {
                Some(storage) => exclusive(format!("Set the storage of {id}"), &format!("SET STORAGE {}", storage.to_uppercase())),
                // DEFAULT exists from 16 on; the type's own storage is what EXTENDED falls back to for toastable ones.
                None => exclusive(format!("Reset the storage of {id}"), &format!("SET STORAGE {}", default_storage(data_type))),
            });
        }
        // Another type takes it away (measured).
        if (retyped && compression.is_some()) || (!retyped && *compression != old.compression) {
            actions.push(exclusive(format!("Set the compression of {id}"), &format!("SET COMPRESSION {}", compression.as_deref().unwrap_or("default"))));
        }
        if *statistics != old.statistics {
            let clause = format!("SET STATISTICS {}", statistics.unwrap_or(-1));
            actions.push(new.altering(format!("Set the statistics target of {id}"), &clause, LockMode::ShareUpdateExclusive, Cost::Instant));
        }
        for clause in table::options_changes(&old.options, options) {
            actions.push(new.altering(format!("Set options of {id}"), &clause, LockMode::ShareUpdateExclusive, Cost::Instant));
        }
        if retyped { Alteration::Retype(actions) } else { Alteration::Act(actions) }
    }

    fn rename(old: &Id, new: &Id) -> Option<Action> {
        Some(
            Action::new(format!("Rename {old} to {}", new.name()))
                .sql(format!("ALTER TABLE {} RENAME COLUMN {} TO {}", old.relation(), quote(old.name()), quote(new.name())))
                .lock(old, LockMode::AccessExclusive, Cost::Instant)
                .hazard(Hazard::Breaking, format!("statements that use {old} fail")),
        )
    }

    fn rebuild(&self, why: Why) -> Rebuild {
        match why {
            // A column whose type is made anew stays, its values pass through text.
            Why::Replaced if self.generated.is_none() => Rebuild::Convert(Box::new(
                self.altering(
                    format!("Convert {} to the new {}", self.id(), sql_type::display(&self.data_type)),
                    &self.retype(&format!("{}::{}::{}", quote(&self.name), if self.data_type.ends_with("[]") { "text[]" } else { "text" }, self.data_type)),
                    LockMode::AccessExclusive,
                    Cost::Rewrite,
                )
                .hazard(Hazard::Blocking, format!("{} is written again while nobody can use it", self.table)),
            )),
            // Only what is computed follows another column.
            _ if self.generated.is_none() => Rebuild::Keep,
            _ => Rebuild::Replace,
        }
    }

    fn grant_address(id: &Id) -> Option<String> {
        Some(format!("TABLE {}", id.relation()))
    }

    fn relation_name(&self) -> Option<String> {
        // An identity column makes a sequence beside the table.
        let identity = self.identity.as_ref()?;
        let name = identity.name.clone().unwrap_or_else(|| default_name(self.table.name(), &self.name, "seq"));
        Some(qualified(&[self.table.path[0].clone(), name]))
    }

    fn address(id: &Id) -> String {
        format!("COLUMN {}", id.sql())
    }
}

/// The storage that a type without one of its own spelling has: what SET STORAGE goes back to.
fn default_storage(data_type: &str) -> &'static str {
    match sql_type::base(data_type).as_str() {
        "numeric" | "inet" | "cidr" => "MAIN",
        "integer" | "bigint" | "smallint" | "boolean" | "uuid" | "real" | "double precision" | "date" => "PLAIN",
        _ => "EXTENDED",
    }
}

/// What `serial` stands for: a sequence, the default that draws from it, and that the column owns it.
fn serial_parts(column: &Id, data_type: &str) -> [Object; 3] {
    let sequence = super::sequence::Sequence {
        schema: column.path[0].clone(),
        name: default_name(&column.path[1], column.name(), "seq"),
        options: SequenceOptions::defaults(data_type, 1),
        unlogged: false,
    };
    let id = sequence.id();
    // regclass prints a name quoted as an identifier, inside a literal.
    let expression = format!("nextval({}::regclass)", crate::catalog::id::literal(&id.sql()));
    let default = super::default::Default { column: column.clone(), expression };
    [sequence.into(), default.into(), super::owned_by::OwnedBy { sequence: id, column: column.clone() }.into()]
}

/// The columns of a table, in order.
pub fn columns_of<'c>(catalog: &'c Catalog, table: &'c Id) -> impl Iterator<Item = &'c Column> {
    catalog.of::<Column>().filter(move |column| column.table == *table)
}

/// A check that proves a column NOT NULL, by the name that the recipes give it. Of rows, IS NOT NULL would ask for every
/// field, and prove nothing (`NotNullImpliedByRelConstraints` in `src/backend/commands/tablecmds.c`).
#[must_use]
pub fn not_null_proof(column: &Column, is_row: bool) -> Check {
    // Not `_not_null`: PostgreSQL 18 gives that name to the constraint that NOT NULL is there.
    let name = crate::catalog::id::derived_name(&format!("{}_{}", column.table.name(), column.name), "_not_null_proof");
    Check { table: column.table.clone(), name, expression: format!("{} {}", quote(&column.name), if is_row { "IS DISTINCT FROM NULL" } else { "IS NOT NULL" }), no_inherit: false, not_valid: true }
}
