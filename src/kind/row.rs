//! A row of a kind's catalog query, taken column by column in the order of the query.

use tokio_postgres::types::FromSql;

use crate::catalog::{Id, Ident};

/// Takes columns in order. The queries are ours, so a column of another type is a defect of the
/// kind's file, found by any test that introspects: these methods panic on it.
pub struct Row<'r> {
    values: &'r tokio_postgres::Row,
    at: usize,
    subject: Option<Id>,
}

impl<'r> Row<'r> {
    /// A row whose first column is taken next.
    #[must_use]
    pub fn new(row: &'r tokio_postgres::Row) -> Self {
        Self { values: row, at: 0, subject: None }
    }

    /// A row of a satellite's query, about `subject`.
    #[must_use]
    pub fn about(mut self, subject: Id) -> Self {
        self.subject = Some(subject);
        self
    }

    /// What a satellite hangs on.
    ///
    /// # Panics
    /// For a kind whose `CATALOG` is not `*`: only for those does introspection find the subject.
    pub fn subject(&mut self) -> Id {
        self.subject.take().expect("introspection resolves the subject of every satellite")
    }

    fn take<T: FromSql<'r>>(&mut self) -> T {
        self.at += 1;
        self.values.get(self.at - 1)
    }

    /// A `text` column that is never NULL.
    pub fn text(&mut self) -> String {
        self.take()
    }

    /// A `text` column.
    pub fn opt_text(&mut self) -> Option<String> {
        self.take()
    }

    /// A `text` or `name` column that is never NULL, as a name.
    pub fn name(&mut self) -> Ident {
        Ident::new(self.take::<&str>())
    }

    /// A `text` or `name` column as a name.
    pub fn opt_name(&mut self) -> Option<Ident> {
        self.take::<Option<&str>>().map(Ident::new)
    }

    /// A `boolean` column that is never NULL.
    pub fn flag(&mut self) -> bool {
        self.take()
    }

    /// An `int8` column that is never NULL.
    pub fn int(&mut self) -> i64 {
        self.take()
    }

    /// An `int8` column.
    pub fn opt_int(&mut self) -> Option<i64> {
        self.take()
    }

    /// A `text[]` column; NULL is empty.
    pub fn texts(&mut self) -> Vec<String> {
        self.take::<Option<Vec<String>>>().unwrap_or_default()
    }

    /// A `text[]` column with NULLs in it; NULL is empty.
    pub fn opt_texts(&mut self) -> Vec<Option<String>> {
        self.take::<Option<Vec<Option<String>>>>().unwrap_or_default()
    }

    /// A `text[]` or `name[]` column as names; NULL is empty.
    pub fn names(&mut self) -> Vec<Ident> {
        self.take::<Option<Vec<&str>>>().unwrap_or_default().into_iter().map(Ident::new).collect()
    }
}

/// An SQL condition: the namespace with the OID `column` is one that users make.
///
/// `pg_` is reserved for system schemas (manual, CREATE SCHEMA); the ledger is ours.
#[must_use]
pub fn in_user_schema(column: &str) -> String {
    format!("{column} IN (SELECT oid FROM pg_namespace WHERE {USER_SCHEMA})")
}

/// With this begin the names of what was dropped and is kept for a while ([`crate::recipe::quarantine`]): schemas and
/// columns. It is no part of the state.
pub const SET_ASIDE: &str = "schema_quarantine";

/// A query: whether anything was ever kept, and this role may read what.
pub const KEPT_IS_READABLE: &str = "SELECT EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     WHERE n.nspname = 'schema_quarantine' AND c.relname = 'kept' AND pg_catalog.has_schema_privilege(n.oid, 'USAGE') \
     AND pg_catalog.has_table_privilege(c.oid, 'SELECT'))";

/// With this begin the names of schemas in which a table is made that takes another one's place
/// ([`crate::recipe::repartition`]), and where that waits for its end. They are no part of the state.
pub const BESIDE: &str = "schema_beside";

/// An SQL condition on `pg_namespace.nspname`.
pub const USER_SCHEMA: &str = "nspname !~ '^(pg_|_timescaledb|timescaledb_|schema_quarantine|schema_beside)' AND nspname NOT IN ('information_schema', 'schema_ledger')";

/// An SQL condition: the object is no member of an extension.
///
/// Not correlated, and bound to `pg_extension`: the members are found once, through the index on what is
/// referenced, and kept as a hash. As NOT EXISTS it was a look-up for every row, or a scan of all of
/// `pg_depend` (6 ms of every query at 1,000 tables).
#[must_use]
pub fn not_extension_member(catalog: &str, oid: &str) -> String {
    format!(
        "{oid} NOT IN (SELECT x.objid FROM pg_depend x WHERE x.refclassid = 'pg_extension'::regclass AND x.classid = '{catalog}'::regclass AND x.deptype = 'e')"
    )
}

/// An SQL condition: the constraint `alias` is of the forms that a kind knows. NOT ENFORCED, WITHOUT OVERLAPS and PERIOD
/// came with PostgreSQL 18 and are reported by name.
#[must_use]
pub fn is_known_constraint(alias: &str, server: u32) -> String {
    if server >= 180_000 { format!("{alias}.conenforced AND NOT {alias}.conperiod") } else { "true".to_owned() }
}

/// An SQL expression: the names (`text[]`) of the columns of `relation` whose numbers stand in the array `key`.
///
/// Nearly every key has one column. That one is looked up by itself: unnesting, sorting and aggregating cost
/// three times as much.
#[must_use]
pub fn column_names(relation: &str, key: &str) -> String {
    format!(
        "CASE cardinality({key}) WHEN 1 THEN ARRAY[(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = {relation} AND a.attnum = ({key})[array_lower({key}, 1)])] \
         ELSE (SELECT array_agg(a.attname::text ORDER BY o) FROM unnest({key}) WITH ORDINALITY u(attnum, o) JOIN pg_attribute a ON a.attrelid = {relation} AND a.attnum = u.attnum) END"
    )
}

/// `reloptions` entries (`name=value`) as pairs.
#[must_use]
pub fn options(entries: Vec<String>) -> Vec<(String, String)> {
    entries
        .into_iter()
        .map(|entry| entry.split_once('=').map_or((entry.clone(), String::new()), |(name, value)| (name.to_owned(), value.to_owned())))
        .collect()
}
