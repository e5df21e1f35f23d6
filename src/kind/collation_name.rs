//! Names of collations: held as qualified SQL text, `pg_catalog."C"` or `app.german`.
//!
//! A type's own default collation is not held at all. In KDL a single name is a collation of
//! `pg_catalog`, where `CREATE COLLATION` never puts any; a collation that users made is written
//! with its schema (`app.german`). A name that holds a dot is quoted: `"\"en_US.utf8\""`.

use crate::catalog::Ident;
use crate::catalog::id::{dotted, qualified, undotted};

const SYSTEM: &str = "pg_catalog";

/// The held text of the collation with these names of `pg_namespace` and `pg_collation`.
#[must_use]
pub fn from_catalog(schema: &str, name: &str) -> String {
    qualified(&[Ident::new(schema), Ident::new(name)])
}

/// The held text of a collation as KDL writes it.
#[must_use]
pub fn from_kdl(text: &str) -> String {
    let mut path = undotted(text);
    if path.len() == 1 {
        path.insert(0, Ident::new(SYSTEM));
    }
    qualified(&path)
}

/// How KDL writes a collation, from the held text: the inverse of [`from_kdl`].
#[must_use]
pub fn to_kdl(held: &str) -> String {
    // Quoting in SQL and in dotted paths is the same but for when it is needed.
    let path = undotted(held);
    let skip = usize::from(path.len() == 2 && path[0] == SYSTEM);
    dotted(&path[skip..])
}

/// An SQL expression of type `text`: the held text of the collation with the OID `collation`, NULL
/// where there is none or where it is the default one of the type with the OID `data_type`.
///
/// `quote_ident` and our own quoting may differ in quotes alone, so the names come apart, as an
/// array of schema and name: take it with [`from_names`].
#[must_use]
pub fn column(collation: &str, data_type: &str) -> String {
    format!(
        "(SELECT ARRAY[cn.nspname::text, co.collname::text] FROM pg_collation co JOIN pg_namespace cn ON cn.oid = co.collnamespace \
         WHERE co.oid = {collation} AND co.oid IS DISTINCT FROM (SELECT ct.typcollation FROM pg_type ct WHERE ct.oid = {data_type}))"
    )
}

/// The held text, from what [`column()`] gives: empty where there is no collation to name.
#[must_use]
pub fn from_names(names: &[Ident]) -> Option<String> {
    match names {
        [schema, name] => Some(from_catalog(schema, name)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kdl_and_held_text_are_inverse() {
        for (kdl, held) in [
            ("C", "pg_catalog.\"C\""),
            ("app.german", "app.german"),
            ("de-x-icu", "pg_catalog.\"de-x-icu\""),
            ("\"en_US.utf8\"", "pg_catalog.\"en_US.utf8\""),
            ("App.\"a.b\"", "\"App\".\"a.b\""),
        ] {
            assert_eq!(from_kdl(kdl), held);
            assert_eq!(to_kdl(held), kdl);
        }
    }

    #[test]
    fn a_default_collation_is_not_held() {
        assert_eq!(from_names(&[]), None);
        assert_eq!(from_names(&[Ident::new("pg_catalog"), Ident::new("POSIX")]).as_deref(), Some("pg_catalog.\"POSIX\""));
    }
}
