//! A publication: `publication pub publish="insert,update" { table app.orders where="total > 0" { columns id total; }; }`.
//!
//! Facts: manual, CREATE PUBLICATION; SHARE UPDATE EXCLUSIVE on an added table was measured. Row
//! filters, column lists and whole schemas are of PostgreSQL 15, generated columns of 18.

use serde::{Deserialize, Serialize};

use super::published::PublishedTable;
use super::{Kind, Lowering, Row, Scope, row, schema::Schema};
use crate::catalog::id::{literal, quote, quoted_list};
use crate::catalog::{Id, Ident};
use crate::kdl::{Node, NodeOut, Text, one_of};
use crate::plan::op::{Action, Alteration, Cost, Hazard, LockMode};

/// What can be published, in the order of the manual; all of it by default.
const OPERATIONS: [&str; 4] = ["insert", "update", "delete", "truncate"];

/// What subscribers get.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Publication {
    /// Its name.
    pub name: Ident,
    /// Every table of the database.
    pub all_tables: bool,
    /// The tables, sorted.
    pub tables: Vec<PublishedTable>,
    /// The schemas of which every table is published, sorted.
    pub schemas: Vec<Ident>,
    /// The published operations.
    pub operations: Vec<String>,
    /// Changes of partitions are published as changes of the partitioned table.
    pub via_root: bool,
    /// Stored generated columns are published.
    pub generated: bool,
}

impl Publication {
    /// Whether subscribers get the rows of `table`, and with a list of columns, which.
    #[must_use]
    pub fn carries(&self, table: &Id) -> Option<&[Ident]> {
        if let Some(published) = self.tables.iter().find(|published| published.table == *table) {
            return Some(&published.columns);
        }
        (self.all_tables || self.schemas.iter().any(|schema| schema.as_str() == table.schema())).then_some(&[])
    }

    fn objects(tables: &[PublishedTable], schemas: &[Ident]) -> String {
        let tables = tables.iter().map(|table| format!("TABLE {}", table.sql()));
        let schemas = (!schemas.is_empty()).then(|| format!("TABLES IN SCHEMA {}", quoted_list(schemas)));
        tables.chain(schemas).collect::<Vec<_>>().join(", ")
    }

    /// The options; those with their default are left out unless `old` has another value.
    fn options(&self, old: Option<&Self>) -> String {
        let changed = |differs: &dyn Fn(&Self) -> bool, is_default: bool| old.map_or(!is_default, differs);
        let mut options = Vec::new();
        if changed(&|old| old.operations != self.operations, self.operations == OPERATIONS) {
            options.push(format!("publish = {}", literal(&self.operations.join(", "))));
        }
        if changed(&|old| old.via_root != self.via_root, !self.via_root) {
            options.push(format!("publish_via_partition_root = {}", self.via_root));
        }
        if changed(&|old| old.generated != self.generated, !self.generated) {
            options.push(format!("publish_generated_columns = {}", if self.generated { "stored" } else { "none" }));
        }
        options.join(", ")
    }

    fn locked(&self, mut action: Action, other: &[PublishedTable]) -> Action {
        for published in self.tables.iter().filter(|table| !other.contains(table)) {
            action = action.lock(&published.table, LockMode::ShareUpdateExclusive, Cost::Instant);
        }
        action
    }
}

impl Kind for Publication {
    const KEYWORD: &'static str = "publication";
    const CATALOG: &'static str = "pg_publication";
    const PARENTS: &'static [&'static str] = &[""];
    cast_to!(Publication);

    fn query(server: u32) -> Option<String> {
        let new = server >= 150_000;
        let filters = if new { "pg_get_expr(r.prqual, r.prrelid)" } else { "NULL::text" };
        let columns = if new {
            "to_json(ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = r.prrelid AND a.attnum = ANY (r.prattrs) ORDER BY a.attname))::text"
        } else {
            "'[]'::text"
        };
        let schemas = if new {
            "ARRAY(SELECT n.nspname::text FROM pg_publication_namespace x JOIN pg_namespace n ON n.oid = x.pnnspid WHERE x.pnpubid = p.oid)"
        } else {
            "NULL::text[]"
        };
        let generated = if server >= 180_000 { "p.pubgencols = 's'" } else { "false" };
        let tables = |what: &str| {
            format!(
                "ARRAY(SELECT {what} FROM pg_publication_rel r JOIN pg_class c ON c.oid = r.prrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
                 WHERE r.prpubid = p.oid ORDER BY n.nspname, c.relname)"
            )
        };
        Some(format!(
            "SELECT p.oid::int8, 0::int8, p.pubname::text, p.puballtables, {}, {}, {}, {}, {schemas}, \
             array_remove(ARRAY[CASE WHEN p.pubinsert THEN 'insert' END, CASE WHEN p.pubupdate THEN 'update' END, \
             CASE WHEN p.pubdelete THEN 'delete' END, CASE WHEN p.pubtruncate THEN 'truncate' END], NULL), p.pubviaroot, {generated} \
             FROM pg_publication p WHERE {} ORDER BY p.pubname",
            tables("n.nspname::text"),
            tables("c.relname::text"),
            tables(columns),
            tables(filters),
            row::not_extension_member("pg_publication", "p.oid")
        ))
    }

    fn from_row(row: &mut Row<'_>) -> Self {
        let (name, all_tables) = (row.name(), row.flag());
        let mut tables = PublishedTable::from_row(row);
        tables.sort_by(|a, b| a.table.cmp(&b.table));
        let mut schemas = row.names();
        schemas.sort();
        Self { name, all_tables, tables, schemas, operations: row.texts(), via_root: row.flag(), generated: row.flag() }
    }

    fn read(node: &mut Node<'_>, at: &Scope<'_>, out: &mut Lowering) -> Option<Id> {
        let name = node.arg("a name", &mut out.findings)?;
        let all_tables = node.flag("all-tables", &mut out.findings);
        let via_root = node.flag("via-partition-root", &mut out.findings);
        let generated = node.flag("generated-columns", &mut out.findings);
        let mut operations: Vec<String> = Vec::new();
        match node.value("publish", &mut out.findings) {
            Some(list) => {
                for word in list.value.split(',').map(str::trim).filter(|word| !word.is_empty()) {
                    if one_of(&Text { value: word.to_owned(), ..list.clone() }, "operation", &OPERATIONS, &mut out.findings) {
                        operations.push(word.to_owned());
                    }
                }
            }
            None => operations.extend(OPERATIONS.map(str::to_owned)),
        }
        operations.sort_by_key(|word| OPERATIONS.iter().position(|one| one == word));
        operations.dedup();
        let mut tables: Vec<PublishedTable> = Vec::new();
        for table in node.children("table") {
            tables.extend(PublishedTable::read(table, at, out));
        }
        tables.sort_by(|a, b| a.table.cmp(&b.table));
        let schemas = node.values("tables-in-schema", &mut out.findings).unwrap_or_default();
        let mut schemas: Vec<Ident> = schemas.iter().map(|schema| Ident::new(&schema.value)).collect();
        schemas.sort();
        Some(out.put(node, Self { name: Ident::new(&name.value), all_tables, tables, schemas, operations, via_root, generated }))
    }

    fn write<'n>(&self, parent: &'n mut NodeOut) -> &'n mut NodeOut {
        let Self { name, all_tables, tables, schemas, operations, via_root, generated } = self;
        let mut node = NodeOut::new("publication").arg(name.as_str());
        for (set, word) in [(*all_tables, "all-tables"), (*via_root, "via-partition-root"), (*generated, "generated-columns")] {
            if set {
                node = node.arg(word);
            }
        }
        if *operations != OPERATIONS {
            node.set("publish", operations.join(","));
        }
        for table in tables {
            table.write(&mut node);
        }
        if !schemas.is_empty() {
            node.add(schemas.iter().fold(NodeOut::new("tables-in-schema"), |node, schema| node.arg(schema.as_str())));
        }
        parent.add(node)
    }

    fn id(&self) -> Id {
        Id::new(Self::KEYWORD, [self.name.clone()])
    }

    fn parent(&self) -> Option<Id> {
        None
    }

    fn needs(&self) -> Vec<Id> {
        self.tables.iter().flat_map(PublishedTable::needs).chain(self.schemas.iter().map(|schema| Schema::id_of(schema))).collect()
    }

    fn texts(&self) -> Vec<&str> {
        self.tables.iter().filter_map(|table| table.filter.as_deref()).collect()
    }

    fn references(&mut self) -> Vec<&mut Id> {
        self.tables.iter_mut().map(|table| &mut table.table).collect()
    }

    fn create(&self) -> Action {
        let Self { name, all_tables, tables, schemas, operations: _, via_root: _, generated: _ } = self;
        let objects = match Self::objects(tables, schemas) {
            _ if *all_tables => " FOR ALL TABLES".to_owned(),
            none if none.is_empty() => none,
            objects => format!(" FOR {objects}"),
        };
        let options = self.options(None);
        let options = if options.is_empty() { options } else { format!(" WITH ({options})") };
        let action = Action::new(format!("Create {}", self.id())).sql(format!("CREATE PUBLICATION {}{objects}{options}", quote(name)));
        self.locked(action, &[])
    }

    fn drop(&self) -> Action {
        let id = self.id();
        Action::new(format!("Drop {id}"))
            .sql(format!("DROP PUBLICATION {}", quote(&self.name)))
            .hazard(Hazard::Breaking, format!("subscribers of {id}"))
    }

    /// SET replaces the whole list and leaves what stays in it alone; it cannot make it empty.
    fn alter(old: &Self, new: &Self) -> Alteration {
        let Self { name, all_tables, tables, schemas, operations: _, via_root: _, generated: _ } = new;
        if *all_tables != old.all_tables {
            return Alteration::Replace;
        }
        let mut action = Action::new(format!("Change {}", new.id()));
        let options = new.options(Some(old));
        if !options.is_empty() {
            action = action.sql(format!("ALTER PUBLICATION {} SET ({options})", quote(name)));
        }
        if (tables, schemas) != (&old.tables, &old.schemas) {
            action = action.sql(if tables.is_empty() && schemas.is_empty() {
                let bare: Vec<PublishedTable> = old.tables.iter().map(PublishedTable::bare).collect();
                format!("ALTER PUBLICATION {} DROP {}", quote(name), Self::objects(&bare, &old.schemas))
            } else {
                format!("ALTER PUBLICATION {} SET {}", quote(name), Self::objects(tables, schemas))
            });
            action = new.locked(action, &old.tables);
        }
        let stays = |table: &PublishedTable| tables.iter().any(|one| one.table == table.table);
        for gone in old.tables.iter().filter(|table| !stays(table)) {
            action = action.hazard(Hazard::Breaking, format!("subscribers of {}", gone.table));
        }
        Alteration::Act(vec![action])
    }

    fn rename(old: &Id, new: &Id) -> Option<Action> {
        let sql = format!("ALTER PUBLICATION {} RENAME TO {}", old.name_sql(), new.name_sql());
        Some(Action::new(format!("Rename {old} to {}", new.name())).sql(sql).hazard(Hazard::Breaking, format!("subscribers of {old}")))
    }
}

#[cfg(test)]
mod tests {
    use super::super::round_trip::created;
    use super::*;

    #[test]
    fn the_forms_of_the_language() {
        let parent: Option<Id> = None;
        for (kdl, sql) in [
            (r#"publication pub publish="insert,update" { table app.orders where="total > 0" { columns id total; }; tables-in-schema billing; }"#, &["CREATE PUBLICATION pub FOR TABLE app.orders (id, total) WHERE (total > 0), TABLES IN SCHEMA billing WITH (publish = 'insert, update')"][..]),
            ("publication all all-tables", &[r#"CREATE PUBLICATION "all" FOR ALL TABLES"#][..]),
        ] {
            assert_eq!(created::<Publication>(kdl, parent.as_ref()), sql);
        }
    }
}
