//! An exclusion constraint: `exclude room with="=" using=gist { element during with="&&"; }`.

use serde::{Deserialize, Serialize};

use super::index::{element_from_kdl, element_to_kdl};
use super::key::Deferrable;
use super::table::{options_sql, read_options, write_options};
use super::{Kind, Lowering, Rebuild, Row, Scope, Why, check, row, violations};
use crate::catalog::expr::{split_list, take_parens, unwrap_parens};
use crate::catalog::id::{default_name, quote, quoted_list};
use crate::catalog::{Id, Ident, Indexed};
use crate::kdl::{Node, NodeOut};
use crate::plan::op::{Action, Alteration, Cost, Hazard, LockMode, Violations};

/// An EXCLUDE constraint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Exclusion {
    /// The table.
    pub table: Id,
    /// Its name, and its index's.
    pub name: Ident,
    /// The access method.
    pub using: String,
    /// Elements with their operator: `(room, "=")`.
    pub elements: Vec<(String, String)>,
    /// Columns that the index only carries.
    pub include: Vec<Ident>,
    /// Which rows it is about.
    pub filter: Option<String>,
    /// Storage parameters of the index.
    pub options: Vec<(String, String)>,
    /// Where the index is not in the default place.
    pub tablespace: Option<Ident>,
    /// When it is checked.
    pub deferrable: Deferrable,
}

impl Kind for Exclusion {
    const KEYWORD: &'static str = "exclude";
    const CATALOG: &'static str = "pg_constraint";
    const PARENTS: &'static [&'static str] = &["table"];
    cast_to!(Exclusion);

    fn query(_server: u32) -> Option<String> {
        Some(format!(
            "SELECT k.oid::int8, 0::int8, n.nspname::text, c.relname::text, k.conname::text, m.amname::text, pg_get_constraintdef(k.oid), \
             CASE WHEN i.indnatts > i.indnkeyatts THEN (SELECT array_agg(a.attname::text ORDER BY o) FROM unnest(i.indkey::int2[]) WITH ORDINALITY u(attnum, o) JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = u.attnum WHERE o > i.indnkeyatts) END, \
             CASE WHEN i.indpred IS NOT NULL THEN pg_get_expr(i.indpred, i.indrelid) END, x.reloptions, (SELECT spcname::text FROM pg_tablespace s WHERE s.oid = x.reltablespace), k.condeferrable, k.condeferred \
             FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
             JOIN pg_index i ON i.indexrelid = k.conindid JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_am m ON m.oid = x.relam \
             WHERE k.contype = 'x' AND k.conparentid = 0 AND c.relpersistence <> 't' AND {} AND {} ORDER BY 3, 4, 5",
            row::in_user_schema("c.relnamespace"),
            row::not_extension_member("pg_class", "c.oid")
        ))
    }

    fn from_row(row: &mut Row<'_>) -> Self {
        let table = Id::new("table", [row.name(), row.name()]);
        let (name, using, definition) = (row.name(), row.text(), row.text());
        // `EXCLUDE USING gist (room WITH =, during WITH &&) …`
        let list = definition.find('(').and_then(|open| take_parens(&definition[open..])).map_or("", |(list, _)| list);
        let elements = split_list(list).iter().filter_map(|part| part.rsplit_once(" WITH ")).map(|(element, operator)| (element.to_owned(), operator.to_owned())).collect();
        let include = row.names();
        let filter = row.opt_text().map(|text| unwrap_parens(&text).to_owned());
        let mut options = row::options(row.texts());
        options.sort();
        Self { table, name, using, elements, include, filter, options, tablespace: row.opt_name(), deferrable: Deferrable::from_row(row) }
    }

    fn read(node: &mut Node<'_>, at: &Scope<'_>, out: &mut Lowering) -> Option<Id> {
        let table = at.parent().as_kind("table");
        let first = node.arg("a column or expression", &mut out.findings)?;
        let using = node.value("using", &mut out.findings).map_or_else(|| "gist".to_owned(), |text| text.value);
        let operator = node.value("with", &mut out.findings);
        let mut elements = Vec::new();
        let mut element = |text: &str, opclass: Option<String>, operator: String| {
            let class = opclass.map_or_else(String::new, |class| format!(" {class}"));
            elements.push((element_from_kdl(text) + &class, operator));
        };
        let opclass = node.value("opclass", &mut out.findings).map(|text| text.value);
        element(&first.value, opclass, operator.map_or_else(|| "=".to_owned(), |text| text.value));
        for mut entry in node.children("element") {
            let text = entry.arg("a column or expression", &mut out.findings)?;
            let opclass = entry.value("opclass", &mut out.findings).map(|text| text.value);
            let operator = entry.value("with", &mut out.findings).map_or_else(|| "=".to_owned(), |text| text.value);
            entry.finish(&mut out.findings);
            element(&text.value, opclass, operator);
        }
        let include = node.values("include", &mut out.findings).unwrap_or_default().iter().map(|text| Ident::new(&text.value)).collect();
        let filter = node.value("where", &mut out.findings).map(|text| text.value);
        let tablespace = node.value("tablespace", &mut out.findings).map(|text| Ident::new(&text.value));
        let deferrable = Deferrable::read(node, out);
        let options = read_options(node, out);
        let name = node.value("name", &mut out.findings).map(|text| Ident::new(&text.value)).unwrap_or_else(|| {
            let columns = elements.iter().map(|(element, _)| element.split(' ').next().unwrap_or_default().trim_matches('"')).collect::<Vec<_>>().join("_");
            out.default_id(&table.child(Self::KEYWORD, &default_name(table.name(), &columns, "excl"))).name().into()
        });
        Some(out.put(node, Self { table, name, using, elements, include, filter, options, tablespace, deferrable }))
    }

    fn write<'n>(&self, parent: &'n mut NodeOut) -> &'n mut NodeOut {
        let Self { table: _, name, using, elements, include, filter, options, tablespace, deferrable } = self;
        let mut node = NodeOut::new(Self::KEYWORD);
        for (at, (element, operator)) in elements.iter().enumerate() {
            if at == 0 {
                node = node.arg(element_to_kdl(element));
                node.set("with", operator.as_str());
            } else {
                let mut entry = NodeOut::new("element").arg(element_to_kdl(element));
                entry.set("with", operator.as_str());
                node.add(entry);
            }
        }
        node.set("name", name.as_str());
        if using != "gist" {
            node.set("using", using.as_str());
        }
        if let Some(filter) = filter {
            node.set("where", filter.as_str());
        }
        if let Some(space) = tablespace {
            node.set("tablespace", space.as_str());
        }
        deferrable.write(&mut node);
        if !include.is_empty() {
            node.add(include.iter().fold(NodeOut::new("include"), |node, column| node.arg(column.as_str())));
        }
        write_options(options, &mut node);
        parent.add(node)
    }

    fn id(&self) -> Id {
        self.table.child(Self::KEYWORD, &self.name)
    }

    fn parent(&self) -> Option<Id> {
        Some(self.table.clone())
    }

    fn has_only_comments(&self) -> bool {
        true
    }

    fn texts(&self) -> Vec<&str> {
        self.elements.iter().flat_map(|(element, operator)| [element.as_str(), operator.as_str()]).chain(self.filter.as_deref()).collect()
    }

    fn create(&self) -> Action {
        let Self { table, name, using, elements, include, filter, options, tablespace, deferrable } = self;
        let list = elements.iter().map(|(element, operator)| format!("{element} WITH {operator}")).collect::<Vec<_>>().join(", ");
        let mut sql = format!("ALTER TABLE {} ADD CONSTRAINT {} EXCLUDE USING {} ({list})", table.sql(), quote(name), quote(using));
        if !include.is_empty() {
            sql += &format!(" INCLUDE ({})", quoted_list(include));
        }
        if !options.is_empty() {
            sql += &format!(" WITH ({})", options_sql(options));
        }
        if let Some(space) = tablespace {
            sql += &format!(" USING INDEX TABLESPACE {}", quote(space));
        }
        if let Some(filter) = filter {
            sql += &format!(" WHERE ({filter})");
        }
        Action::new(format!("Add {}", self.id())).sql(sql + deferrable.clause()).lock(table, LockMode::AccessExclusive, Cost::Build)
    }

    fn drop(&self) -> Action {
        Action::new(format!("Drop {}", self.id()))
            .sql(format!("ALTER TABLE {} DROP CONSTRAINT {}", self.table.sql(), quote(&self.name)))
            .lock(&self.table, LockMode::AccessExclusive, Cost::Instant)
            .hazard(Hazard::DropIndex, self.id())
    }

    fn alter(_old: &Self, _new: &Self) -> Alteration {
        Alteration::Replace
    }

    fn violations(&self, live: &Indexed<'_>) -> Vec<Violations> {
        let copy = Self {
            table: Id::new("table", ["pg_temp", "preflight_copy"]),
            options: Vec::new(),
            tablespace: None,
            // ON CONFLICT takes no deferrable constraint.
            deferrable: Deferrable::No,
            ..self.clone()
        };
        let title = format!("rows of {} conflict with another row ({})", self.table, self.id());
        let help = "correct or delete them, or change the constraint".to_owned();
        vec![violations::collisions(live, &self.table, title, help, copy.create().sql.join("; "))]
    }

    fn rename(old: &Id, new: &Id) -> Option<Action> {
        Some(check::rename_constraint(old, new))
    }

    fn rebuild(&self, why: Why) -> Rebuild {
        if why == Why::Retyped { Rebuild::Keep } else { Rebuild::Replace }
    }

    fn address(id: &Id) -> String {
        check::constraint_address(id)
    }

    fn relation_name(&self) -> Option<String> {
        Some(self.id().in_schema())
    }
}
