//! Rows for any table: every value is a function of the row's number, so that unique columns differ
//! and foreign keys of the same type find their row.

use schema::catalog::{Catalog, Id};
use schema::kind::Object;
use schema::kind::column::Column;
use schema::kind::default::Default;
use schema::kind::lowering::Hints;
use schema::kind::table::Table;

/// Rows in every table.
const ROWS: u32 = 300;

/// The statements that fill every table of `before`.
pub fn statements(before: &Catalog, after: &Catalog, hints: &Hints) -> Result<Vec<String>, String> {
    let mut statements = vec!["SET session_replication_role = replica".to_owned()];
    for table in before.of::<Table>() {
        let id = schema::kind::Kind::id(table);
        if before.contains(&id.as_kind("partition")) {
            continue;
        }
        let mut names = Vec::new();
        let mut values = Vec::new();
        for column in before.of::<Column>().filter(|column| column.table == id && column.generated.is_none() && column.identity.is_none()) {
            // A sequence counts by itself.
            let counted = before
                .get_as::<Default>(&Default::id_of(&schema::kind::Kind::id(column)))
                .is_some_and(|default| default.expression.contains("nextval"));
            if counted {
                continue;
            }
            let value = match value(&column.data_type, before) {
                Some(value) => value,
                None if column.not_null => {
                    return Err(format!("{}.{} is {}: say what it holds in seed.sql", id, column.name, column.data_type));
                }
                None => continue,
            };
            names.push(schema::catalog::id::quote(&column.name));
            values.push(if may_be_null(column, after, hints) { format!("CASE WHEN i % 3 <> 0 THEN {value} END") } else { value });
        }
        statements.push(if names.is_empty() {
            format!("INSERT INTO {} SELECT FROM generate_series(1, {ROWS}) i", id.sql())
        } else {
            format!("INSERT INTO {} ({}) SELECT {} FROM generate_series(1, {ROWS}) i", id.sql(), names.join(", "), values.join(", "))
        });
    }
    statements.push("RESET session_replication_role".to_owned());
    Ok(statements)
}

/// Whether some rows hold NULL: where nothing would be wrong with that afterwards.
fn may_be_null(column: &Column, after: &Catalog, hints: &Hints) -> bool {
    if column.not_null {
        return false;
    }
    let id = schema::kind::Kind::id(column);
    let later = hints.renames.iter().find(|(_, old)| **old == id).map_or_else(|| id.clone(), |(new, _)| new.clone());
    let strict = after.get_as::<Column>(&later).is_some_and(|column| column.not_null);
    !strict || hints.backfills.contains_key(&later)
}

fn value(data_type: &str, catalog: &Catalog) -> Option<String> {
    if let Some(element) = data_type.strip_suffix("[]") {
        return Some(format!("ARRAY[{}]::{data_type}", value(element, catalog)?));
    }
    let base = data_type.split('(').next().unwrap_or_default().trim();
    Some(match base {
        "smallint" | "integer" | "bigint" => "i".to_owned(),
        "numeric" | "real" | "double precision" => format!("i::{data_type}"),
        "text" | "character varying" | "character" | "name" => format!("('v' || i)::{data_type}"),
        "boolean" => "(i % 2 = 0)".to_owned(),
        "date" => "(date '2025-01-01' + i)".to_owned(),
        "uuid" => "md5(i::text)::uuid".to_owned(),
        "json" | "jsonb" => format!("('{{\"i\": ' || i || '}}')::{base}"),
        "bytea" => "convert_to(i::text, 'UTF8')".to_owned(),
        _ if base.starts_with("timestamp") => format!("('2025-01-01'::timestamptz + i * interval '1 hour')::{data_type}"),
        _ => return user_type(data_type, catalog),
    })
}

fn user_type(name: &str, catalog: &Catalog) -> Option<String> {
    catalog.objects.iter().find(|(id, _)| named(id, name)).and_then(|(_, object)| match object {
        Object::EnumType(_) => Some(format!("(enum_range(NULL::{name}))[1 + i % array_length(enum_range(NULL::{name}), 1)]")),
        Object::Domain(domain) => Some(format!("({})::{name}", value(&domain.base, catalog)?)),
        _ => None,
    })
}

fn named(id: &Id, name: &str) -> bool {
    matches!(id.kind.as_str(), "enum" | "domain") && id.sql() == name
}
