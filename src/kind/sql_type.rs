//! Names of types: the aliases that PostgreSQL's grammar knows, as `format_type` spells them.
//!
//! Only the grammar's own aliases (manual, table 8.1) stand here; whatever else a type text says is
//! PostgreSQL's business.

/// Grammar alias, what `format_type` says, and what we write in KDL.
const ALIASES: &[(&str, &str, &str)] = &[
    ("int", "integer", "int"),
    ("int4", "integer", "int"),
    ("integer", "integer", "int"),
    ("int8", "bigint", "bigint"),
    ("int2", "smallint", "smallint"),
    ("float8", "double precision", "double precision"),
    ("float4", "real", "real"),
    ("bool", "boolean", "boolean"),
    ("decimal", "numeric", "numeric"),
    ("dec", "numeric", "numeric"),
    ("varchar", "character varying", "varchar"),
    ("character varying", "character varying", "varchar"),
    ("char varying", "character varying", "varchar"),
    ("char", "character", "char"),
    ("character", "character", "char"),
    ("varbit", "bit varying", "varbit"),
    ("bit varying", "bit varying", "varbit"),
    ("timestamptz", "timestamp with time zone", "timestamptz"),
    ("timestamp with time zone", "timestamp with time zone", "timestamptz"),
    ("timestamp", "timestamp without time zone", "timestamp"),
    ("timestamp without time zone", "timestamp without time zone", "timestamp"),
    ("timetz", "time with time zone", "timetz"),
    ("time with time zone", "time with time zone", "timetz"),
    ("time", "time without time zone", "time"),
    ("time without time zone", "time without time zone", "time"),
];

/// A type text taken apart: `timestamp(3) with time zone[]` is base `timestamp with time zone`,
/// modifier `(3)`, arrays `[]`.
struct Parts {
    base: String,
    modifier: String,
    arrays: String,
}

fn split(text: &str) -> Parts {
    let mut rest = text.trim();
    let mut arrays = String::new();
    while let Some(inner) = rest.strip_suffix(']').and_then(|inner| {
        let open = inner.rfind('[')?;
        inner[open + 1..].chars().all(|c| c.is_ascii_digit()).then_some(&inner[..open])
    }) {
        arrays.push_str("[]");
        rest = inner.trim_end();
    }
    let modifier_at = rest.find('(').filter(|_| !rest.contains('"'));
    let (base, modifier) = match modifier_at {
        Some(open) => match rest[open..].find(')') {
            Some(close) => {
                let modifier: String = rest[open..=open + close].chars().filter(|c| !c.is_whitespace()).collect();
                (format!("{} {}", rest[..open].trim(), rest[open + close + 1..].trim()).trim().to_owned(), modifier)
            }
            None => (rest.to_owned(), String::new()),
        },
        None => (rest.to_owned(), String::new()),
    };
    Parts { base, modifier, arrays }
}

fn join(base: &str, modifier: &str, arrays: &str) -> String {
    // The precision of times stands in the middle: timestamp(3) with time zone.
    match base.split_once(' ') {
        Some((first, rest)) if !modifier.is_empty() && (first == "timestamp" || first == "time") => {
            format!("{first}{modifier} {rest}{arrays}")
        }
        _ => format!("{base}{modifier}{arrays}"),
    }
}

/// What `format_type` says of a type that is written with one of the grammar's aliases; any other
/// text is given back as it is.
#[must_use]
pub fn canonical(text: &str) -> String {
    let parts = split(text);
    let folded = parts.base.to_ascii_lowercase().split_whitespace().collect::<Vec<_>>().join(" ");
    if folded == "float" {
        // float(p): single precision up to 24 binary digits.
        let digits: u32 = parts.modifier.trim_matches(['(', ')']).parse().unwrap_or(53);
        return format!("{}{}", if digits <= 24 { "real" } else { "double precision" }, parts.arrays);
    }
    match ALIASES.iter().find(|(alias, ..)| *alias == folded) {
        Some((_, "character", _)) if parts.modifier.is_empty() => format!("character(1){}", parts.arrays),
        Some((_, "numeric", _)) if !parts.modifier.is_empty() && !parts.modifier.contains(',') => {
            join("numeric", &parts.modifier.replace(')', ",0)"), &parts.arrays)
        }
        Some((_, canonical, _)) => join(canonical, &parts.modifier, &parts.arrays),
        None if folded == "bit" && parts.modifier.is_empty() => format!("bit(1){}", parts.arrays),
        None if folded == "numeric" && !parts.modifier.is_empty() && !parts.modifier.contains(',') => {
            join("numeric", &parts.modifier.replace(')', ",0)"), &parts.arrays)
        }
        None if !text.contains('"') && BARE.contains(&folded.as_str()) => join(&folded, &parts.modifier, &parts.arrays),
        None => text.trim().to_owned(),
    }
}

/// Types of `pg_catalog` that are their own `format_type`, whatever case they are written in.
const BARE: &[&str] = &[
    "bigint",
    "bit",
    "boolean",
    "box",
    "bytea",
    "cidr",
    "circle",
    "date",
    "daterange",
    "double precision",
    "inet",
    "int4range",
    "int8range",
    "integer",
    "interval",
    "json",
    "jsonb",
    "line",
    "lseg",
    "macaddr",
    "macaddr8",
    "money",
    "name",
    "numeric",
    "numrange",
    "oid",
    "path",
    "point",
    "polygon",
    "real",
    "regclass",
    "smallint",
    "text",
    "tsquery",
    "tsrange",
    "tstzrange",
    "tsvector",
    "uuid",
    "xml",
];

/// Whether the text is a type of `pg_catalog` that we know by name, so that no user type is meant.
#[must_use]
pub fn is_builtin(text: &str) -> bool {
    let base = split(&canonical(text)).base;
    BARE.contains(&base.as_str()) || ALIASES.iter().any(|(_, canonical, _)| *canonical == base)
}

/// How KDL spells a type that `format_type` gave: the short aliases.
#[must_use]
pub fn display(text: &str) -> String {
    let parts = split(text);
    let Some((_, _, short)) = ALIASES.iter().find(|(_, canonical, _)| *canonical == parts.base) else { return text.to_owned() };
    let spelled = format!("{short}{}{}", parts.modifier, parts.arrays);
    // Whatever does not read back as the same type stays as PostgreSQL spells it.
    if canonical(&spelled) == text { spelled } else { text.to_owned() }
}

/// The base name without modifiers and array brackets.
#[must_use]
pub fn base(text: &str) -> String {
    split(text).base
}

/// The same type text with another base name.
#[must_use]
pub fn with_base(text: &str, base: &str) -> String {
    let parts = split(text);
    join(base, &parts.modifier, &parts.arrays)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_mean_what_they_mean_to_postgresql() {
        for (written, says) in [
            ("int", "integer"),
            ("INT8", "bigint"),
            ("timestamptz", "timestamp with time zone"),
            ("timestamptz(3)", "timestamp(3) with time zone"),
            ("timestamp(3) with time zone", "timestamp(3) with time zone"),
            ("varchar( 16 )[]", "character varying(16)[]"),
            ("numeric(5, 2)", "numeric(5,2)"),
            ("decimal(5)", "numeric(5,0)"),
            ("char", "character(1)"),
            ("float(10)", "real"),
            ("app.mood", "app.mood"),
            ("\"My Type\"", "\"My Type\""),
            ("double  precision", "double precision"),
            ("TEXT", "text"),
        ] {
            assert_eq!(canonical(written), says, "{written}");
        }
    }

    #[test]
    fn display_reads_back() {
        for says in [
            "integer",
            "timestamp(3) with time zone[]",
            "character varying(16)",
            "character(1)",
            "bpchar",
            "app.mood[]",
            "numeric(5,2)",
            "bit varying(4)",
        ] {
            assert_eq!(canonical(&display(says)), says);
        }
        assert_eq!(display("timestamp with time zone"), "timestamptz");
    }
}
