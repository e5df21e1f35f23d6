//! Made-up rows: every value is a function of the row's number, so that unique columns differ and foreign
//! keys find their row. What a table's checks take is found by trying: PostgreSQL says no, and another
//! value is taken.

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::Client;
use tokio_postgres::error::{DbError, SqlState};

use super::value;
use crate::catalog::id::{literal, quote};
use crate::catalog::{Catalog, Id};
use crate::kind::check::Check;
use crate::kind::column::Column;
use crate::kind::default::Default;
use crate::kind::domain_check::DomainCheck;
use crate::kind::foreign_key::ForeignKey;
use crate::kind::partition::Partition;
use crate::kind::primary_key::PrimaryKey;
use crate::kind::table::Table;
use crate::kind::{Kind as _, Object};
use crate::pg::SessionError;
use crate::plan::rehearsal::UndoResult;

/// Tries per table.
const TRIES: usize = 400;

/// The two states that rows have to fit.
pub(super) struct Generator<'a> {
    /// The start, where the rows are made.
    pub(super) before: &'a Catalog,
    /// The end: what it asks of rows must hold already.
    pub(super) after: &'a Catalog,
    /// Rows per table.
    pub(super) rows: u64,
    /// Whether columns that are NOT NULL at the end may hold NULL at the start: where the plan fills them.
    pub(super) unfilled: bool,
}

/// What a column may hold, and what it holds at present.
struct Slot<'a> {
    column: &'a Column,
    /// Expressions to be tried.
    values: Vec<String>,
    at: usize,
    /// Whether every third row holds NULL.
    nulls: bool,
}

impl Slot<'_> {
    fn expression(&self) -> String {
        let value = &self.values[self.at];
        if self.nulls { format!("CASE WHEN i % 3 <> 0 THEN {value} END") } else { value.clone() }
    }

    /// The next value; `false`: all were tried, and it is at the first again.
    fn advance(&mut self) -> bool {
        if self.nulls {
            self.nulls = false;
            return true;
        }
        self.at = (self.at + 1) % self.values.len();
        self.at != 0
    }
}

impl Generator<'_> {
    /// Fills `tables`; gives what could not be filled, with PostgreSQL's reason.
    pub(super) async fn fill(&self, client: &Client, tables: &BTreeSet<Id>) -> Result<Vec<(Id, String)>, SessionError> {
        client.batch_execute("RESET ALL; SET session_replication_role = replica; SET check_function_bodies = off").await?;
        let temporary = self.demand(client).await?;
        let mut chosen: BTreeMap<Id, String> = BTreeMap::new();
        let mut empty = Vec::new();
        for table in self.ordered(tables) {
            if let Err(reason) = self.table(client, &table, &mut chosen).await? {
                empty.push((table, reason));
            }
        }
        for sql in temporary {
            client.batch_execute(&sql).await?;
        }
        client.batch_execute(SEQUENCES).await?;
        client.batch_execute("RESET session_replication_role; ANALYZE").await?;
        Ok(empty)
    }

    /// Asks of the rows already what the end asks of them; gives what takes that back.
    async fn demand(&self, client: &Client) -> Result<Vec<String>, SessionError> {
        let mut back = Vec::new();
        for (id, object) in &self.after.objects {
            if self.before.get(id) == Some(object) || self.before.contains(id) {
                continue;
            }
            let counts = matches!(object, Object::Check(_) | Object::DomainCheck(_) | Object::Unique(_) | Object::Exclusion(_))
                || matches!(object, Object::Index(index) if index.unique);
            if !counts {
                continue;
            }
            // What mentions a column that is not there yet asks nothing of the start.
            client.batch_execute("BEGIN").await?;
            let mut done = true;
            for sql in &object.create().sql {
                let sql = sql.replacen("CONCURRENTLY ", "", 1);
                done &= client.batch_execute(&sql).await.is_ok();
            }
            client.batch_execute(if done { "COMMIT" } else { "ROLLBACK" }).await?;
            if done {
                back.extend(object.drop().sql.into_iter().map(|sql| sql.replacen("CONCURRENTLY ", "", 1)));
            }
        }
        Ok(back)
    }

    /// Referenced tables first, as far as there is no circle; partitions are filled through their tables.
    fn ordered(&self, tables: &BTreeSet<Id>) -> Vec<Id> {
        let mut left: Vec<Id> = tables.iter().filter(|id| !self.before.contains(&Partition::id_of(id))).cloned().collect();
        let mut order = Vec::new();
        while !left.is_empty() {
            let waits = |id: &Id| self.keys().any(|key| key.table == *id && key.references != *id && left.contains(&key.references));
            let at = left.iter().position(|id| !waits(id)).unwrap_or(0);
            order.push(left.remove(at));
        }
        order
    }

    fn keys(&self) -> impl Iterator<Item = &ForeignKey> {
        self.before.of::<ForeignKey>().chain(self.after.of::<ForeignKey>())
    }

    async fn table(&self, client: &Client, table: &Id, chosen: &mut BTreeMap<Id, String>) -> Result<Result<(), String>, SessionError> {
        let mut slots = self.slots(table, chosen);
        let mut ignoring = true;
        for _ in 0..TRIES {
            let sql = self.insert(table, &slots, ignoring);
            let error = match client.batch_execute(&sql).await {
                Ok(()) => {
                    chosen.extend(slots.iter().map(|slot| (slot.column.id(), slot.expression())));
                    return Ok(Ok(()));
                }
                Err(error) => error,
            };
            let Some(db) = error.as_db_error() else { return Err(error.into()) };
            if ignoring && db.message().contains("ON CONFLICT") {
                ignoring = false;
                continue;
            }
            let suspects = self.suspects(table, &slots, db);
            // Like an odometer: the next value of the first, of the second when the first was round.
            let advanced = suspects.into_iter().any(|at| slots[at].advance());
            if !advanced {
                return Ok(Err(db.message().to_owned()));
            }
        }
        Ok(Err("no values were found that its checks take".to_owned()))
    }

    fn insert(&self, table: &Id, slots: &[Slot<'_>], ignoring: bool) -> String {
        let rows = format!("generate_series(1, {}) i", self.rows);
        let conflict = if ignoring { " ON CONFLICT DO NOTHING" } else { "" };
        if slots.is_empty() {
            return format!("INSERT INTO {} SELECT FROM {rows}{conflict}", table.sql());
        }
        let names = slots.iter().map(|slot| quote(&slot.column.name)).collect::<Vec<_>>().join(", ");
        let values = slots.iter().map(Slot::expression).collect::<Vec<_>>().join(", ");
        format!("INSERT INTO {} ({names}) OVERRIDING SYSTEM VALUE SELECT {values} FROM {rows}{conflict}", table.sql())
    }

    fn slots<'c>(&'c self, table: &Id, chosen: &BTreeMap<Id, String>) -> Vec<Slot<'c>> {
        let columns = self.before.of::<Column>().filter(|column| column.table == *table && column.generated.is_none());
        let in_key = |name: &str| {
            self.before.of::<PrimaryKey>().any(|key| key.key.table == *table && key.key.columns.iter().any(|column| column == name))
        };
        columns
            .map(|column| {
                let id = column.id();
                let referenced = self.referenced(&id, &mut BTreeSet::new(), chosen);
                let refers = referenced.is_some();
                let mut values: Vec<String> = referenced.map(|value| format!("({value})::{}", column.data_type)).into_iter().collect();
                let hints = self.hints(table, column);
                values.extend(value::values(&column.data_type, self.before, &hints));
                if column.identity.is_some() || self.counts(&id) {
                    values = vec![format!("i::{}", column.data_type)];
                } else if let Some(default) = self.before.get_as::<Default>(&Default::id_of(&id)) {
                    values.push(format!("({})", default.expression));
                }
                let strict = self.after.get_as::<Column>(&id).is_some_and(|column| column.not_null);
                let nulls = !column.not_null && !in_key(&column.name) && !refers && (self.unfilled || !strict);
                if !column.not_null {
                    values.push(format!("NULL::{}", column.data_type));
                }
                Slot { column, values, at: 0, nulls }
            })
            .collect()
    }

    /// Whether a sequence counts the column.
    fn counts(&self, column: &Id) -> bool {
        self.before.get_as::<Default>(&Default::id_of(column)).is_some_and(|default| default.expression.contains("nextval("))
    }

    /// What the column that a foreign key refers to holds in the row of the same number.
    fn referenced(&self, column: &Id, visited: &mut BTreeSet<Id>, chosen: &BTreeMap<Id, String>) -> Option<String> {
        if !visited.insert(column.clone()) {
            return None;
        }
        for key in self.keys().filter(|key| key.table == column.up("table")) {
            let Some(at) = key.columns.iter().position(|name| *name == column.name()) else { continue };
            let Some(name) = key.referenced_columns.get(at) else { continue };
            let other = Column::id_of(&key.references, name);
            if let Some(value) = chosen.get(&other) {
                return Some(value.clone());
            }
            if let Some(value) = self.referenced(&other, visited, chosen) {
                return Some(value);
            }
            let Some(target) = self.before.get_as::<Column>(&other) else { continue };
            if target.identity.is_some() || self.counts(&other) {
                return Some("i".to_owned());
            }
            return value::values(&target.data_type, self.before, &self.hints(&key.references, target)).into_iter().next();
        }
        None
    }

    /// What the table's checks and its partitions' bounds mention, where they seem to mean this column.
    fn hints(&self, table: &Id, column: &Column) -> Vec<String> {
        let mut hints = Vec::new();
        let mut add = |text: &str| {
            for hint in value::mentioned(text) {
                if !hints.contains(&hint) {
                    hints.push(hint);
                }
            }
        };
        for catalog in [self.before, self.after] {
            catalog
                .of::<Check>()
                .filter(|check| check.table == *table && check.expression.contains(column.name.as_str()))
                .for_each(|check| add(&check.expression));
        }
        let is_key = |table: &Id| {
            let by = self.before.get_as::<Table>(table).and_then(|table| table.partition_by.as_ref());
            by.is_some_and(|by| by.elements.iter().any(|element| element.contains(column.name.as_str())))
        };
        let mut above = vec![table.clone()];
        while let Some(parent) = above.pop() {
            for place in self.before.of::<Partition>().filter(|place| place.parent == parent) {
                if is_key(&parent) {
                    add(&place.bound);
                }
                above.push(place.table.clone());
            }
        }
        hints
    }

    /// The columns that an error seems to be about.
    fn suspects(&self, table: &Id, slots: &[Slot<'_>], error: &DbError) -> Vec<usize> {
        let at = |wanted: &dyn Fn(&Slot<'_>) -> bool| -> Vec<usize> {
            slots.iter().enumerate().filter(|(_, slot)| slot.values.len() > 1 && wanted(slot)).map(|(at, _)| at).collect()
        };
        if let Some(name) = error.column() {
            return at(&|slot| slot.column.name == name);
        }
        if let (Some(domain), Some(schema)) = (error.datatype(), error.schema()) {
            let id = Id::new("domain", [schema, domain]);
            return at(&|slot| slot.column.data_type == id.sql() || slot.column.data_type == format!("{}[]", id.sql()));
        }
        if *error.code() == SqlState::CHECK_VIOLATION {
            let Some(name) = error.constraint() else {
                // No partition takes the row.
                return at(&|slot| !self.hints(table, slot.column).is_empty());
            };
            let expression = [self.before, self.after].into_iter().find_map(|catalog| {
                let tables = catalog.of::<Check>().find(|check| check.name == name).map(|check| check.expression.clone());
                tables.or_else(|| catalog.of::<DomainCheck>().find(|check| check.name == name).map(|check| check.expression.clone()))
            });
            if let Some(expression) = expression {
                return at(&|slot| expression.contains(slot.column.name.as_str()));
            }
        }
        // A value that its type does not take: the one whose type the message names, else any.
        let by_type = at(&|slot| error.message().contains(slot.column.data_type.split('(').next().unwrap_or_default()));
        if by_type.is_empty() { at(&|_| true) } else { by_type }
    }
}

/// Every sequence goes on behind the rows.
const SEQUENCES: &str = "
DO $$
DECLARE one record; top int8;
BEGIN
    FOR one IN
        SELECT s.oid, format('%I.%I', tn.nspname, t.relname) AS owner, a.attname, d.refobjid
        FROM pg_class s JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = s.oid AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')
        JOIN pg_class t ON t.oid = d.refobjid JOIN pg_namespace tn ON tn.oid = t.relnamespace
        JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid
        WHERE s.relkind = 'S'
    LOOP
        BEGIN
            EXECUTE format('SELECT max(%I)::int8 FROM %s', one.attname, one.owner) INTO top;
            PERFORM setval(one.oid::regclass, top) WHERE top IS NOT NULL;
        EXCEPTION WHEN others THEN NULL;
        END;
    END LOOP;
END $$";

/// The tables that need rows: those that the plan touches, and those that their foreign keys lead to.
pub(super) fn wanted(before: &Catalog, touched: &BTreeSet<Id>) -> BTreeSet<Id> {
    let is_table = |id: &&Id| before.get_as::<Table>(id).is_some();
    let mut wanted: BTreeSet<Id> = touched.iter().filter(is_table).cloned().collect();
    let mut open: Vec<Id> = wanted.iter().cloned().collect();
    while let Some(table) = open.pop() {
        let referenced = before.of::<ForeignKey>().filter(|key| key.table == table).map(|key| &key.references);
        let parents = before.of::<Partition>().filter(|place| place.table == table).map(|place| &place.parent);
        for other in referenced.chain(parents).filter(is_table) {
            if wanted.insert(other.clone()) {
                open.push(other.clone());
            }
        }
    }
    wanted
}

/// Counts the rows of each table, by oid and by name.
pub(super) async fn counted(client: &Client, tables: &BTreeSet<Id>) -> Result<Vec<(i64, String, u64)>, SessionError> {
    let mut list = Vec::new();
    for table in tables {
        let sql = format!("SELECT {}::regclass::oid::int8, count(*)::int8 FROM {}", literal(&table.sql()), table.sql());
        let row = client.query_one(&sql, &[]).await?;
        let count: i64 = row.get(1);
        list.push((row.get(0), crate::catalog::id::dotted(&table.path), count.unsigned_abs()));
    }
    Ok(list)
}

/// What a table held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sum {
    /// Number and checksum of its rows.
    rows: String,
    /// Of each column: its name, how often it is NULL, the checksum of its values.
    columns: Vec<(String, i64, String)>,
}

/// What the tables hold, in the columns that they have at the start.
pub(super) async fn sums(client: &Client, start: &Catalog, tables: &BTreeSet<Id>) -> Result<BTreeMap<Id, Sum>, SessionError> {
    let mut sums = BTreeMap::new();
    for table in tables {
        let names: Vec<&str> = start.of::<Column>().filter(|column| column.table == *table).map(|column| column.name.as_str()).collect();
        let quoted: Vec<String> = names.iter().map(|name| quote(name)).collect();
        let sum = |value: &str| format!("coalesce(md5(string_agg({value}, ' ' ORDER BY {value} COLLATE \"C\")), '')");
        let own = quoted.iter().map(|name| format!("count(*) - count({name}), {}", sum(&format!("{name}::text")))).collect::<Vec<_>>();
        let row = format!("ROW({})::text", quoted.join(", "));
        let list = [vec![format!("count(*) || ' ' || {}", sum(&row))], own].concat().join(", ");
        let found = client.query_one(&format!("SELECT {list} FROM {}", table.sql()), &[]).await?;
        let columns =
            names.iter().enumerate().map(|(at, name)| ((*name).to_owned(), found.get(1 + 2 * at), found.get(2 + 2 * at))).collect();
        sums.insert(table.clone(), Sum { rows: found.get(0), columns });
    }
    Ok(sums)
}

/// Whether the tables hold what they held, but for NULLs that were filled.
pub(super) fn compared(before: &BTreeMap<Id, Sum>, after: &BTreeMap<Id, Sum>) -> UndoResult {
    let mut filled = Vec::new();
    for (table, was) in before {
        let Some(now) = after.get(table).filter(|now| was.rows.split(' ').next() == now.rows.split(' ').next()) else {
            return UndoResult::Wrong(format!("{table} has lost or won rows"));
        };
        let name = |column: &str| format!("{}.{}", crate::catalog::id::dotted(&table.path), quote(column));
        let mut own = Vec::new();
        for ((column, was, sum), (_, now, other)) in was.columns.iter().zip(&now.columns) {
            if now < was {
                own.push(name(column));
            } else if sum != other {
                return UndoResult::Wrong(format!("values of {} are lost or changed", name(column)));
            }
        }
        if own.is_empty() && was.rows != now.rows {
            return UndoResult::Wrong(format!("values of {table} have changed places"));
        }
        filled.extend(own);
    }
    if filled.is_empty() { UndoResult::Exact } else { UndoResult::Filled(filled) }
}
