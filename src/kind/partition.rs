//! That a table is a partition of another: `table p partition-of=t from="1" to="10"`, or nested,
//! `partition p from="1" to="10"`.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::table::Table;
use super::{Kind, Lowering, Row, Scope, row};
use crate::catalog::{Id, Indexed};
use crate::catalog::expr::take_parens;
use crate::catalog::id::dotted;
use crate::kdl::{Finding, Node, NodeOut, ValueOut};
use crate::plan::op::{Action, Alteration, Cost, LockMode, Violations};

/// A table's place in a partitioned table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Partition {
    /// The partition.
    pub table: Id,
    /// The partitioned table.
    pub parent: Id,
    /// As `pg_get_expr(relpartbound)` says it: `FOR VALUES FROM (…) TO (…)`, `DEFAULT`.
    pub bound: String,
}

impl Partition {
    /// The id of the place of a table.
    #[must_use]
    pub fn id_of(table: &Id) -> Id {
        table.as_kind(Self::KEYWORD)
    }

    /// Reads `partition-of`, and the bound beside it, of a flat table node.
    pub fn read_properties(table: &Id, node: &mut Node<'_>, at: &Scope<'_>, out: &mut Lowering) {
        let Some(parent) = node.value("partition-of", &mut out.findings) else { return };
        let parent = Id::new("table", at.path(&parent.value));
        Self::read_bound(table, parent, node, out);
    }

    fn read_bound(table: &Id, parent: Id, node: &mut Node<'_>, out: &mut Lowering) {
        let before = out.findings.len();
        let from = node.values("from", &mut out.findings);
        let to = node.values("to", &mut out.findings);
        let list = node.values("in", &mut out.findings);
        let modulus = node.number("modulus", &mut out.findings);
        let remainder = node.number("remainder", &mut out.findings);
        let default = node.flag("default", &mut out.findings);
        let join = |texts: Vec<crate::kdl::Text>| texts.into_iter().map(|text| text.value).collect::<Vec<_>>().join(", ");
        let bound = match (from, to, list, modulus, remainder, default) {
            (Some(from), Some(to), None, None, None, false) => format!("FOR VALUES FROM ({}) TO ({})", join(from), join(to)),
            (None, None, Some(list), None, None, false) => format!("FOR VALUES IN ({})", join(list)),
            (None, None, None, Some(modulus), Some(remainder), false) => format!("FOR VALUES WITH (modulus {modulus}, remainder {remainder})"),
            (None, None, None, None, None, true) => "DEFAULT".to_owned(),
            // A part of it was read badly, and that is said already.
            _ if out.findings.len() > before => return,
            _ => {
                out.findings.push(
                    Finding::at(node.title(), format!("partition {} needs its bound", table.name()))
                        .help("write `from=… to=…`, `in=…`, `modulus=… remainder=…`, or `default`"),
                );
                return;
            }
        };
        out.put(node, Self { table: table.clone(), parent, bound });
    }
}

/// The partitions beneath a table, to any depth, by name, each before those beneath it: `places` are all that there are.
#[must_use]
pub fn beneath<'c>(places: impl IntoIterator<Item = &'c Partition>, table: &Id) -> Vec<&'c Id> {
    let mut parts: HashMap<&Id, Vec<&Id>> = HashMap::new();
    for place in places {
        parts.entry(&place.parent).or_default().push(&place.table);
    }
    // The last is taken first.
    for siblings in parts.values_mut() {
        siblings.sort_unstable_by(|one, other| other.cmp(one));
    }
    let of = |table: &Id| parts.get(table).into_iter().flatten().copied();
    let (mut found, mut next) = (Vec::new(), of(table).collect::<Vec<_>>());
    while let Some(part) = next.pop() {
        found.push(part);
        next.extend(of(part));
    }
    found
}

impl Kind for Partition {
    const KEYWORD: &'static str = "partition";
    const CATALOG: &'static str = "";
    const PARENTS: &'static [&'static str] = &["table"];
    cast_to!(Partition);

    fn query(_server: u32) -> Option<String> {
        Some(format!(
            "SELECT 0::int8, 0::int8, n.nspname::text, c.relname::text, pn.nspname::text, p.relname::text, pg_get_expr(c.relpartbound, c.oid) \
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_inherits h ON h.inhrelid = c.oid AND NOT h.inhdetachpending \
             JOIN pg_class p ON p.oid = h.inhparent JOIN pg_namespace pn ON pn.oid = p.relnamespace \
             WHERE c.relispartition AND c.relkind IN ('r', 'p') AND {} AND {} ORDER BY 3, 4",
            row::in_user_schema("c.relnamespace"),
            row::not_extension_member("pg_class", "c.oid")
        ))
    }

    fn from_row(row: &mut Row<'_>) -> Self {
        Self { table: Id::new("table", [row.name(), row.name()]), parent: Id::new("table", [row.name(), row.name()]), bound: row.text() }
    }

    fn read(node: &mut Node<'_>, at: &Scope<'_>, out: &mut Lowering) -> Option<Id> {
        let parent = at.parent().clone();
        let table = Table::read(node, at, out)?;
        Self::read_bound(&table, parent, node, out);
        Some(table)
    }

    fn write<'n>(&self, parent: &'n mut NodeOut) -> &'n mut NodeOut {
        let Self { table, parent: of, bound } = self;
        let skip = usize::from(of.schema() == table.schema());
        parent.set("partition-of", dotted(&of.path[skip..]));
        if let Some(range) = bound.strip_prefix("FOR VALUES FROM ") {
            if let Some((from, rest)) = take_parens(range) {
                parent.set("from", ValueOut::sql(from));
                parent.set("to", ValueOut::sql(rest.strip_prefix(" TO ").and_then(take_parens).map_or("", |(to, _)| to)));
            }
        } else if let Some((list, _)) = bound.strip_prefix("FOR VALUES IN ").and_then(take_parens) {
            parent.set("in", ValueOut::sql(list));
        } else if let Some((hash, _)) = bound.strip_prefix("FOR VALUES WITH ").and_then(take_parens) {
            for part in hash.split(", ") {
                if let Some((name, value)) = part.split_once(' ') {
                    parent.set(name, ValueOut::Number(value.to_owned()));
                }
            }
        } else {
            parent.set("default", ValueOut::Bool(true));
        }
        parent
    }

    fn id(&self) -> Id {
        Self::id_of(&self.table)
    }

    fn parent(&self) -> Option<Id> {
        Some(self.table.clone())
    }

    fn needs(&self) -> Vec<Id> {
        vec![self.parent.clone()]
    }

    fn references(&mut self) -> Vec<&mut Id> {
        vec![&mut self.parent]
    }

    fn create(&self) -> Action {
        let Self { table, parent, bound } = self;
        Action::new(format!("Attach partition {}", dotted(&table.path)))
            .sql(format!("ALTER TABLE ONLY {} ATTACH PARTITION {} {bound}", parent.sql(), table.sql()))
            .lock(parent, LockMode::ShareUpdateExclusive, Cost::Instant)
            .lock(table, LockMode::AccessExclusive, Cost::Scan)
    }

    fn drop(&self) -> Action {
        Action::new(format!("Detach partition {}", dotted(&self.table.path)))
            .sql(format!("ALTER TABLE {} DETACH PARTITION {}", self.parent.sql(), self.table.sql()))
            .lock(&self.parent, LockMode::AccessExclusive, Cost::Instant)
            .lock(&self.table, LockMode::AccessExclusive, Cost::Instant)
    }

    fn alter(_old: &Self, _new: &Self) -> Alteration {
        Alteration::Replace
    }

    fn violations(&self, live: &Indexed<'_>) -> Vec<Violations> {
        let Self { table, parent, bound } = self;
        let Some(key) = live.get_as::<Table>(parent).and_then(|table| table.partition_by.as_ref()) else { return Vec::new() };
        if bound == "DEFAULT" {
            return Vec::new();
        }
        // What the bound means as a condition only the server knows.
        let setup = vec![
            format!("CREATE TEMP TABLE preflight_parent (LIKE {}) PARTITION BY {} ({})", parent.sql(), key.strategy.to_uppercase(), key.elements.join(", ")),
            format!("CREATE TEMP TABLE preflight_part PARTITION OF pg_temp.preflight_parent {bound}"),
            format!(
                "CREATE FUNCTION pg_temp.preflight_rows() RETURNS SETOF {0} LANGUAGE plpgsql STABLE AS $rows$\nBEGIN\n    RETURN QUERY EXECUTE 'SELECT * FROM {1} WHERE NOT (' || pg_get_partition_constraintdef('pg_temp.preflight_part'::regclass) || ')';\nEND\n$rows$",
                table.sql(),
                table.sql().replace('\'', "''")
            ),
        ];
        vec![Violations {
            title: format!("rows of {table} are outside its bound as a partition of {parent} ({bound})"),
            rows: "SELECT * FROM pg_temp.preflight_rows()".to_owned(),
            help: "move or delete them, or change the bound".to_owned(),
            setup,
            reads: vec![table.clone()],
            copies: None,
        }]
    }
}
