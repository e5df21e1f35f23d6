//! A sequence: `sequence invoice_no as=bigint start=1000`. Its options serve identity columns too.

use serde::{Deserialize, Serialize};

use super::{Kind, Lowering, Row, Scope, row, schema::Schema, sql_type};
use crate::catalog::{Id, Ident};
use crate::kdl::{Node, NodeOut, ValueOut};
use crate::plan::op::{Action, Alteration, Cost, Hazard, LockMode};

/// What a sequence counts, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SequenceOptions {
    /// `smallint`, `integer` or `bigint`.
    pub data_type: String,
    /// The first value.
    pub start: i64,
    /// The step, negative for a descending sequence.
    pub increment: i64,
    /// The least value.
    pub min: i64,
    /// The greatest value.
    pub max: i64,
    /// How many values a session takes at once.
    pub cache: i64,
    /// Whether it begins again after the last value.
    pub cycle: bool,
}

impl SequenceOptions {
    /// What CREATE SEQUENCE fills in for a type and an increment (manual, CREATE SEQUENCE).
    #[must_use]
    pub fn defaults(data_type: &str, increment: i64) -> Self {
        let (least, greatest) = match data_type {
            "smallint" => (i64::from(i16::MIN), i64::from(i16::MAX)),
            "integer" => (i64::from(i32::MIN), i64::from(i32::MAX)),
            _ => (i64::MIN, i64::MAX),
        };
        let (min, max) = if increment < 0 { (least, -1) } else { (1, greatest) };
        let start = if increment < 0 { max } else { min };
        Self { data_type: data_type.to_owned(), start, increment, min, max, cache: 1, cycle: false }
    }

    /// Takes the columns of [`Self::COLUMNS`].
    pub fn from_row(row: &mut Row<'_>) -> Self {
        Self {
            data_type: row.text(),
            start: row.int(),
            increment: row.int(),
            min: row.int(),
            max: row.int(),
            cache: row.int(),
            cycle: row.flag(),
        }
    }

    /// Columns of `pg_sequence s`.
    pub const COLUMNS: &'static str =
        "format_type(s.seqtypid, NULL), s.seqstart::int8, s.seqincrement::int8, s.seqmin::int8, s.seqmax::int8, s.seqcache::int8, s.seqcycle";

    /// Reads the options of a node; what is not there has the default for the type.
    pub fn read(node: &mut Node<'_>, data_type: &str, out: &mut Lowering) -> Self {
        let mut number = |name: &'static str| node.number(name, &mut out.findings);
        let mut options = Self::defaults(data_type, number("increment").unwrap_or(1));
        let (min, max) = (number("min"), number("max"));
        options.min = min.unwrap_or(options.min);
        options.max = max.unwrap_or(options.max);
        options.start = number("start").unwrap_or(if options.increment < 0 { options.max } else { options.min });
        options.cache = number("cache").unwrap_or(1);
        options.cycle = node.flag("cycle", &mut out.findings);
        let wrong = if options.increment == 0 {
            Some(("`increment` must not be 0".to_owned(), "1 counts up, -1 counts down"))
        } else if options.min >= options.max {
            Some((format!("`min` {} is not below `max` {}", options.min, options.max), "the first value is `min`, the last one `max`"))
        } else if options.start < options.min || options.start > options.max {
            Some((format!("`start` {} is outside of {} … {}", options.start, options.min, options.max), "change `start`, `min` or `max`"))
        } else if options.cache < 1 {
            Some(("`cache` must be at least 1".to_owned(), "1 is the default: leave it out"))
        } else {
            None
        };
        if let Some((message, help)) = wrong {
            out.findings.push(crate::kdl::Finding::at(node.title(), message).help(help));
        }
        options
    }

    /// Writes what differs from the defaults.
    pub fn write(&self, node: &mut NodeOut) {
        let Self { data_type, start, increment, min, max, cache, cycle } = self;
        let default = Self::defaults(data_type, *increment);
        let natural_start = if *increment < 0 { *max } else { *min };
        for (name, value, default) in [
            ("start", *start, natural_start),
            ("increment", *increment, 1),
            ("min", *min, default.min),
            ("max", *max, default.max),
            ("cache", *cache, 1),
        ] {
            if value != default {
                node.set(name, ValueOut::Number(value.to_string()));
            }
        }
        if *cycle {
            node.set("cycle", ValueOut::Bool(true));
        }
    }

    /// The clauses for CREATE: only what differs from the defaults, the type first.
    #[must_use]
    pub fn clauses(&self, with_type: bool) -> String {
        let Self { data_type, start, increment, min, max, cache, cycle } = self;
        let default = Self::defaults(data_type, *increment);
        let mut sql = String::new();
        if with_type && data_type != "bigint" {
            sql += &format!(" AS {data_type}");
        }
        for (word, value, default) in [
            ("INCREMENT BY", *increment, 1),
            ("MINVALUE", *min, default.min),
            ("MAXVALUE", *max, default.max),
            ("START WITH", *start, if *increment < 0 { *max } else { *min }),
            ("CACHE", *cache, 1),
        ] {
            if value != default {
                sql += &format!(" {word} {value}");
            }
        }
        if *cycle {
            sql += " CYCLE";
        }
        sql
    }

    /// The statement that turns `old` into `self`, where the position may lie outside the new bounds:
    /// then, and only then, it restarts. `alter` is everything before the clauses, `sequence` names it.
    #[must_use]
    pub fn change_statement(&self, old: &Self, alter: &str, sequence: &str, prefix: &str) -> String {
        let changes = self.changes(old, prefix);
        if self.min <= old.min && self.max >= old.max {
            return format!("{alter}{changes}");
        }
        let Self { min, max, start, .. } = self;
        format!(
            "DO $do$ DECLARE reached bigint; BEGIN SELECT last_value INTO reached FROM {sequence}; IF reached < {min} OR reached > {max} THEN {alter}{changes} RESTART WITH {start}; ELSE {alter}{changes}; END IF; END $do$"
        )
    }

    /// The clauses that turn `old` into `self`, for ALTER SEQUENCE (`prefix` empty) or ALTER COLUMN
    /// (`prefix` is `SET `).
    #[must_use]
    pub fn changes(&self, old: &Self, prefix: &str) -> String {
        let Self { data_type, start, increment, min, max, cache, cycle } = self;
        let mut sql = String::new();
        if *data_type != old.data_type && prefix.is_empty() {
            sql += &format!(" AS {data_type}");
        }
        for (word, value, old) in [
            ("INCREMENT BY", increment, &old.increment),
            ("MINVALUE", min, &old.min),
            ("MAXVALUE", max, &old.max),
            ("START WITH", start, &old.start),
            ("CACHE", cache, &old.cache),
        ] {
            // A new type replaces bounds that were the old type's own, so they are always said then.
            if value != old || (*data_type != self.data_type && word.ends_with("VALUE")) {
                sql += &format!(" {prefix}{word} {value}");
            }
        }
        if *cycle != old.cycle {
            sql += &format!(" {prefix}{}CYCLE", if *cycle { "" } else { "NO " });
        }
        sql
    }
}

/// A sequence that stands by itself (serial columns have one; identity columns hold theirs).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sequence {
    /// Its schema.
    pub schema: Ident,
    /// Its name.
    pub name: Ident,
    /// Type, bounds, step.
    pub options: SequenceOptions,
    /// Not written to the log (PostgreSQL 15).
    pub unlogged: bool,
}

impl Kind for Sequence {
    const KEYWORD: &'static str = "sequence";
    const CATALOG: &'static str = "pg_class";
    const PARENTS: &'static [&'static str] = &["schema"];
    cast_to!(Sequence);

    fn query(_server: u32) -> Option<String> {
        Some(format!(
            "SELECT c.oid::int8, 0::int8, n.nspname::text, c.relname::text, {}, c.relpersistence = 'u' \
             FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE {} AND c.relpersistence <> 't' AND {} \
             AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'i') \
             ORDER BY 3, 4",
            SequenceOptions::COLUMNS,
            row::in_user_schema("c.relnamespace"),
            row::not_extension_member("pg_class", "c.oid")
        ))
    }

    fn from_row(row: &mut Row<'_>) -> Self {
        Self { schema: row.name(), name: row.name(), options: SequenceOptions::from_row(row), unlogged: row.flag() }
    }

    fn read(node: &mut Node<'_>, at: &Scope<'_>, out: &mut Lowering) -> Option<Id> {
        let name = node.arg("a name", &mut out.findings)?;
        let data_type = node.value("as", &mut out.findings).map_or_else(|| "bigint".to_owned(), |text| sql_type::canonical(&text.value));
        let options = SequenceOptions::read(node, &data_type, out);
        let unlogged = node.flag("unlogged", &mut out.findings);
        let owned_by = node.value("owned-by", &mut out.findings);
        let id = out.put(node, Self { schema: Ident::new(at.schema), name: Ident::new(&name.value), options, unlogged });
        if let Some(column) = owned_by {
            super::owned_by::OwnedBy::read_property(&id, &column, at, node, out);
        }
        Some(id)
    }

    fn write<'n>(&self, parent: &'n mut NodeOut) -> &'n mut NodeOut {
        let mut node = NodeOut::new("sequence").arg(self.name.as_str());
        if self.options.data_type != "bigint" {
            node.set("as", sql_type::display(&self.options.data_type));
        }
        self.options.write(&mut node);
        if self.unlogged {
            node.set("unlogged", ValueOut::Bool(true));
        }
        parent.add(node)
    }

    fn id(&self) -> Id {
        Id::new(Self::KEYWORD, [self.schema.clone(), self.name.clone()])
    }

    fn parent(&self) -> Option<Id> {
        Some(Schema::id_of(&self.schema))
    }

    fn create(&self) -> Action {
        let Self { schema: _, name: _, options, unlogged } = self;
        let unlogged = if *unlogged { "UNLOGGED " } else { "" };
        Action::new(format!("Create {}", self.id())).sql(format!("CREATE {unlogged}SEQUENCE {}{}", self.id().sql(), options.clauses(true)))
    }

    fn drop(&self) -> Action {
        let id = self.id();
        Action::new(format!("Drop {id}"))
            .sql(format!("DROP SEQUENCE {}", id.sql()))
            .lock(&id, LockMode::AccessExclusive, Cost::Instant)
            .hazard(Hazard::DropData, format!("the position of {id}"))
            .loses(format!("the position of {id}"))
    }

    fn alter(old: &Self, new: &Self) -> Alteration {
        let Self { schema: _, name: _, options, unlogged } = new;
        let sql = new.id().sql();
        let mut actions = Vec::new();
        let changes = options.changes(&old.options, "");
        if !changes.is_empty() {
            let statement = options.change_statement(&old.options, &format!("ALTER SEQUENCE {sql}"), &sql, "");
            actions.push(Action::new(format!("Change {}", new.id())).sql(statement).lock(&new.id(), LockMode::ShareRowExclusive, Cost::Instant));
        }
        if *unlogged != old.unlogged {
            let word = if *unlogged { "UNLOGGED" } else { "LOGGED" };
            let action = Action::new(format!("Set {} {}", new.id(), word.to_lowercase())).sql(format!("ALTER SEQUENCE {sql} SET {word}"));
            actions.push(action.lock(&new.id(), LockMode::AccessExclusive, Cost::Instant));
        }
        Alteration::Act(actions)
    }

    fn rename(old: &Id, new: &Id) -> Option<Action> {
        Some(super::table::rename_in_schema("SEQUENCE", old, new))
    }

    fn grant_address(id: &Id) -> Option<String> {
        Some(format!("SEQUENCE {}", id.sql()))
    }

    fn relation_name(&self) -> Option<String> {
        Some(self.id().sql())
    }
}
