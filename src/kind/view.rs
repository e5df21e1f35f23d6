//! A view: `view v { with security_invoker=#true; sql "SELECT …"; }`.

use serde::{Deserialize, Serialize};

use super::observed::Observed;
use super::{Kind, Lowering, Row, Scope, row, schema::Schema, table, view_query};
use crate::catalog::{Id, Ident};
use crate::kdl::{Node, NodeOut};
use crate::plan::op::{Action, Alteration, Cost, Hazard, LockMode};

/// A column of a view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputColumn {
    /// Its name.
    pub name: Ident,
    /// Its type, and its collation where that is not the type's own.
    pub data_type: String,
}

/// A stored query.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct View {
    /// Its schema.
    pub schema: Ident,
    /// Its name.
    pub name: Ident,
    /// `security_barrier`, `security_invoker`, `check_option`.
    pub with: Vec<(String, String)>,
    /// The query, without a closing semicolon.
    pub sql: String,
    /// The columns that the query gives. No file says them: they follow from the query, and tell
    /// whether the view can be replaced in place.
    pub columns: Observed<Vec<OutputColumn>>,
}

impl View {
    /// Whether CREATE OR REPLACE VIEW takes `new`: it must begin with the same columns, their types
    /// and collations included (`checkViewColumns` in `src/backend/commands/view.c`). No, where one
    /// of the two is unknown.
    fn can_become(&self, new: &Self) -> bool {
        self.columns.get().zip(new.columns.get()).is_some_and(|(old, new)| new.starts_with(old))
    }
}

impl Kind for View {
    const KEYWORD: &'static str = "view";
    const CATALOG: &'static str = "pg_class";
    const PARENTS: &'static [&'static str] = &["schema"];
    cast_to!(View);

    fn query(_server: u32) -> Option<String> {
        Some(format!(
            "SELECT c.oid::int8, 0::int8, n.nspname::text, c.relname::text, c.reloptions, pg_get_viewdef(c.oid), v.names, v.types \
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             LEFT JOIN (SELECT a.attrelid, array_agg(a.attname::text ORDER BY a.attnum) AS names, \
             array_agg(format_type(a.atttypid, a.atttypmod) || coalesce(' COLLATE ' || cn.nspname || '.' || quote_ident(co.collname), '') ORDER BY a.attnum) AS types \
             FROM pg_attribute a JOIN pg_class vc ON vc.oid = a.attrelid AND vc.relkind = 'v' JOIN pg_type t ON t.oid = a.atttypid \
             LEFT JOIN pg_collation co ON co.oid = a.attcollation AND co.oid <> t.typcollation LEFT JOIN pg_namespace cn ON cn.oid = co.collnamespace \
             WHERE a.attnum > 0 GROUP BY a.attrelid) v ON v.attrelid = c.oid \
             WHERE c.relkind = 'v' AND c.relpersistence <> 't' AND {} AND {} ORDER BY 3, 4",
            row::in_user_schema("c.relnamespace"),
            row::not_extension_member("pg_class", "c.oid")
        ))
    }

    fn from_row(row: &mut Row<'_>) -> Self {
        let (schema, name) = (row.name(), row.name());
        let with = view_query::options(row);
        let sql = view_query::trimmed(&row.text());
        let (names, types) = (row.names(), row.texts());
        let columns: Vec<_> = names.into_iter().zip(types).map(|(name, data_type)| OutputColumn { name, data_type }).collect();
        Self { schema, name, with, sql, columns: columns.into() }
    }

    fn read(node: &mut Node<'_>, at: &Scope<'_>, out: &mut Lowering) -> Option<Id> {
        let name = node.arg("a name", &mut out.findings)?;
        let with = table::read_options(node, out);
        let sql = view_query::read(node, out)?;
        let view = Self { schema: Ident::new(at.schema), name: Ident::new(&name.value), with, sql, columns: Observed::default() };
        Some(out.put(node, view))
    }

    fn write<'n>(&self, parent: &'n mut NodeOut) -> &'n mut NodeOut {
        let Self { schema: _, name, with, sql, columns: _ } = self;
        let mut node = NodeOut::new(Self::KEYWORD).arg(name.as_str());
        table::write_options(with, &mut node);
        node.add(NodeOut::new("sql").arg(sql.as_str()));
        parent.add(node)
    }

    fn id(&self) -> Id {
        Id::new(Self::KEYWORD, [self.schema.clone(), self.name.clone()])
    }

    fn parent(&self) -> Option<Id> {
        Some(Schema::id_of(&self.schema))
    }

    fn texts(&self) -> Vec<&str> {
        vec![&self.sql]
    }

    fn create(&self) -> Action {
        let Self { schema: _, name: _, with, sql, columns: _ } = self;
        Action::new(format!("Create {}", self.id()))
            .sql(format!("CREATE VIEW {}{} AS\n{sql}", self.id().sql(), view_query::with_clause(with)))
    }

    fn drop(&self) -> Action {
        let id = self.id();
        Action::new(format!("Drop {id}")).sql(format!("DROP VIEW {}", id.sql())).lock(&id, LockMode::AccessExclusive, Cost::Instant)
    }

    fn alter(old: &Self, new: &Self) -> Alteration {
        let Self { schema: _, name: _, with, sql, columns } = new;
        let id = new.id();
        if *sql != old.sql {
            if !old.can_become(new) {
                return Alteration::Replace;
            }
            // It puts the options that it names in the place of all that were there.
            let mut action = Action::new(format!("Replace the query of {id}"))
                .sql(format!("CREATE OR REPLACE VIEW {}{} AS\n{sql}", id.sql(), view_query::with_clause(with)))
                .lock(&id, LockMode::AccessExclusive, Cost::Instant);
            if columns.get().map(Vec::len) != old.columns.get().map(Vec::len) {
                action = action.hazard(Hazard::RowShape, &id).hazard(Hazard::Prepared, &id);
            }
            return Alteration::Act(vec![action]);
        }
        let clauses = table::options_changes(&old.with, with);
        if clauses.is_empty() {
            return Alteration::Act(Vec::new());
        }
        let action = clauses.iter().fold(Action::new(format!("Change the options of {id}")), |action, clause| {
            action.sql(format!("ALTER VIEW {} {clause}", id.sql()))
        });
        Alteration::Act(vec![action.lock(&id, LockMode::AccessExclusive, Cost::Instant)])
    }

    fn rename(old: &Id, new: &Id) -> Option<Action> {
        Some(table::rename_in_schema("VIEW", old, new))
    }

    fn grant_address(id: &Id) -> Option<String> {
        Some(format!("TABLE {}", id.sql()))
    }

    fn relation_name(&self) -> Option<String> {
        Some(self.id().sql())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::round_trip;

    fn view(sql: &str, with: &[(&str, &str)], columns: Option<&[(&str, &str)]>) -> View {
        let columns = columns.map(|columns| {
            columns.iter().map(|(name, data_type)| OutputColumn { name: Ident::new(name), data_type: (*data_type).to_owned() }).collect()
        });
        View {
            schema: "app".into(),
            name: "v".into(),
            with: with.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            sql: sql.to_owned(),
            columns: Observed(columns),
        }
    }

    fn altered(old: &View, new: &View) -> Vec<String> {
        match View::alter(old, new) {
            Alteration::Act(actions) => actions.into_iter().flat_map(|action| action.sql).collect(),
            _ => vec!["replace".to_owned()],
        }
    }

    #[test]
    fn create() {
        assert_eq!(
            view("SELECT 1 AS a", &[("check_option", "local"), ("security_invoker", "true")], None).create().sql,
            ["CREATE VIEW app.v WITH (check_option=local, security_invoker='true') AS\nSELECT 1 AS a"]
        );
    }

    #[test]
    fn only_appended_columns_are_replaced_in_place() {
        let old = view("SELECT 1 AS a", &[], Some(&[("a", "integer")]));
        let longer = view("SELECT 1 AS a, 2 AS b", &[], Some(&[("a", "integer"), ("b", "integer")]));
        assert_eq!(altered(&old, &longer), ["CREATE OR REPLACE VIEW app.v AS\nSELECT 1 AS a, 2 AS b"]);
        assert_eq!(altered(&longer, &old), ["replace"]);
        assert_eq!(altered(&old, &view("SELECT 1::bigint AS a", &[], Some(&[("a", "bigint")]))), ["replace"]);
        assert_eq!(altered(&old, &view("SELECT 2 AS a", &[], None)), ["replace"]);
    }

    #[test]
    fn options_alone() {
        let old = view("SELECT 1 AS a", &[("check_option", "local")], None);
        let new = view("SELECT 1 AS a", &[("security_barrier", "true")], None);
        assert_eq!(altered(&old, &new), ["ALTER VIEW app.v SET (security_barrier='true')", "ALTER VIEW app.v RESET (check_option)"]);
        assert!(altered(&new, &new).is_empty());
    }

    #[test]
    fn reads_back() {
        round_trip::check(&view("SELECT 1 AS a", &[("check_option", "local"), ("security_invoker", "true")], None));
        round_trip::check(&view("SELECT '  x' AS a,\n    'b\"' AS b\n   FROM app.t\n  WHERE true", &[], Some(&[("a", "text")])));
    }
}
