//! A table in a publication: `table app.orders where="total > 0" { columns id total; }`.

use serde::{Deserialize, Serialize};

use super::{Lowering, Row, Scope};
use crate::catalog::expr::unwrap_parens;
use crate::catalog::id::{dotted, quoted_list};
use crate::catalog::{Id, Ident};
use crate::kdl::{Node, NodeOut};

/// What subscribers get of a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PublishedTable {
    /// The table.
    pub table: Id,
    /// The columns, sorted; empty for all.
    pub columns: Vec<Ident>,
    /// Which rows.
    pub filter: Option<String>,
}

impl PublishedTable {
    /// Takes four arrays: schemas, names, columns as JSON, filters.
    pub fn from_row(row: &mut Row<'_>) -> Vec<Self> {
        let (schemas, names, columns, filters) = (row.names(), row.names(), row.texts(), row.opt_texts());
        let places = schemas.into_iter().zip(names);
        let details = columns.into_iter().zip(filters);
        let table = |((schema, name), (columns, filter)): ((Ident, Ident), (String, Option<String>))| {
            let mut columns: Vec<Ident> = serde_json::from_str(&columns).unwrap_or_default();
            columns.sort();
            Self { table: Id::new("table", [schema, name]), columns, filter: filter.map(|filter| unwrap_parens(&filter).to_owned()) }
        };
        places.zip(details).map(table).collect()
    }

    /// Reads its node.
    pub fn read(mut node: Node<'_>, at: &Scope<'_>, out: &mut Lowering) -> Option<Self> {
        let table = node.arg("a table", &mut out.findings);
        let filter = node.value("where", &mut out.findings).map(|text| text.value);
        let columns = node.values("columns", &mut out.findings).unwrap_or_default();
        node.finish(&mut out.findings);
        let table = table?;
        let path = at.path(&table.value);
        if path.len() != 2 {
            out.complain(&table, format!("`{}` names no table with its schema", table.value), "write it as schema.table");
            return None;
        }
        let mut columns: Vec<Ident> = columns.iter().map(|column| Ident::new(&column.value)).collect();
        columns.sort();
        Some(Self { table: Id::new("table", path), columns, filter })
    }

    /// Writes its node.
    pub fn write(&self, parent: &mut NodeOut) {
        let Self { table, columns, filter } = self;
        let mut node = NodeOut::new("table").arg(dotted(&table.path));
        if let Some(filter) = filter {
            node.set("where", filter.as_str());
        }
        if !columns.is_empty() {
            node.add(columns.iter().fold(NodeOut::new("columns"), |node, column| node.arg(column.as_str())));
        }
        parent.add(node);
    }

    /// The table and the columns in the list.
    pub fn needs(&self) -> impl Iterator<Item = Id> {
        let columns = self.columns.iter().map(|column| self.table.child("column", column));
        [self.table.clone()].into_iter().chain(columns)
    }

    /// The table alone, as DROP takes it.
    #[must_use]
    pub fn bare(&self) -> Self {
        Self { table: self.table.clone(), columns: Vec::new(), filter: None }
    }

    /// Behind TABLE.
    #[must_use]
    pub fn sql(&self) -> String {
        let columns = if self.columns.is_empty() { String::new() } else { format!(" ({})", quoted_list(&self.columns)) };
        let filter = self.filter.as_ref().map(|filter| format!(" WHERE ({filter})")).unwrap_or_default();
        format!("{}{columns}{filter}", self.table.sql())
    }
}
