//! A materialized view: `materialized-view mv tablespace=fast { sql "SELECT …"; index a unique=#true; }`.

use serde::{Deserialize, Serialize};

use super::observed::Observed;
use super::{Kind, Lowering, Row, Scope, row, schema::Schema, table, view_query};
use crate::catalog::id::quote;
use crate::catalog::{Id, Ident};
use crate::kdl::{Node, NodeOut};
use crate::plan::op::{Action, Alteration, Cost, Hazard, LockMode};

/// A query whose rows are stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MaterializedView {
    /// Its schema.
    pub schema: Ident,
    /// Its name.
    pub name: Ident,
    /// Storage parameters.
    pub with: Vec<(String, String)>,
    /// Its tablespace, where it is not the database's.
    pub tablespace: Option<Ident>,
    /// Its access method, where it is not `heap`.
    pub using: Option<Ident>,
    /// The query, without a closing semicolon.
    pub sql: String,
    /// Whether it is filled when it is made. Afterwards REFRESH decides that, which is the
    /// application's business and no change of the schema.
    pub populated: Observed<bool>,
}

impl MaterializedView {
    fn is_populated(&self) -> bool {
        self.populated.get().copied().unwrap_or(true)
    }
}

impl Kind for MaterializedView {
    const KEYWORD: &'static str = "materialized-view";
    const CATALOG: &'static str = "pg_class";
    const PARENTS: &'static [&'static str] = &["schema"];
    cast_to!(MaterializedView);

    fn query(_server: u32) -> Option<String> {
        Some(format!(
            "SELECT c.oid::int8, 0::int8, n.nspname::text, c.relname::text, {}, s.spcname::text, nullif(m.amname, 'heap')::text, \
             pg_get_viewdef(c.oid), c.relispopulated \
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_tablespace s ON s.oid = c.reltablespace \
             LEFT JOIN pg_am m ON m.oid = c.relam \
             WHERE c.relkind = 'm' AND {} AND {} ORDER BY 3, 4",
            view_query::OPTIONS,
            row::in_user_schema("c.relnamespace"),
            row::not_extension_member("pg_class", "c.oid")
        ))
    }

    fn from_row(row: &mut Row<'_>) -> Self {
        Self {
            schema: row.name(),
            name: row.name(),
            with: view_query::options(row),
            tablespace: row.opt_name(),
            using: row.opt_name(),
            sql: view_query::trimmed(&row.text()),
            populated: row.flag().into(),
        }
    }

    fn read(node: &mut Node<'_>, at: &Scope<'_>, out: &mut Lowering) -> Option<Id> {
        let name = node.arg("a name", &mut out.findings)?;
        let populated = Observed(node.opt_flag("populated", &mut out.findings));
        let tablespace = node.value("tablespace", &mut out.findings).map(|text| Ident::new(&text.value));
        let using = node.value("using", &mut out.findings).map(|text| Ident::new(&text.value)).filter(|method| method != "heap");
        let with = table::read_options(node, out);
        let sql = view_query::read(node, out)?;
        let (schema, name) = (Ident::new(at.schema), Ident::new(&name.value));
        Some(out.put(node, Self { schema, name, with, tablespace, using, sql, populated }))
    }

    fn write<'n>(&self, parent: &'n mut NodeOut) -> &'n mut NodeOut {
        let Self { schema: _, name, with, tablespace, using, sql, populated: _ } = self;
        let mut node = NodeOut::new(Self::KEYWORD).arg(name.as_str());
        if !self.is_populated() {
            node.set("populated", false);
        }
        if let Some(tablespace) = tablespace {
            node.set("tablespace", tablespace.as_str());
        }
        if let Some(using) = using {
            node.set("using", using.as_str());
        }
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
        let Self { schema: _, name: _, with, tablespace, using, sql, populated: _ } = self;
        let using = using.as_ref().map_or(String::new(), |method| format!(" USING {}", quote(method)));
        let tablespace = tablespace.as_ref().map_or(String::new(), |space| format!(" TABLESPACE {}", quote(space)));
        let with = view_query::with_clause(with);
        // On a line of its own: the query may end with a comment.
        let data = if self.is_populated() { "" } else { "\nWITH NO DATA" };
        Action::new(format!("Create {}", self.id()))
            .sql(format!("CREATE MATERIALIZED VIEW {}{using}{with}{tablespace} AS\n{sql}{data}", self.id().sql()))
    }

    fn drop(&self) -> Action {
        let id = self.id();
        Action::new(format!("Drop {id}"))
            .sql(format!("DROP MATERIALIZED VIEW {}", id.sql()))
            .lock(&id, LockMode::AccessExclusive, Cost::Instant)
            .hazard(Hazard::DropData, format!("the stored rows of {id}"))
    }

    fn alter(old: &Self, new: &Self) -> Alteration {
        let Self { schema: _, name: _, with, tablespace, using, sql, populated: _ } = new;
        if *sql != old.sql {
            return Alteration::Replace;
        }
        let id = new.id();
        let statement = |clause: &str| format!("ALTER MATERIALIZED VIEW {} {clause}", id.sql());
        let mut actions = Vec::new();
        let rewrite = |title: String, clause: String| {
            Action::new(title)
                .sql(statement(&clause))
                .lock(&id, LockMode::AccessExclusive, Cost::Rewrite)
                .hazard(Hazard::Blocking, &id)
                .hazard(Hazard::Rewrite, &id)
        };
        if *using != old.using {
            let method = using.as_deref().unwrap_or("heap");
            actions.push(rewrite(format!("Store {id} with {method}"), format!("SET ACCESS METHOD {}", quote(method))));
        }
        if *tablespace != old.tablespace {
            let space = tablespace.as_deref().unwrap_or("pg_default");
            actions.push(rewrite(format!("Move {id} to tablespace {space}"), format!("SET TABLESPACE {}", quote(space))));
        }
        let clauses = table::options_changes(&old.with, with);
        if !clauses.is_empty() {
            let action = clauses.iter().fold(Action::new(format!("Change the options of {id}")), |action, clause| action.sql(statement(clause)));
            actions.push(action.lock(&id, LockMode::ShareUpdateExclusive, Cost::Instant));
        }
        Alteration::Act(actions)
    }

    fn rename(old: &Id, new: &Id) -> Option<Action> {
        Some(table::rename_in_schema("MATERIALIZED VIEW", old, new))
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

    fn daily() -> MaterializedView {
        MaterializedView {
            schema: "app".into(),
            name: "daily".into(),
            with: vec![("fillfactor".to_owned(), "70".to_owned())],
            tablespace: Some("fast".into()),
            using: None,
            sql: "SELECT 1 AS a".to_owned(),
            populated: false.into(),
        }
    }

    #[test]
    fn create() {
        assert_eq!(
            daily().create().sql,
            ["CREATE MATERIALIZED VIEW app.daily WITH (fillfactor=70) TABLESPACE fast AS\nSELECT 1 AS a\nWITH NO DATA"]
        );
    }

    #[test]
    fn alter() {
        let new = MaterializedView { tablespace: None, with: Vec::new(), populated: true.into(), ..daily() };
        let Alteration::Act(actions) = MaterializedView::alter(&daily(), &new) else { panic!("in place") };
        let sql: Vec<String> = actions.into_iter().flat_map(|action| action.sql).collect();
        assert_eq!(
            sql,
            ["ALTER MATERIALIZED VIEW app.daily SET TABLESPACE pg_default", "ALTER MATERIALIZED VIEW app.daily RESET (fillfactor)"]
        );
        assert_eq!(daily(), MaterializedView { populated: true.into(), ..daily() });
        assert_eq!(MaterializedView::alter(&daily(), &MaterializedView { sql: "SELECT 2 AS a".to_owned(), ..daily() }), Alteration::Replace);
    }

    #[test]
    fn reads_back() {
        let text = round_trip::check(&daily());
        assert!(text.starts_with("materialized-view daily populated=#false tablespace=fast {\n"), "{text}");
        round_trip::check(&MaterializedView { with: Vec::new(), using: Some("columnar".into()), ..daily() });
    }
}
