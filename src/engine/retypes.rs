//! What a change of a column's type does, asked of the scratch server: whether it writes the table
//! again, whether values survive it, and what hangs on the column under another name.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};

use super::{EngineError, Workbench, rights};
use crate::catalog::id::{literal, quote};
use crate::catalog::{Catalog, Id, Indexed};
use crate::kind::Kind as _;
use crate::kind::column::Column;
use crate::kind::enum_type::EnumType;
use crate::kind::lowering::Hints;
use crate::pg::introspect::{Managed, introspect};
use crate::pg::{Session, SessionError};
use crate::plan::{Facts, Retype};
use crate::recipe::retype::relabel::{columns_of_type, is_relabelled, renamed, shadow_type};
use crate::recipe::retype::shadow_name;

/// Fills in the facts about columns whose type changes.
pub async fn read(
    session: Option<&Session>,
    bench: &Workbench,
    live: &Catalog,
    desired: &Catalog,
    hints: &Hints,
    facts: &mut Facts,
) -> Result<(), EngineError> {
    let pairs: Vec<(&Column, &Column)> = desired
        .of::<Column>()
        .filter_map(|new| Some((live.get_as::<Column>(&new.id())?, new)))
        .filter(|(old, new)| old.data_type != new.data_type || old.collation != new.collation)
        .filter(|(old, new)| old.generated.is_none() && new.generated.is_none())
        .collect();
    let types: Vec<(Id, Id)> = renamed(live, hints)
        .into_iter()
        .filter(|(_, old)| desired.get_as::<EnumType>(&old.id()).is_some_and(|new| is_relabelled(old, new)))
        .map(|(old, renamed)| (old.id(), renamed.id()))
        .collect();
    let of_both = |(old, new): &(Id, Id)| {
        let before: BTreeSet<Id> = columns_of_type(live, old).map(Column::id).collect();
        columns_of_type(desired, new).filter(move |column| before.contains(&column.id()) && column.generated.is_none())
    };
    let relabelled: Vec<&Column> = types.iter().flat_map(of_both).collect();
    let pairs: Vec<(&Column, &Column)> = pairs.into_iter().filter(|(_, new)| !relabelled.contains(new)).collect();
    if pairs.is_empty() && types.is_empty() {
        return Ok(());
    }
    // The desired state stands on the bench, with the types of both; one that goes away stands in the live one.
    let Some(scratch) = bench.scratch() else { return Ok(()) };
    let mut sessions = Vec::new();
    for label in ["desired", "live"] {
        if let Some(name) = bench.latest(label) {
            sessions.push(scratch.connect(name).await?);
        }
    }
    // A thousand keys that become bigint are one question.
    let mut tried: HashMap<[String; 2], Option<Retype>> = HashMap::new();
    for (old, new) in &pairs {
        let full = |column: &Column| format!("{}{}", column.data_type, collation(column));
        let answer = match tried.entry([full(old), full(new)]) {
            Entry::Occupied(there) => *there.get(),
            Entry::Vacant(place) => *place.insert(try_change(&sessions, old, new).await),
        };
        if let Some(answer) = answer {
            facts.retypes.insert(new.id(), answer);
        }
    }
    // Of a column whose rows stay as they are, an index may not.
    let columns = pairs.iter().map(|(_, new)| *new).chain(relabelled.iter().copied());
    // Those of a partition are renamed with the ones above them.
    let columns: Vec<&Column> = columns.filter(|new| !desired.contains(&new.table.as_kind("partition"))).collect();
    if let Some(session) = sessions.first() {
        facts.beside = beside(session, live, desired, &columns, &types).await?;
    }
    if let Some(session) = session {
        let columns = pairs.iter().map(|(_, new)| *new).chain(relabelled);
        facts.privileges = rights::of_columns(session, columns.map(|new| (new.id(), new))).await?;
        facts.privileges.extend(rights::of_types(session, &types).await?);
    }
    Ok(())
}

/// What a change of type does, on the first of these servers that knows both types.
async fn try_change(sessions: &[Session], old: &Column, new: &Column) -> Option<Retype> {
    for session in sessions {
        let Some(rewrites) = rewrites(session, old, new).await else { continue };
        let keeps_values = !rewrites || survives(session, old, new).await;
        let back = self::rewrites(session, new, old).await;
        let one_way = back.is_none();
        let reverts = !one_way && (back == Some(false) || survives(session, new, old).await);
        let compatible = compatible(session, old, new).await;
        return Some(Retype { rewrites, keeps_values, reverts, one_way, compatible });
    }
    None
}

fn collation(column: &Column) -> String {
    column.collation.as_ref().map_or_else(String::new, |collation| format!(" COLLATE {collation}"))
}

/// Whether ALTER COLUMN TYPE gives a table another file: tried on an empty one. `None`: the server knows one of the
/// types not.
async fn rewrites(session: &Session, old: &Column, new: &Column) -> Option<bool> {
    // Between timestamp and timestamptz it depends on the zone of who applies (measured): not UTC here.
    let sql = format!(
        "SET TimeZone = 'America/New_York'; DROP TABLE IF EXISTS pg_temp.probe, pg_temp.file; CREATE TEMP TABLE probe (value {}{}); \
         CREATE TEMP TABLE file AS SELECT pg_relation_filenode('pg_temp.probe') AS node; \
         ALTER TABLE probe ALTER COLUMN value TYPE {}{} USING {}",
        old.data_type,
        collation(old),
        new.data_type,
        collation(new),
        new.conversion(old, "value")
    );
    session.client().batch_execute(&sql).await.ok()?;
    let answer = session.client().query_one("SELECT node <> pg_relation_filenode('pg_temp.probe') FROM pg_temp.file", &[]).await.ok()?;
    Some(answer.get(0))
}

/// Whether each value of `old` is one of `new` and back the same again. Text holds every type (a value's text is what it
/// is dumped as); else the least, the greatest and the most precise values are tried: PostgreSQL's casts between numbers
/// and times are monotonous, so what lies between them survives as well. Where there is nothing to try it is not said.
async fn survives(session: &Session, old: &Column, new: &Column) -> bool {
    if matches!(new.data_type.as_str(), "text" | "character varying") {
        return true;
    }
    let samples = samples(&old.data_type);
    if samples.is_empty() {
        return false;
    }
    for sample in samples {
        let value = format!("{}::{}", literal(&sample), old.data_type);
        let there = new.conversion(old, &format!("({value})"));
        let sql =
            format!("SELECT ROW(({there})::{}::{})::record OPERATOR(pg_catalog.*=) ROW({value})::record", new.data_type, old.data_type);
        match session.client().query_one(&sql, &[]).await {
            Ok(row) if row.get::<_, Option<bool>>(0) == Some(true) => {}
            _ => return false,
        }
    }
    true
}

/// Whether both types are of one category: numbers, texts, times.
async fn compatible(session: &Session, old: &Column, new: &Column) -> bool {
    let category = |column: &Column| format!("(SELECT typcategory FROM pg_type WHERE oid = {}::regtype)", literal(&column.data_type));
    let answer = session.client().query_one(&format!("SELECT {} = {}", category(old), category(new)), &[]).await;
    answer.is_ok_and(|row| row.get::<_, Option<bool>>(0) == Some(true))
}

/// Values at the edges of a built-in type of numbers or times, as text (manual, chapter 8: the ranges).
fn samples(data_type: &str) -> Vec<String> {
    let list = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
    if let Some((precision, scale)) = data_type.strip_prefix("numeric(").and_then(|rest| rest.strip_suffix(')')?.split_once(',')) {
        let (Ok(precision), Ok(scale)) = (precision.parse::<usize>(), scale.parse::<usize>()) else { return Vec::new() };
        let digits = |count: usize| "9".repeat(count);
        let greatest = format!("{}.{}", digits(precision.saturating_sub(scale)), digits(scale));
        return vec![format!("-0{greatest}"), format!("0{greatest}"), "NaN".to_owned()];
    }
    match data_type {
        "smallint" => list(&["-32768", "32767"]),
        "integer" => list(&["-2147483648", "2147483647", "2147483646"]),
        "bigint" => list(&["-9223372036854775808", "9223372036854775807", "9223372036854775806"]),
        "numeric" => list(&["0.00000000000000000000000000000000001", "1e200", "1.10", "NaN"]),
        "real" => list(&["1.17549435e-38", "3.4028235e+38", "0.1", "-0", "NaN", "-Infinity"]),
        "double precision" => list(&["2.2250738585072014e-308", "1.7976931348623157e+308", "0.1", "-0", "NaN", "-Infinity"]),
        "boolean" => list(&["false", "true"]),
        "date" => list(&["4713-01-01 BC", "5874897-12-31", "infinity", "-infinity"]),
        "timestamp without time zone" => {
            list(&["4713-01-01 00:00:00 BC", "294276-12-31 23:59:59.999999", "infinity", "2025-03-09 02:30:00"])
        }
        "timestamp with time zone" => list(&["4713-01-02 00:00:00+00 BC", "294276-12-30 23:59:59.999999+00", "infinity"]),
        "uuid" => list(&["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"]),
        _ => Vec::new(),
    }
}

/// The desired indexes and constraints of those tables where each column, and each enum that is changed beside the old
/// one, has the name that it has until the switch: the server renames, and deparses.
async fn beside(
    session: &Session,
    live: &Catalog,
    desired: &Catalog,
    columns: &[&Column],
    types: &[(Id, Id)],
) -> Result<Catalog, EngineError> {
    let column = |new: &&Column| {
        let beside = shadow_name(live, desired, &new.id());
        format!("ALTER TABLE {} RENAME COLUMN {} TO {}", new.table.sql(), quote(&new.name), quote(&beside))
    };
    let name = |(_, id): &(Id, Id)| {
        format!("ALTER TYPE {} RENAME TO {}", id.sql(), shadow_type(&Indexed::new(live), &Indexed::new(desired), id).name_sql())
    };
    let renames: Vec<String> = columns.iter().map(column).chain(types.iter().map(name)).collect();
    if renames.is_empty() {
        return Ok(Catalog::default());
    }
    session.client().batch_execute(&format!("BEGIN; {}", renames.join("; "))).await.map_err(SessionError::from)?;
    let mut found = introspect(session, Managed::default()).await?.catalog;
    session.client().batch_execute("ROLLBACK").await.map_err(SessionError::from)?;
    found.objects.retain(|id, object| {
        matches!(id.kind.as_str(), "index" | "check" | "primary-key" | "unique" | "foreign-key") && desired.get(id) != Some(object)
    });
    found.unmodelled.clear();
    Ok(found)
}
