//! Values for a column of any type, as SQL expressions over the row's number `i`. The first ones differ
//! from row to row; what fits the table's checks is found by trying.

use crate::catalog::id::literal;
use crate::catalog::{Catalog, Id};
use crate::kind::Object;

/// Expressions for a type, likeliest first. `hints` are texts that a check or a partition's bound mentions.
pub(super) fn values(data_type: &str, catalog: &Catalog, hints: &[String]) -> Vec<String> {
    let mut values = base(data_type, catalog);
    let cast = |text: &str| format!("({text})::{data_type}");
    if is_number(data_type) {
        let numbers: Vec<i64> = hints.iter().filter_map(|hint| hint.parse::<f64>().ok()).map(whole).collect();
        if let (Some(least), Some(most)) = (numbers.iter().min(), numbers.iter().max()) {
            values.push(cast(&format!("{least} + i % {}", (most - least).max(1))));
            values.push(cast(&format!("{least} + 1 + i % {}", (most - least - 1).max(1))));
            values.push(cast(&format!("{most} + i")));
            values.extend(numbers.iter().map(|number| cast(&number.to_string())));
        }
        values.extend(["i % 100", "1", "0", "-i"].map(cast));
        return values;
    }
    if !hints.is_empty() {
        let list = hints.iter().map(|hint| literal(hint)).collect::<Vec<_>>().join(", ");
        let count = hints.len();
        values.push(format!("((ARRAY[{list}])[1 + (i % {count})])::{data_type}"));
        if base_name(data_type).starts_with("timestamp") || base_name(data_type) == "date" {
            values.extend(
                hints.iter().map(|hint| format!("(({})::timestamp + (i % 600) * interval '1 minute')::{data_type}", literal(hint))),
            );
        }
        values.extend(hints.iter().map(|hint| format!("({})::{data_type}", literal(hint))));
    }
    if is_text(data_type) {
        let shapes = [
            "'v' || i || '@example.org'",
            "translate(i::text, '0123456789', 'abcdefghij')",
            "upper(translate(i::text, '0123456789', 'abcdefghij'))",
            "lpad(i::text, 12, '0')",
            "lpad(i::text, 3, '0')",
            "'https://example.org/' || i",
            "'+1' || lpad(i::text, 10, '0')",
            "md5(i::text)",
            "'/' || i",
            "'#' || lpad(to_hex(i % 16777216), 6, '0')",
            "chr(97 + i % 26) || chr(97 + i / 26 % 26)",
            "chr(65 + i % 26) || chr(65 + i / 26 % 26)",
            "chr(65 + i % 26) || chr(65 + i / 26 % 26) || chr(65 + i / 676 % 26)",
            "'a'",
            "''",
        ];
        values.extend(shapes.map(cast));
    }
    values
}

/// Whether a type's values are whole or broken numbers.
fn is_number(data_type: &str) -> bool {
    matches!(base_name(data_type), "smallint" | "integer" | "bigint" | "numeric" | "real" | "double precision" | "money")
}

fn is_text(data_type: &str) -> bool {
    matches!(base_name(data_type), "text" | "character varying" | "character" | "name" | "citext" | "public.citext")
}

#[allow(clippy::cast_possible_truncation, reason = "a hint: a wrong one is a value that does not fit")]
fn whole(number: f64) -> i64 {
    number.clamp(-1e15, 1e15).ceil() as i64
}

/// The type without its modifier: `numeric(10,2)` is `numeric`, `timestamp(3) with time zone` is `timestamp`.
fn base_name(data_type: &str) -> &str {
    data_type.split('(').next().unwrap_or_default().trim()
}

/// The numbers in a type's modifier.
fn modifiers(data_type: &str) -> Vec<u32> {
    let inside = data_type.split_once('(').and_then(|(_, rest)| rest.split_once(')')).map_or("", |(inside, _)| inside);
    inside.split(',').filter_map(|number| number.trim().parse().ok()).collect()
}

fn base(data_type: &str, catalog: &Catalog) -> Vec<String> {
    if let Some(element) = data_type.strip_suffix("[]") {
        let element = base(element, catalog).into_iter().next().unwrap_or_else(|| "NULL".to_owned());
        return vec![format!("ARRAY[{element}]::{data_type}"), format!("'{{}}'::{data_type}")];
    }
    let name = base_name(data_type);
    let hour = "interval '1 hour'";
    let one = match name {
        "smallint" => "(i % 32000)::smallint".to_owned(),
        "integer" | "bigint" | "real" | "double precision" | "oid" | "money" | "xid8" => format!("i::{data_type}"),
        "numeric" => match modifiers(data_type).as_slice() {
            [precision, scale @ ..] => {
                let digits = precision.saturating_sub(scale.first().copied().unwrap_or(0)).min(17);
                format!("(i % {})::{data_type}", 10_u64.pow(digits))
            }
            [] => "i::numeric".to_owned(),
        },
        "text" | "name" => format!("('v' || i)::{data_type}"),
        "character varying" | "character" => match modifiers(data_type).first() {
            Some(length) if *length < 9 => format!("left(reverse(lpad(to_hex(i), 8, '0')), {length})::{data_type}"),
            _ => format!("('v' || i)::{data_type}"),
        },
        "\"char\"" => "chr(97 + i % 26)::\"char\"".to_owned(),
        "boolean" => "(i % 2 = 0)".to_owned(),
        "date" => "(date '2025-01-01' + i % 20000)".to_owned(),
        "time" | "time without time zone" | "time with time zone" => format!("(time '00:00' + i * interval '1 second')::{data_type}"),
        "interval" => format!("(i * {hour})::{data_type}"),
        "uuid" => "md5(i::text)::uuid".to_owned(),
        "json" | "jsonb" => format!("('{{\"i\": ' || i || '}}')::{data_type}"),
        "bytea" => "convert_to(i::text, 'UTF8')".to_owned(),
        "inet" | "cidr" => format!("(inet '10.0.0.0' + i)::{data_type}"),
        "macaddr" => "('02' || lpad(to_hex(i), 10, '0'))::macaddr".to_owned(),
        "bit" | "bit varying" => {
            let length = modifiers(data_type).first().copied().unwrap_or(if name == "bit" { 1 } else { 32 });
            format!("(i::bit({}))::{data_type}", length.min(32))
        }
        "xml" => "('<i>' || i || '</i>')::xml".to_owned(),
        "tsvector" | "tsquery" => format!("('v' || i)::{data_type}"),
        "point" => "point(i, i)".to_owned(),
        "box" => "box(point(i * 2, i * 2), point(i * 2 + 1, i * 2 + 1))".to_owned(),
        "circle" => "circle(point(i * 3, i * 3), 1)".to_owned(),
        "int4range" | "int8range" | "numrange" => format!("{name}(i{0}, i{0} + 1)", if name == "int8range" { "::bigint" } else { "" }),
        "daterange" => "daterange(date '2025-01-01' + i, date '2025-01-02' + i)".to_owned(),
        "tsrange" => format!("tsrange(timestamp '2025-01-01' + i * {hour}, timestamp '2025-01-01' + (i + 1) * {hour})"),
        "tstzrange" => format!("tstzrange(timestamptz '2025-01-01' + i * {hour}, timestamptz '2025-01-01' + (i + 1) * {hour})"),
        _ if name.starts_with("timestamp") => format!("('2025-01-01'::timestamptz + i * {hour})::{data_type}"),
        _ => return of_user(data_type, catalog),
    };
    vec![one]
}

fn of_user(name: &str, catalog: &Catalog) -> Vec<String> {
    let named = |id: &Id| id.sql() == name;
    for (id, object) in &catalog.objects {
        match object {
            Object::EnumType(_) if named(id) => {
                return vec![
                    format!("(enum_range(NULL::{name}))[1 + i % array_length(enum_range(NULL::{name}), 1)]"),
                    format!("(enum_range(NULL::{name}))[1]"),
                ];
            }
            Object::Domain(domain) if named(id) => {
                let hints: Vec<String> = catalog
                    .of::<crate::kind::domain_check::DomainCheck>()
                    .filter(|check| check.domain == *id)
                    .flat_map(|check| mentioned(&check.expression))
                    .collect();
                return values(&domain.base, catalog, &hints).into_iter().map(|value| format!("({value})::{name}")).collect();
            }
            _ => {}
        }
    }
    // A type of an extension, a range or composite type: one of these reads as one.
    ["('v' || i)", "(i::text)", "json_populate_record"]
        .into_iter()
        .map(
            |text| if text.starts_with("json") { format!("json_populate_record(NULL::{name}, '{{}}')") } else { format!("{text}::{name}") },
        )
        .chain([format!("'{{}}'::{name}"), format!("'empty'::{name}"), format!("'(0,0)'::{name}")])
        .collect()
}

/// Constants in an expression: what stands between quotes, and numbers. Guesses: PostgreSQL says which fit.
pub(super) fn mentioned(expression: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut rest = expression;
    while let Some(start) = rest.find(|c: char| c == '\'' || c.is_ascii_digit()) {
        let (before, from) = rest.split_at(start);
        let (word, after) = if let Some(body) = from.strip_prefix('\'') {
            let end = body.find('\'').unwrap_or(body.len());
            (body[..end].to_owned(), body.get(end + 1..).unwrap_or_default())
        } else {
            let end = from.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(from.len());
            let sign = if before.ends_with('-') || before.ends_with("'-") { "-" } else { "" };
            // A digit within a name is none.
            let in_name = before.ends_with(|c: char| c.is_alphanumeric() || c == '_');
            (if in_name { String::new() } else { format!("{sign}{}", &from[..end]) }, &from[end..])
        };
        if !word.is_empty() && !found.contains(&word) {
            found.push(word);
        }
        rest = after;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_are_found() {
        assert_eq!(mentioned("(status)::text = ANY (ARRAY['a'::text, 'b'::text])"), ["a", "b"]);
        assert_eq!(mentioned("n2 >= 10 AND x < '-5'::integer"), ["10", "-5"]);
    }

    #[test]
    fn values_fit_their_types() {
        let none = Catalog::default();
        assert_eq!(values("numeric(4,2)", &none, &[])[0], "(i % 100)::numeric(4,2)");
        assert_eq!(values("character(2)", &none, &[])[0], "left(reverse(lpad(to_hex(i), 8, '0')), 2)::character(2)");
        assert!(values("integer", &none, &["10".into(), "20".into()]).contains(&"(10 + i % 10)::integer".to_owned()));
    }
}
