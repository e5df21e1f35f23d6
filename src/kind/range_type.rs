//! A range type: `range-type span subtype=float8 subtype-diff=float8mi multirange=spans`.
//!
//! PostgreSQL has no ALTER for any of it (manual, ALTER TYPE), so every change replaces the type.

use serde::{Deserialize, Serialize};

use super::{Kind, Lowering, Row, Scope, collation_name, row, schema::Schema, sql_type};
use crate::catalog::id::{NAME_BYTES, dotted, qualified, undotted};
use crate::catalog::{Id, Ident};
use crate::kdl::{Node, NodeOut};
use crate::plan::op::{Action, Alteration};

/// Ranges over a type with an order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RangeType {
    /// Its schema.
    pub schema: Ident,
    /// Its name.
    pub name: Ident,
    /// The type of its bounds.
    pub subtype: String,
    /// The operator class that orders it, as SQL, where it is not the subtype's default one.
    pub subtype_opclass: Option<String>,
    /// Its collation, where it is not the subtype's own.
    pub collation: Option<String>,
    /// The function that makes equal ranges look the same, as SQL. It takes the range type itself,
    /// so it can only be made for a shell type, in C.
    pub canonical: Option<String>,
    /// The function that measures the distance of two bounds, as SQL.
    pub subtype_diff: Option<String>,
    /// The multirange type that comes with it, as SQL.
    pub multirange: String,
}

impl RangeType {
    /// The name of the multirange type where nobody gives one (`makeMultirangeTypeName` in
    /// `src/backend/catalog/pg_type.c`), cut to the longest name.
    #[must_use]
    pub fn default_multirange(name: &str) -> Ident {
        let derived = match name.find("range") {
            Some(at) => format!("{}multi{}", &name[..at], &name[at..]),
            None => format!("{}_multirange", cut(name, NAME_BYTES - "_multirange".len())),
        };
        Ident::new(cut(&derived, NAME_BYTES))
    }

    /// A reference in KDL as SQL: names stay as exact as they are there. One without a schema is
    /// looked up by PostgreSQL.
    fn reference(text: &str) -> String {
        qualified(&undotted(text))
    }
}

/// The longest beginning of at most `bytes` that ends with a whole character.
fn cut(text: &str, bytes: usize) -> &str {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

impl Kind for RangeType {
    const KEYWORD: &'static str = "range-type";
    const CATALOG: &'static str = "pg_type";
    const PARENTS: &'static [&'static str] = &["schema"];
    cast_to!(RangeType);

    fn query(_server: u32) -> Option<String> {
        let function = |oid: &str| {
            format!("(SELECT ARRAY[fn.nspname::text, f.proname::text] FROM pg_proc f JOIN pg_namespace fn ON fn.oid = f.pronamespace WHERE f.oid = {oid})")
        };
        Some(format!(
            "SELECT t.oid::int8, 0::int8, n.nspname::text, t.typname::text, format_type(r.rngsubtype, NULL), \
             (SELECT ARRAY[cn.nspname::text, o.opcname::text] FROM pg_opclass o JOIN pg_namespace cn ON cn.oid = o.opcnamespace \
             WHERE o.oid = r.rngsubopc AND NOT o.opcdefault), \
             {}, {}, {}, ARRAY[mn.nspname::text, m.typname::text] \
             FROM pg_range r JOIN pg_type t ON t.oid = r.rngtypid JOIN pg_namespace n ON n.oid = t.typnamespace \
             JOIN pg_type m ON m.oid = r.rngmultitypid JOIN pg_namespace mn ON mn.oid = m.typnamespace \
             WHERE {} AND {} ORDER BY 3, 4",
            collation_name::column("r.rngcollation", "r.rngsubtype"),
            function("r.rngcanonical"),
            function("r.rngsubdiff"),
            row::in_user_schema("t.typnamespace"),
            row::not_extension_member("pg_type", "t.oid")
        ))
    }

    fn from_row(row: &mut Row<'_>) -> Self {
        let optional = |names: Vec<Ident>| (!names.is_empty()).then(|| qualified(&names));
        Self {
            schema: row.name(),
            name: row.name(),
            subtype: row.text(),
            subtype_opclass: optional(row.names()),
            collation: collation_name::from_names(&row.names()),
            canonical: optional(row.names()),
            subtype_diff: optional(row.names()),
            multirange: qualified(&row.names()),
        }
    }

    fn read(node: &mut Node<'_>, at: &Scope<'_>, out: &mut Lowering) -> Option<Id> {
        let name = node.arg("a name", &mut out.findings)?;
        let Some(subtype) = node.value("subtype", &mut out.findings) else {
            out.complain(&name, "a range type needs the type of its bounds", "write `subtype=…`");
            return None;
        };
        let mut reference = |name| node.value(name, &mut out.findings).map(|text| text.value);
        let subtype_opclass = reference("subtype-opclass").map(|text| Self::reference(&text));
        let collation = reference("collation").map(|text| collation_name::from_kdl(&text));
        let canonical = reference("canonical").map(|text| Self::reference(&text));
        let subtype_diff = reference("subtype-diff").map(|text| Self::reference(&text));
        let multirange = match reference("multirange") {
            Some(text) => qualified(&at.path(&text)),
            None => qualified(&[Ident::new(at.schema), Self::default_multirange(&name.value)]),
        };
        let (schema, name) = (Ident::new(at.schema), Ident::new(&name.value));
        let subtype = sql_type::canonical(&subtype.value);
        Some(out.put(node, Self { schema, name, subtype, subtype_opclass, collation, canonical, subtype_diff, multirange }))
    }

    fn write<'n>(&self, parent: &'n mut NodeOut) -> &'n mut NodeOut {
        let Self { schema, name, subtype, subtype_opclass, collation, canonical, subtype_diff, multirange } = self;
        let mut node = NodeOut::new(Self::KEYWORD).arg(name.as_str());
        node.set("subtype", sql_type::display(subtype));
        // Quoting in SQL and in dotted paths is the same but for when it is needed.
        let reference = |sql: &String| dotted(&undotted(sql));
        for (property, value) in [
            ("subtype-opclass", subtype_opclass.as_ref().map(reference)),
            ("collation", collation.as_ref().map(|collation| collation_name::to_kdl(collation))),
            ("canonical", canonical.as_ref().map(reference)),
            ("subtype-diff", subtype_diff.as_ref().map(reference)),
        ] {
            if let Some(value) = value {
                node.set(property, value);
            }
        }
        let path = undotted(multirange);
        let in_schema = path.len() == 2 && path[0] == *schema;
        if !in_schema || path[1] != Self::default_multirange(name) {
            node.set("multirange", dotted(&path[usize::from(in_schema)..]));
        }
        parent.add(node)
    }

    fn id(&self) -> Id {
        Id::new(Self::KEYWORD, [self.schema.clone(), self.name.clone()])
    }

    fn parent(&self) -> Option<Id> {
        Some(Schema::id_of(&self.schema))
    }

    fn needs(&self) -> Vec<Id> {
        undotted(&self.multirange).first().map(|schema| Schema::id_of(schema)).into_iter().collect()
    }

    fn texts(&self) -> Vec<&str> {
        let Self { schema: _, name: _, subtype, subtype_opclass, collation, canonical, subtype_diff, multirange: _ } = self;
        let optional = [subtype_opclass, collation, canonical, subtype_diff];
        [subtype.as_str()].into_iter().chain(optional.into_iter().filter_map(Option::as_deref)).collect()
    }

    fn type_names(&mut self) -> Vec<&mut String> {
        vec![&mut self.subtype]
    }

    fn create(&self) -> Action {
        let Self { schema: _, name: _, subtype, subtype_opclass, collation, canonical, subtype_diff, multirange } = self;
        let mut parts = vec![format!("SUBTYPE = {subtype}")];
        for (word, value) in
            [("SUBTYPE_OPCLASS", subtype_opclass), ("COLLATION", collation), ("CANONICAL", canonical), ("SUBTYPE_DIFF", subtype_diff)]
        {
            parts.extend(value.as_ref().map(|value| format!("{word} = {value}")));
        }
        parts.push(format!("MULTIRANGE_TYPE_NAME = {multirange}"));
        Action::new(format!("Create {}", self.id())).sql(format!("CREATE TYPE {} AS RANGE ({})", self.id().sql(), parts.join(", ")))
    }

    fn drop(&self) -> Action {
        Action::new(format!("Drop {}", self.id())).sql(format!("DROP TYPE {}", self.id().sql()))
    }

    fn alter(old: &Self, new: &Self) -> Alteration {
        if old == new { Alteration::Act(Vec::new()) } else { Alteration::Replace }
    }

    fn rename(old: &Id, new: &Id) -> Option<Action> {
        Some(super::table::rename_in_schema("TYPE", old, new))
    }

    fn address(id: &Id) -> String {
        format!("TYPE {}", id.sql())
    }

    fn grant_address(id: &Id) -> Option<String> {
        Some(format!("TYPE {}", id.sql()))
    }

    fn relation_name(&self) -> Option<String> {
        Some(self.id().sql())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::round_trip;

    #[test]
    fn names_of_multiranges() {
        for (name, multirange) in [("span", "span_multirange"), ("floatrange", "floatmultirange"), ("range_of_ranges", "multirange_of_ranges")] {
            assert_eq!(RangeType::default_multirange(name), multirange);
        }
        assert_eq!(RangeType::default_multirange(&"x".repeat(63)), format!("{}_multirange", "x".repeat(52)));
        assert_eq!(RangeType::default_multirange(&format!("{}range", "x".repeat(58))).len(), 63);
    }

    #[test]
    fn create() {
        let span = RangeType {
            schema: "app".into(),
            name: "span".into(),
            subtype: "text".to_owned(),
            subtype_opclass: Some("pg_catalog.text_pattern_ops".to_owned()),
            collation: Some("pg_catalog.\"C\"".to_owned()),
            canonical: None,
            subtype_diff: Some("app.text_distance".to_owned()),
            multirange: "app.spans".to_owned(),
        };
        assert_eq!(
            span.create().sql,
            ["CREATE TYPE app.span AS RANGE (SUBTYPE = text, SUBTYPE_OPCLASS = pg_catalog.text_pattern_ops, \
              COLLATION = pg_catalog.\"C\", SUBTYPE_DIFF = app.text_distance, MULTIRANGE_TYPE_NAME = app.spans)"]
        );
    }

    #[test]
    fn reads_back() {
        let span = RangeType {
            schema: "app".into(),
            name: "span".into(),
            subtype: "double precision".to_owned(),
            subtype_opclass: None,
            collation: None,
            canonical: None,
            subtype_diff: Some("pg_catalog.float8mi".to_owned()),
            multirange: "app.span_multirange".to_owned(),
        };
        assert_eq!(round_trip::check(&span), "range-type span subtype=\"double precision\" subtype-diff=pg_catalog.float8mi\n");
        for multirange in ["app.spans", "other.span_multirange", "other.\"a.b\""] {
            round_trip::check(&RangeType {
                subtype_opclass: Some("app.\"My_ops\"".to_owned()),
                collation: Some("pg_catalog.\"C\"".to_owned()),
                multirange: multirange.to_owned(),
                ..span.clone()
            });
        }
    }
}
