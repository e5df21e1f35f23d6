//! What primary keys and unique constraints have in common.

use serde::{Deserialize, Serialize};

use super::table::{options_sql, read_options, write_options};
use super::{Lowering, Row, Scope, row, violations};
use crate::catalog::id::{default_name, quote, quoted_list};
use crate::catalog::{Id, Ident, Indexed};
use crate::kdl::{Node, NodeOut};
use crate::plan::op::{Action, Cost, Hazard, LockMode, Violations};

/// A constraint that an index of its own enforces.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Key {
    /// The table.
    pub table: Id,
    /// Its name, and its index's.
    pub name: Ident,
    /// The columns, in order.
    pub columns: Vec<Ident>,
    /// Columns that the index only carries.
    pub include: Vec<Ident>,
    /// Storage parameters of the index.
    pub options: Vec<(String, String)>,
    /// Where the index is not in the table's default place.
    pub tablespace: Option<Ident>,
    /// When it is checked.
    pub deferrable: Deferrable,
    /// The constraint of the partitioned table that it is a part of (its name).
    pub part_of: Option<Ident>,
}

/// When a constraint is checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Deferrable {
    /// With each statement, always.
    #[default]
    No,
    /// With each statement, unless a transaction defers it.
    Immediate,
    /// At the end of the transaction, unless it says otherwise.
    Deferred,
}

impl Deferrable {
    /// Takes `condeferrable` and `condeferred`.
    pub fn from_row(row: &mut Row<'_>) -> Self {
        match (row.flag(), row.flag()) {
            (false, _) => Self::No,
            (true, false) => Self::Immediate,
            (true, true) => Self::Deferred,
        }
    }

    /// Reads `deferrable=initially-deferred` and the like.
    pub fn read(node: &mut Node<'_>, out: &mut Lowering) -> Self {
        match node.word("deferrable", &["initially-deferred", "initially-immediate", "true", "false"], &mut out.findings) {
            None => Self::No,
            Some(word) if word.value == "initially-deferred" => Self::Deferred,
            Some(word) if word.value == "false" => Self::No,
            Some(_) => Self::Immediate,
        }
    }

    /// Writes what [`Self::read`] reads.
    pub fn write(self, node: &mut NodeOut) {
        match self {
            Self::No => {}
            Self::Immediate => node.set("deferrable", "initially-immediate"),
            Self::Deferred => node.set("deferrable", "initially-deferred"),
        }
    }

    /// The clause behind a constraint.
    #[must_use]
    pub const fn clause(self) -> &'static str {
        match self {
            Self::No => "",
            Self::Immediate => " DEFERRABLE",
            Self::Deferred => " DEFERRABLE INITIALLY DEFERRED",
        }
    }
}

impl Key {
    /// The query for keys of one `contype`; `extra` columns of the index `i` come last.
    #[must_use]
    pub fn query(contype: char, extra: &str) -> String {
        format!(
            "SELECT k.oid::int8, 0::int8, n.nspname::text, c.relname::text, k.conname::text, \
             {}, \
             i.indnkeyatts::int8, x.reloptions, (SELECT spcname::text FROM pg_tablespace s WHERE s.oid = x.reltablespace), k.condeferrable, k.condeferred, \
             (SELECT p.conname::text FROM pg_constraint p WHERE p.oid = k.conparentid){extra} \
             FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
             JOIN pg_index i ON i.indexrelid = k.conindid JOIN pg_class x ON x.oid = i.indexrelid \
             WHERE k.contype = '{contype}' AND c.relpersistence <> 't' AND c.relkind IN ('r', 'p') AND {} AND {} ORDER BY 3, 4, 5",
            row::column_names("i.indrelid", "i.indkey::int2[]"),
            row::in_user_schema("c.relnamespace"),
            row::not_extension_member("pg_class", "c.oid")
        )
    }

    /// Takes the columns of [`Self::query`].
    pub fn from_row(row: &mut Row<'_>) -> Self {
        let table = Id::new("table", [row.name(), row.name()]);
        let (name, mut columns) = (row.name(), row.names());
        let include = columns.split_off(usize::try_from(row.int()).unwrap_or(columns.len()).min(columns.len()));
        let mut options = row::options(row.texts());
        options.sort();
        Self {
            table,
            name,
            columns,
            include,
            options,
            tablespace: row.opt_name(),
            deferrable: Deferrable::from_row(row),
            part_of: row.opt_name(),
        }
    }

    /// Reads what both kinds have in common; `label` is the default name's ending. The flag says
    /// whether the name was filled in.
    pub fn read(node: &mut Node<'_>, at: &Scope<'_>, label: &str, with_columns: bool, out: &mut Lowering) -> Option<(Self, bool)> {
        let table = at.parent().as_kind("table");
        let columns: Vec<_> = node.args();
        if columns.is_empty() {
            out.findings.push(
                crate::kdl::Finding::at(node.span(), format!("`{}` needs at least one column", node.name()))
                    .help(format!("write their names behind it: `{} id`", node.name())),
            );
            return None;
        }
        let columns: Vec<Ident> = columns.iter().map(|text| Ident::new(&text.value)).collect();
        let include = node.values("include", &mut out.findings).unwrap_or_default().iter().map(|text| Ident::new(&text.value)).collect();
        let name = node.value("name", &mut out.findings).map(|text| Ident::new(&text.value));
        let unnamed = name.is_none();
        let name = name.unwrap_or_else(|| {
            let middle = if with_columns { columns.join("_") } else { String::new() };
            default_name(table.name(), &middle, label)
        });
        let tablespace = node.value("tablespace", &mut out.findings).map(|text| Ident::new(&text.value));
        let part_of = node.value("part-of", &mut out.findings).map(|text| Ident::new(&text.value));
        let deferrable = Deferrable::read(node, out);
        let options = read_options(node, out);
        Some((Self { table, name, columns, include, options, tablespace, deferrable, part_of }, unnamed))
    }

    /// Writes what [`Self::read`] reads.
    #[must_use]
    pub fn write(&self, keyword: &str, default: &Ident) -> NodeOut {
        let Self { table: _, name, columns, include, options, tablespace, deferrable, part_of } = self;
        let mut node = columns.iter().fold(NodeOut::new(keyword), |node, column| node.arg(column.as_str()));
        if name != default {
            node.set("name", name.as_str());
        }
        if let Some(parent) = part_of {
            node.set("part-of", parent.as_str());
        }
        deferrable.write(&mut node);
        if let Some(space) = tablespace {
            node.set("tablespace", space.as_str());
        }
        if !include.is_empty() {
            node.add(include.iter().fold(NodeOut::new("include"), |node, column| node.arg(column.as_str())));
        }
        write_options(options, &mut node);
        node
    }

    /// The clause behind PRIMARY KEY or UNIQUE.
    #[must_use]
    pub fn clause(&self, word: &str) -> String {
        let Self { table: _, name, columns, include, options, tablespace, deferrable, part_of: _ } = self;
        let mut sql = format!("CONSTRAINT {} {word} ({})", quote(name), quoted_list(columns));
        if !include.is_empty() {
            sql += &format!(" INCLUDE ({})", quoted_list(include));
        }
        if !options.is_empty() {
            sql += &format!(" WITH ({})", options_sql(options));
        }
        if let Some(space) = tablespace {
            sql += &format!(" USING INDEX TABLESPACE {}", quote(space));
        }
        sql + deferrable.clause()
    }

    /// Values that more than one row has. NULLs differ from each other unless it says otherwise.
    #[must_use]
    pub fn duplicates(&self, live: &Indexed<'_>, id: &Id, nulls_not_distinct: bool) -> Violations {
        let nulls = if nulls_not_distinct { Vec::new() } else { violations::not_null(live, &self.table, &self.columns) };
        Violations {
            title: format!("values of ({}) stand in more than one row of {} ({id})", self.columns.join(", "), self.table),
            rows: violations::duplicates(&self.table, &self.columns, &nulls),
            help: "keep one row of each value, or make the key out of more columns".to_owned(),
            reads: self.needs(),
            ..Violations::default()
        }
    }

    /// The columns that it stands on.
    #[must_use]
    pub fn needs(&self) -> Vec<Id> {
        self.columns.iter().chain(&self.include).map(|column| self.table.child("column", column)).collect()
    }

    /// ADD, building the index while the table is locked.
    #[must_use]
    pub fn create(&self, id: &Id, word: &str) -> Action {
        Action::new(format!("Add {id}")).sql(format!("ALTER TABLE {} ADD {}", self.table.sql(), self.clause(word))).lock(
            &self.table,
            LockMode::AccessExclusive,
            Cost::Build,
        )
    }

    /// CREATE UNIQUE INDEX … for this key, under `name`, to be attached with [`Self::adopt`].
    #[must_use]
    pub fn index_sql(&self, name: &str, nulls_not_distinct: bool) -> String {
        let mut sql = format!("CREATE UNIQUE INDEX CONCURRENTLY {} ON {} ({})", quote(name), self.table.sql(), quoted_list(&self.columns));
        if !self.include.is_empty() {
            sql += &format!(" INCLUDE ({})", quoted_list(&self.include));
        }
        if nulls_not_distinct {
            sql += " NULLS NOT DISTINCT";
        }
        if !self.options.is_empty() {
            sql += &format!(" WITH ({})", options_sql(&self.options));
        }
        if let Some(space) = &self.tablespace {
            sql += &format!(" TABLESPACE {}", quote(space));
        }
        sql
    }

    /// ADD CONSTRAINT … USING INDEX: renames the index to the constraint's name, instantly.
    #[must_use]
    pub fn adopt(&self, id: &Id, word: &str, index: &str) -> Action {
        Action::new(format!("Make {id} out of its index"))
            .sql(format!(
                "ALTER TABLE {} ADD CONSTRAINT {} {word} USING INDEX {}{}",
                self.table.sql(),
                quote(&self.name),
                quote(index),
                self.deferrable.clause()
            ))
            .lock(&self.table, LockMode::AccessExclusive, Cost::Instant)
    }

    /// ALTER INDEX parent ATTACH PARTITION.
    #[must_use]
    pub fn attach_sql(&self) -> Option<String> {
        // The parent's index lives in the schema of the parent table, which the planner knows; a
        // key of a partition names it within its own schema.
        let parent = self.part_of.as_ref()?;
        Some(format!(
            "ALTER INDEX {}.{} ATTACH PARTITION {}.{}",
            quote(self.table.schema()),
            quote(parent),
            quote(self.table.schema()),
            quote(&self.name)
        ))
    }

    /// DROP CONSTRAINT.
    #[must_use]
    pub fn drop(&self, id: &Id) -> Action {
        Action::new(format!("Drop {id}"))
            .sql(format!("ALTER TABLE {} DROP CONSTRAINT {}", self.table.sql(), quote(&self.name)))
            .lock(&self.table, LockMode::AccessExclusive, Cost::Instant)
            .hazard(Hazard::DropIndex, id)
    }

    /// What differs can be altered in place: storage parameters of the index.
    #[must_use]
    pub fn alter(&self, old: &Self, id: &Id) -> Option<Vec<Action>> {
        let Self { table: _, name: _, columns, include, options, tablespace, deferrable, part_of } = self;
        if *columns != old.columns || *include != old.include || *tablespace != old.tablespace || *deferrable != old.deferrable {
            return None;
        }
        let mut actions: Vec<Action> = super::table::options_changes(&old.options, options)
            .into_iter()
            .map(|clause| {
                Action::new(format!("Set storage parameters of {id}")).sql(format!("ALTER INDEX {} {clause}", id.in_schema())).lock(
                    &self.table,
                    LockMode::ShareUpdateExclusive,
                    Cost::Instant,
                )
            })
            .collect();
        // Detaching the partition detaches its index: there is no statement for it.
        if old.part_of.is_none() && part_of.is_some() {
            actions.extend(self.attach_sql().map(|sql| Action::new(format!("Attach {id}")).sql(sql)));
        }
        Some(actions)
    }
}
