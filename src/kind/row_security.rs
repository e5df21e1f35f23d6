//! Row security of a table: `row-security`, or `row-security force` for the owner too.
//!
//! Facts: manual, Row Security Policies. Without a policy nothing is visible, so policies are made
//! before it is switched on and dropped after it is switched off.

use serde::{Deserialize, Serialize};

use super::{Kind, Lowering, Row, Scope, row};
use crate::catalog::Id;
use crate::kdl::{Node, NodeOut};
use crate::plan::op::{Action, Alteration, Cost, Hazard, LockMode};

/// That policies are enforced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RowSecurity {
    /// The table.
    pub table: Id,
    /// Enforced; where it is not, only `force` is remembered.
    pub enabled: bool,
    /// For the owner too.
    pub force: bool,
}

impl RowSecurity {
    fn action(&self, title: &str, clauses: &[&str]) -> Action {
        let action = Action::new(format!("{title} row security of {}", self.table));
        let sql = format!("ALTER TABLE {} {}", self.table.sql(), clauses.join(", "));
        action.sql(sql).lock(&self.table, LockMode::AccessExclusive, Cost::Instant)
    }

    fn tightened(&self, action: Action) -> Action {
        action.hazard(Hazard::Breaking, format!("rows of {} that no policy shows", self.table))
    }
}

impl Kind for RowSecurity {
    const KEYWORD: &'static str = "row-security";
    const CATALOG: &'static str = "";
    const PARENTS: &'static [&'static str] = &["table"];
    cast_to!(RowSecurity);

    fn query(_server: u32) -> Option<String> {
        Some(format!(
            "SELECT 0::int8, 0::int8, n.nspname::text, c.relname::text, c.relrowsecurity, c.relforcerowsecurity \
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE (c.relrowsecurity OR c.relforcerowsecurity) AND c.relpersistence <> 't' AND {} AND {} ORDER BY n.nspname, c.relname",
            row::in_user_schema("c.relnamespace"),
            row::not_extension_member("pg_class", "c.oid")
        ))
    }

    fn from_row(row: &mut Row<'_>) -> Self {
        Self { table: Id::new("table", [row.name(), row.name()]), enabled: row.flag(), force: row.flag() }
    }

    fn read(node: &mut Node<'_>, at: &Scope<'_>, out: &mut Lowering) -> Option<Id> {
        let force = node.flag("force", &mut out.findings);
        let enabled = node.opt_flag("enabled", &mut out.findings).unwrap_or(true);
        Some(out.put(node, Self { table: at.parent().clone(), enabled, force }))
    }

    fn write<'n>(&self, parent: &'n mut NodeOut) -> &'n mut NodeOut {
        let Self { table: _, enabled, force } = self;
        let mut node = NodeOut::new("row-security");
        if *force {
            node = node.arg("force");
        }
        if !enabled {
            node.set("enabled", false);
        }
        parent.add(node)
    }

    fn id(&self) -> Id {
        self.table.as_kind(Self::KEYWORD)
    }

    fn parent(&self) -> Option<Id> {
        Some(self.table.clone())
    }

    fn create(&self) -> Action {
        let Self { table: _, enabled, force } = self;
        let clauses = [(*enabled, "ENABLE ROW LEVEL SECURITY"), (*force, "FORCE ROW LEVEL SECURITY")];
        let clauses: Vec<&str> = clauses.into_iter().filter(|(set, _)| *set).map(|(_, clause)| clause).collect();
        self.tightened(self.action("Switch on", &clauses))
    }

    fn drop(&self) -> Action {
        self.action("Switch off", &["DISABLE ROW LEVEL SECURITY", "NO FORCE ROW LEVEL SECURITY"])
    }

    fn alter(old: &Self, new: &Self) -> Alteration {
        let Self { table: _, enabled, force } = new;
        let mut clauses = Vec::new();
        if *enabled != old.enabled {
            clauses.push(if *enabled { "ENABLE ROW LEVEL SECURITY" } else { "DISABLE ROW LEVEL SECURITY" });
        }
        if *force != old.force {
            clauses.push(if *force { "FORCE ROW LEVEL SECURITY" } else { "NO FORCE ROW LEVEL SECURITY" });
        }
        let action = new.action("Change", &clauses);
        let tighter = (*enabled && !old.enabled) || (*force && !old.force);
        Alteration::Act(vec![if tighter { new.tightened(action) } else { action }])
    }

    fn address(id: &Id) -> String {
        format!("TABLE {}", id.sql())
    }
}

#[cfg(test)]
mod tests {
    use super::super::round_trip::created;
    use super::*;

    #[test]
    fn the_forms_of_the_language() {
        let parent = Some(Id::new("table", ["app", "orders"]));
        for (kdl, sql) in [
            ("row-security", &["ALTER TABLE app.orders ENABLE ROW LEVEL SECURITY"][..]),
            ("row-security force", &["ALTER TABLE app.orders ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY"][..]),
        ] {
            assert_eq!(created::<RowSecurity>(kdl, parent.as_ref()), sql);
        }
    }
}
