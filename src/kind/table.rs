//! A table, plain or partitioned: `table orders { … }`. What hangs on it are objects of their own.

use serde::{Deserialize, Serialize};

use super::{Kind, Lowering, Object, Rebuild, Row, Scope, Why, row, schema::Schema};
use crate::catalog::expr::split_list;
use crate::catalog::id::quote;
use crate::catalog::{Id, Ident};
use crate::kdl::{Node, NodeOut, ValueOut};
use crate::plan::op::{Action, Alteration, Cost, Hazard, LockMode};

/// A table's own attributes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// Its schema.
    pub schema: Ident,
    /// Its name.
    pub name: Ident,
    /// Not written to the log.
    pub unlogged: bool,
    /// Storage parameters, names untouched (`toast.` ones too), sorted.
    pub options: Vec<(String, String)>,
    /// Where it is not the database's default.
    pub tablespace: Option<Ident>,
    /// The table access method, where it is not `heap`.
    pub using: Option<Ident>,
    /// How it is partitioned.
    pub partition_by: Option<PartitionKey>,
}

/// How a table is divided into partitions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartitionKey {
    /// `range`, `list` or `hash`.
    pub strategy: String,
    /// Columns (quoted) or expressions, with collation and operator class, as
    /// `pg_get_partkeydef` gives them.
    pub elements: Vec<String>,
}

impl PartitionKey {
    /// Whether a column is part of the key as itself.
    #[must_use]
    pub fn has_column(&self, name: &str) -> bool {
        self.elements.iter().any(|element| *element == quote(name))
    }
}

impl Table {
    /// The id of a table.
    #[must_use]
    pub fn id_of(schema: &str, name: &str) -> Id {
        Id::new(Self::KEYWORD, [schema, name])
    }

    fn creation(&self, body: &[String]) -> String {
        let Self { schema: _, name: _, unlogged, options, tablespace, using, partition_by } = self;
        let unlogged = if *unlogged { "UNLOGGED " } else { "" };
        let body = if body.is_empty() { String::new() } else { format!("\n    {}\n", body.join(",\n    ")) };
        let mut sql = format!("CREATE {unlogged}TABLE {} ({body})", self.id().sql());
        if let Some(PartitionKey { strategy, elements }) = partition_by {
            sql += &format!(" PARTITION BY {} ({})", strategy.to_uppercase(), elements.join(", "));
        }
        if let Some(method) = using {
            sql += &format!(" USING {}", quote(method));
        }
        if !options.is_empty() {
            sql += &format!(" WITH ({})", options_sql(options));
        }
        if let Some(space) = tablespace {
            sql += &format!(" TABLESPACE {}", quote(space));
        }
        sql
    }
}

/// `name=value` pairs for WITH and SET; values are quoted, which every option accepts.
#[must_use]
pub fn options_sql(options: &[(String, String)]) -> String {
    options.iter().map(|(name, value)| format!("{}={}", option_name(name), option_value(value))).collect::<Vec<_>>().join(", ")
}

/// The SET and RESET clauses that turn `old` options into `new` ones.
#[must_use]
pub fn options_changes(old: &[(String, String)], new: &[(String, String)]) -> Vec<String> {
    let set: Vec<_> = new.iter().filter(|entry| !old.contains(entry)).cloned().collect();
    let reset: Vec<_> = old.iter().filter(|(name, _)| !new.iter().any(|(other, _)| other == name)).map(|(name, _)| option_name(name)).collect();
    let mut clauses = Vec::new();
    if !set.is_empty() {
        clauses.push(format!("SET ({})", options_sql(&set)));
    }
    if !reset.is_empty() {
        clauses.push(format!("RESET ({})", reset.join(", ")));
    }
    clauses
}

fn option_name(name: &str) -> String {
    name.split('.').map(quote).collect::<Vec<_>>().join(".")
}

fn option_value(value: &str) -> String {
    let plain = !value.is_empty() && value.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.') && !value.starts_with('.');
    if plain && (value.starts_with(|c: char| c.is_ascii_alphabetic()) || value.parse::<f64>().is_ok()) && quote(value) == value || value.parse::<f64>().is_ok_and(f64::is_finite) {
        value.to_owned()
    } else {
        format!("'{}'", value.replace('\'', "''"))
    }
}

/// Reads `with name=value …` of a node, sorted by name.
pub fn read_options(node: &mut Node<'_>, out: &mut Lowering) -> Vec<(String, String)> {
    let Some(mut with) = node.child("with", &mut out.findings) else { return Vec::new() };
    let mut options: Vec<_> = with.properties(&mut out.findings).into_iter().map(|(name, value)| (name.value, value.value)).collect();
    with.finish(&mut out.findings);
    options.sort();
    options
}

/// Writes `with name=value …` into a node.
pub fn write_options(options: &[(String, String)], node: &mut NodeOut) {
    if !options.is_empty() {
        let mut with = NodeOut::new("with");
        for (name, value) in options {
            with.set(name, ValueOut::sql(value));
        }
        node.add(with);
    }
}

/// Renames or moves something that lives in a schema; `word` is what follows ALTER.
#[must_use]
pub fn rename_in_schema(word: &str, old: &Id, new: &Id) -> Action {
    let mut action = Action::new(format!("Rename {old} to {}", crate::catalog::id::dotted(&new.path)));
    let mut at = old.clone();
    if old.schema() != new.schema() {
        action = action.sql(format!("ALTER {word} {} SET SCHEMA {}", at.sql(), quote(new.schema())));
        at = Schema::id_of(new.schema()).child(&old.kind, old.name());
    }
    if old.name() != new.name() {
        action = action.sql(format!("ALTER {word} {} RENAME TO {}", at.sql(), quote(new.name())));
    }
    action
}

/// Renames what has its name in one relation alone: a trigger, a rule, a policy. It cannot move to another one.
#[must_use]
pub fn rename_on_relation(word: &str, old: &Id, new: &Id) -> Option<Action> {
    let action = Action::new(format!("Rename {old} to {}", new.name()))
        .sql(format!("ALTER {word} {} ON {} RENAME TO {}", old.name_sql(), old.relation(), new.name_sql()))
        .lock(old, LockMode::AccessExclusive, Cost::Instant);
    (old.relation() == new.relation()).then_some(action)
}

impl Kind for Table {
    const KEYWORD: &'static str = "table";
    const CATALOG: &'static str = "pg_class";
    const PARENTS: &'static [&'static str] = &["schema"];
    cast_to!(Table);

    fn query(_server: u32) -> Option<String> {
        Some(format!(
            "SELECT c.oid::int8, 0::int8, n.nspname::text, c.relname::text, c.relpersistence = 'u', \
             c.reloptions || (SELECT array_agg('toast.' || o) FROM pg_class t, unnest(t.reloptions) o WHERE t.oid = c.reltoastrelid), \
             (SELECT spcname::text FROM pg_tablespace s WHERE s.oid = c.reltablespace), \
             (SELECT amname::text FROM pg_am m WHERE m.oid = c.relam AND (m.amname <> 'heap' OR c.relkind = 'p')), \
             CASE WHEN c.relkind = 'p' THEN pg_get_partkeydef(c.oid) END \
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND {} AND {} ORDER BY 3, 4",
            row::in_user_schema("c.relnamespace"),
            row::not_extension_member("pg_class", "c.oid")
        ))
    }

    fn from_row(row: &mut Row<'_>) -> Self {
        let (schema, name, unlogged) = (row.name(), row.name(), row.flag());
        let mut options = row::options(row.texts());
        options.sort();
        let (tablespace, using) = (row.opt_name(), row.opt_name());
        // `RANGE (a, lower(b))`
        let partition_by = row.opt_text().and_then(|key| {
            let (strategy, elements) = key.split_once(" (")?;
            Some(PartitionKey { strategy: strategy.to_lowercase(), elements: split_list(elements.strip_suffix(')')?) })
        });
        Self { schema, name, unlogged, options, tablespace, using, partition_by }
    }

    fn read(node: &mut Node<'_>, at: &Scope<'_>, out: &mut Lowering) -> Option<Id> {
        let name = node.arg("a name", &mut out.findings)?;
        let unlogged = node.flag("unlogged", &mut out.findings);
        let tablespace = node.value("tablespace", &mut out.findings).map(|text| Ident::new(&text.value));
        let using = node.value("using", &mut out.findings).map(|text| Ident::new(&text.value));
        let options = read_options(node, out);
        let partition_by = node.child("partition-by", &mut out.findings).and_then(|mut by| {
            let strategy = by.arg("a strategy: range, list or hash", &mut out.findings)?;
            if !crate::kdl::one_of(&strategy, "partition-by", &["range", "list", "hash"], &mut out.findings) {
                out.unread.insert(name.value.clone());
                return None;
            }
            let elements = by.args();
            if elements.is_empty() {
                out.complain(&strategy, "`partition-by` needs a column or an expression", "for example: partition-by range created_at");
            }
            by.finish(&mut out.findings);
            Some(PartitionKey { strategy: strategy.value, elements: elements.iter().map(|text| super::index::element_from_kdl(&text.value)).collect() })
        });
        // A partitioned table hands it to partitions that are made later (PostgreSQL 17): there, saying nothing means another thing.
        let using = using.filter(|method| method != "heap" || partition_by.is_some());
        let table = Self { schema: Ident::new(at.schema), name: Ident::new(&name.value), unlogged, options, tablespace, using, partition_by };
        let id = out.put(node, table);
        super::partition::Partition::read_properties(&id, node, at, out);
        Some(id)
    }

    fn write<'n>(&self, parent: &'n mut NodeOut) -> &'n mut NodeOut {
        let mut node = NodeOut::new("table").arg(self.name.as_str());
        if self.unlogged {
            node.set("unlogged", ValueOut::Bool(true));
        }
        if let Some(space) = &self.tablespace {
            node.set("tablespace", space.as_str());
        }
        if let Some(method) = &self.using {
            node.set("using", method.as_str());
        }
        write_options(&self.options, &mut node);
        if let Some(PartitionKey { strategy, elements }) = &self.partition_by {
            let elements = elements.iter().map(|element| super::index::element_to_kdl(element));
            node.add(elements.fold(NodeOut::new("partition-by").arg(strategy.as_str()), NodeOut::arg));
        }
        parent.add(node)
    }

    fn id(&self) -> Id {
        Self::id_of(&self.schema, &self.name)
    }

    fn parent(&self) -> Option<Id> {
        Some(Schema::id_of(&self.schema))
    }

    fn texts(&self) -> Vec<&str> {
        self.partition_by.iter().flat_map(|key| key.elements.iter().map(String::as_str)).collect()
    }

    fn create(&self) -> Action {
        self.create_with(&[])
    }

    fn create_with(&self, children: &[&Object]) -> Action {
        let mut body = Vec::new();
        let mut after = Vec::new();
        for child in children {
            match child {
                Object::Column(column) => {
                    let default = children.iter().find_map(|other| match other {
                        Object::Default(default) if default.column == column.id() => Some(default.expression.as_str()),
                        _ => None,
                    });
                    body.push(column.clause(default));
                    after.extend(column.after_creation());
                }
                Object::PrimaryKey(key) => body.push(key.clause()),
                Object::Unique(key) => body.push(key.clause()),
                Object::Check(check) => body.push(check.clause()),
                _ => {}
            }
        }
        let mut action = Action::new(format!("Create {}", self.id())).sql(self.creation(&body));
        action.sql.extend(after);
        action
    }

    fn drop(&self) -> Action {
        let id = self.id();
        Action::new(format!("Drop {id}"))
            .sql(format!("DROP TABLE {}", id.sql()))
            .lock(&id, LockMode::AccessExclusive, Cost::Instant)
            .hazard(Hazard::DropTable, &id)
            .loses(&id)
    }

    fn alter(old: &Self, new: &Self) -> Alteration {
        let Self { schema: _, name: _, unlogged, options, tablespace, using, partition_by } = new;
        if *partition_by != old.partition_by {
            return Alteration::Replace;
        }
        let id = new.id();
        let sql = id.sql();
        let mut actions = Vec::new();
        let changes = options_changes(&old.options, options);
        if !changes.is_empty() {
            // fillfactor, autovacuum and toast options: SHARE UPDATE EXCLUSIVE (safe-changes.md).
            actions.push(
                Action::new(format!("Set storage parameters of {id}"))
                    .sql(format!("ALTER TABLE {sql} {}", changes.join(", ")))
                    .lock(&id, LockMode::ShareUpdateExclusive, Cost::Instant),
            );
        }
        let rewriting = |title: String, clause: String| {
            Action::new(title)
                .sql(format!("ALTER TABLE {sql} {clause}"))
                .lock(&id, LockMode::AccessExclusive, Cost::Rewrite)
                .hazard(Hazard::Blocking, format!("{id} is written again while nobody can use it"))
        };
        if *unlogged != old.unlogged {
            let word = if *unlogged { "UNLOGGED" } else { "LOGGED" };
            actions.push(rewriting(format!("Set {id} {}", word.to_lowercase()), format!("SET {word}")));
        }
        if *tablespace != old.tablespace {
            let space = tablespace.as_deref().unwrap_or("pg_default");
            actions.push(rewriting(format!("Move {id} to tablespace {space}"), format!("SET TABLESPACE {}", quote(space))));
        }
        if *using != old.using {
            let method = using.as_deref().unwrap_or("heap");
            let title = format!("Change the access method of {id} to {method}");
            actions.push(if partition_by.is_some() {
                // It has no rows; only what is made later gets it (manual of 17, ALTER TABLE, SET ACCESS METHOD).
                let clause = using.as_ref().map_or_else(|| "DEFAULT".to_owned(), |method| quote(method));
                Action::new(title).sql(format!("ALTER TABLE {sql} SET ACCESS METHOD {clause}")).lock(&id, LockMode::AccessExclusive, Cost::Instant)
            } else {
                rewriting(title, format!("SET ACCESS METHOD {}", quote(method)))
            });
        }
        Alteration::Act(actions)
    }

    fn rebuild(&self, _why: Why) -> Rebuild {
        // Rows are never thrown away because of what a table uses: the proof tells if that fails.
        Rebuild::Keep
    }

    fn rename(old: &Id, new: &Id) -> Option<Action> {
        Some(rename_in_schema("TABLE", old, new).lock(old, LockMode::AccessExclusive, Cost::Instant))
    }

    fn grant_address(id: &Id) -> Option<String> {
        Some(format!("TABLE {}", id.sql()))
    }

    fn relation_name(&self) -> Option<String> {
        Some(self.id().sql())
    }
}
