//! Who owns an object: `owner=app`. Counts only where the configuration says `manage owners`.

use serde::{Deserialize, Serialize};

use super::{Kind, Lowering, Rebuild, Row, Scope, Why, address, in_relation};
use crate::catalog::id::quote;
use crate::catalog::{Id, Ident};
use crate::kdl::{Node, NodeOut};
use crate::plan::op::{Action, Alteration, Cost, LockMode};

/// ALTER … OWNER TO.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Owner {
    /// What is owned.
    pub on: Id,
    /// The role.
    pub role: Ident,
}

impl Kind for Owner {
    const KEYWORD: &'static str = "owner";
    const CATALOG: &'static str = "*";
    const PARENTS: &'static [&'static str] = &[];
    cast_to!(Owner);

    fn query(_server: u32) -> Option<String> {
        // Indexes, constraints, triggers and owned sequences follow their table.
        Some(
            [
                ("pg_namespace", "nspowner", "true"),
                ("pg_class", "relowner", "relkind IN ('r', 'p', 'v', 'm', 'f') OR (relkind = 'S' AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = pg_class.oid AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')))"),
                ("pg_proc", "proowner", "true"),
                ("pg_type", "typowner", "typtype IN ('e', 'd', 'r') OR (typtype = 'c' AND (SELECT relkind FROM pg_class WHERE oid = typrelid) = 'c')"),
                ("pg_collation", "collowner", "true"),
                ("pg_operator", "oprowner", "true"),
                ("pg_statistic_ext", "stxowner", "true"),
                ("pg_event_trigger", "evtowner", "true"),
                ("pg_publication", "pubowner", "true"),
            ]
            .map(|(catalog, owner, filter)| {
                format!("SELECT '{catalog}'::regclass::int8, oid::int8, 0::int8, pg_get_userbyid({owner})::text FROM {catalog} WHERE (oid >= 16384 OR '{catalog}' = 'pg_namespace') AND ({filter})")
            })
            .join(" UNION ALL ")
                + " ORDER BY 1, 2",
        )
    }

    fn from_row(row: &mut Row<'_>) -> Self {
        Self { on: row.subject(), role: row.name() }
    }

    fn read(_node: &mut Node<'_>, _at: &Scope<'_>, _out: &mut Lowering) -> Option<Id> {
        None
    }

    fn write<'n>(&self, parent: &'n mut NodeOut) -> &'n mut NodeOut {
        parent.set("owner", self.role.as_str());
        parent
    }

    fn id(&self) -> Id {
        self.on.satellite(Self::KEYWORD, None)
    }

    fn parent(&self) -> Option<Id> {
        Some(self.on.clone())
    }

    fn create(&self) -> Action {
        let Self { on, role } = self;
        let action = Action::new(format!("Give {on} to {role}")).sql(format!("ALTER {} OWNER TO {}", address(on), quote(role)));
        if in_relation(&on.kind) { action.lock(on, LockMode::AccessExclusive, Cost::Instant) } else { action }
    }

    fn drop(&self) -> Action {
        // Everything has an owner: not to declare one leaves it as it is.
        Action::default()
    }

    fn alter(_old: &Self, new: &Self) -> Alteration {
        Alteration::Act(vec![new.create()])
    }

    fn rebuild(&self, why: Why) -> Rebuild {
        if why == Why::Retyped { Rebuild::Keep } else { Rebuild::Replace }
    }
}
