//! A composite type that stands by itself: `type pair { attribute a int; attribute b text; }`.

use serde::{Deserialize, Serialize};

use super::view_column::ViewColumn;
use super::{Kind, Lowering, Row, Scope, collation_name, comment::Comment, row, schema::Schema, sql_type};
use crate::catalog::id::quote;
use crate::catalog::{Id, Ident};
use crate::kdl::{Node, NodeOut};
use crate::plan::op::{Action, Alteration, Cost, Hazard, LockMode};

/// A row type without a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Composite {
    /// Its schema.
    pub schema: Ident,
    /// Its name.
    pub name: Ident,
    /// Its attributes, in their order.
    pub attributes: Vec<Attribute>,
}

/// One attribute of a composite type.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attribute {
    /// Its name.
    pub name: Ident,
    /// Its type.
    pub data_type: String,
    /// Its collation, where it is not the type's own.
    pub collation: Option<String>,
}

impl Attribute {
    fn definition(&self) -> String {
        let Self { name, data_type, collation } = self;
        let collation = collation.as_ref().map_or(String::new(), |collation| format!(" COLLATE {collation}"));
        format!("{} {data_type}{collation}", quote(name))
    }

    /// Reads one `attribute` node: itself, what it was called before, and its comment.
    fn read(node: &mut Node<'_>, out: &mut Lowering) -> Option<(Self, Option<Ident>, Option<String>)> {
        let name = node.arg("a name", &mut out.findings)?;
        let data_type = node.arg("a type", &mut out.findings)?;
        let collation = node.value("collation", &mut out.findings).map(|text| collation_name::from_kdl(&text.value));
        let was = node.value("was", &mut out.findings).map(|text| Ident::new(&text.value));
        let comment = node.value("comment", &mut out.findings).map(|text| text.value);
        Some((Self { name: Ident::new(&name.value), data_type: sql_type::canonical(&data_type.value), collation }, was, comment))
    }
}

impl Kind for Composite {
    const KEYWORD: &'static str = "type";
    const CATALOG: &'static str = "pg_type";
    const PARENTS: &'static [&'static str] = &["schema"];
    cast_to!(Composite);

    fn query(_server: u32) -> Option<String> {
        // Columns of this type depend on the row of pg_type; the attributes' own dependencies are
        // recorded for the row of pg_class, which depends internally on the type.
        Some(format!(
            "SELECT t.oid::int8, 0::int8, n.nspname::text, t.typname::text, a.names, a.types, a.collation_schemas, a.collations \
             FROM pg_type t JOIN pg_class c ON c.oid = t.typrelid AND c.relkind = 'c' JOIN pg_namespace n ON n.oid = t.typnamespace \
             LEFT JOIN (SELECT a.attrelid, array_agg(a.attname::text ORDER BY a.attnum) AS names, \
             array_agg(format_type(a.atttypid, a.atttypmod) ORDER BY a.attnum) AS types, \
             array_agg(cn.nspname::text ORDER BY a.attnum) AS collation_schemas, array_agg(co.collname::text ORDER BY a.attnum) AS collations \
             FROM pg_attribute a JOIN pg_class ac ON ac.oid = a.attrelid AND ac.relkind = 'c' JOIN pg_type y ON y.oid = a.atttypid \
             LEFT JOIN pg_collation co ON co.oid = a.attcollation AND co.oid <> y.typcollation LEFT JOIN pg_namespace cn ON cn.oid = co.collnamespace \
             WHERE a.attnum > 0 AND NOT a.attisdropped GROUP BY a.attrelid) a ON a.attrelid = c.oid \
             WHERE t.typtype = 'c' AND {} AND {} ORDER BY 3, 4",
            row::in_user_schema("t.typnamespace"),
            row::not_extension_member("pg_type", "t.oid")
        ))
    }

    fn from_row(row: &mut Row<'_>) -> Self {
        let (schema, name) = (row.name(), row.name());
        let (names, types) = (row.names(), row.texts());
        let collations = row.opt_texts().into_iter().zip(row.opt_texts()).map(|(schema, name)| Some(collation_name::from_catalog(&schema?, &name?)));
        let attributes = names
            .into_iter()
            .zip(types)
            .zip(collations)
            .map(|((name, data_type), collation)| Attribute { name, data_type, collation })
            .collect();
        Self { schema, name, attributes }
    }

    fn read(node: &mut Node<'_>, at: &Scope<'_>, out: &mut Lowering) -> Option<Id> {
        let name = node.arg("a name", &mut out.findings)?;
        let mut composite = Self { schema: Ident::new(at.schema), name: Ident::new(&name.value), attributes: Vec::new() };
        let id = composite.id();
        for mut child in node.children("attribute") {
            let Some((attribute, was, comment)) = Attribute::read(&mut child, out) else { continue };
            if let Some(was) = was {
                out.hints.part_renames.insert((id.clone(), attribute.name.clone()), was);
            }
            if let Some(text) = comment {
                let column = out.put(&child, ViewColumn { relation: id.clone(), name: attribute.name.clone() });
                out.put(&child, Comment { on: column, text });
            }
            if composite.attributes.iter().any(|other| other.name == attribute.name) {
                out.findings.push(crate::kdl::Finding::at(child.title(), format!("{id} has two attributes `{}`", attribute.name)).label("a second time here").help("keep one of them"));
            } else {
                composite.attributes.push(attribute);
            }
            child.finish(&mut out.findings);
        }
        Some(out.put(node, composite))
    }

    fn write<'n>(&self, parent: &'n mut NodeOut) -> &'n mut NodeOut {
        let Self { schema: _, name, attributes } = self;
        let mut node = NodeOut::new(Self::KEYWORD).arg(name.as_str());
        for Attribute { name, data_type, collation } in attributes {
            let mut attribute = NodeOut::new("attribute").arg(name.as_str()).arg(sql_type::display(data_type));
            if let Some(collation) = collation {
                attribute.set("collation", collation_name::to_kdl(collation));
            }
            node.add(attribute);
        }
        parent.add(node)
    }

    fn id(&self) -> Id {
        Id::new(Self::KEYWORD, [self.schema.clone(), self.name.clone()])
    }

    fn parent(&self) -> Option<Id> {
        Some(Schema::id_of(&self.schema))
    }

    fn texts(&self) -> Vec<&str> {
        self.attributes.iter().flat_map(|attribute| [attribute.data_type.as_str()].into_iter().chain(attribute.collation.as_deref())).collect()
    }

    fn type_names(&mut self) -> Vec<&mut String> {
        self.attributes.iter_mut().map(|attribute| &mut attribute.data_type).collect()
    }

    fn create(&self) -> Action {
        let Self { schema: _, name: _, attributes } = self;
        let attributes = attributes.iter().map(Attribute::definition).collect::<Vec<_>>().join(", ");
        Action::new(format!("Create {}", self.id())).sql(format!("CREATE TYPE {} AS ({attributes})", self.id().sql()))
    }

    fn drop(&self) -> Action {
        Action::new(format!("Drop {}", self.id())).sql(format!("DROP TYPE {}", self.id().sql()))
    }

    fn alter(old: &Self, new: &Self) -> Alteration {
        let Self { schema: _, name: _, attributes } = new;
        let (kept, gone): (Vec<_>, Vec<_>) = old.attributes.iter().partition(|was| attributes.iter().any(|now| now.name == was.name));
        // A new attribute comes last. A type cannot change while a table has a column of the
        // composite type (find_composite_type_dependencies in src/backend/commands/tablecmds.c).
        if attributes.len() < kept.len() || !kept.iter().copied().eq(&attributes[..kept.len()]) {
            return Alteration::Replace;
        }
        let id = new.id();
        let act = |title: String, clause: &str| {
            Action::new(title)
                .sql(format!("ALTER TYPE {} {clause}", id.sql()))
                .lock(&id, LockMode::AccessExclusive, Cost::Instant)
                .hazard(Hazard::RowShape, &id)
        };
        let mut actions = Vec::new();
        for attribute in gone {
            let what = format!("the attribute {} of {id}", attribute.name);
            actions.push(
                act(format!("Drop {what}"), &format!("DROP ATTRIBUTE {}", quote(&attribute.name))).hazard(Hazard::DropData, &what).loses(&what),
            );
        }
        for attribute in &attributes[kept.len()..] {
            actions.push(act(format!("Add the attribute {} to {id}", attribute.name), &format!("ADD ATTRIBUTE {}", attribute.definition())));
        }
        Alteration::Act(actions)
    }

    fn rename(old: &Id, new: &Id) -> Option<Action> {
        Some(super::table::rename_in_schema("TYPE", old, new))
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

    fn pair(attributes: &[(&str, &str)]) -> Composite {
        let attributes = attributes
            .iter()
            .map(|(name, data_type)| Attribute { name: Ident::new(name), data_type: (*data_type).to_owned(), collation: None })
            .collect();
        Composite { schema: "app".into(), name: "pair".into(), attributes }
    }

    fn altered(old: &Composite, new: &Composite) -> Vec<String> {
        match Composite::alter(old, new) {
            Alteration::Act(actions) => actions.into_iter().flat_map(|action| action.sql).collect(),
            _ => vec!["replace".to_owned()],
        }
    }

    #[test]
    fn create() {
        let mut both = pair(&[("a", "integer"), ("B", "text")]);
        both.attributes[1].collation = Some("pg_catalog.\"C\"".to_owned());
        assert_eq!(both.create().sql, ["CREATE TYPE app.pair AS (a integer, \"B\" text COLLATE pg_catalog.\"C\")"]);
    }

    #[test]
    fn attributes_are_dropped_and_appended_in_place() {
        let old = pair(&[("a", "integer"), ("b", "text"), ("c", "date")]);
        assert_eq!(
            altered(&old, &pair(&[("a", "integer"), ("c", "date"), ("d", "uuid")])),
            ["ALTER TYPE app.pair DROP ATTRIBUTE b", "ALTER TYPE app.pair ADD ATTRIBUTE d uuid"]
        );
        assert_eq!(altered(&old, &pair(&[("a", "bigint"), ("b", "text"), ("c", "date")])), ["replace"]);
        assert_eq!(altered(&old, &pair(&[("b", "text"), ("a", "integer"), ("c", "date")])), ["replace"]);
        assert_eq!(altered(&pair(&[("a", "integer")]), &pair(&[("x", "date"), ("a", "integer")])), ["replace"]);
        assert!(altered(&old, &old).is_empty());
    }

    #[test]
    fn reads_back() {
        let mut both = pair(&[("a", "integer"), ("true", "numeric(5,2)")]);
        both.attributes[1].collation = Some("app.german".to_owned());
        round_trip::check(&both);
        round_trip::check(&pair(&[]));
    }
}
