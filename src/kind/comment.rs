//! A comment on anything: `comment="One row per order"`.

use serde::{Deserialize, Serialize};

use super::{Kind, Lowering, Rebuild, Row, Scope, Why, address, in_relation};
use crate::catalog::Id;
use crate::catalog::id::literal;
use crate::kdl::{Node, NodeOut};
use crate::plan::op::{Action, Alteration, LockMode};

/// COMMENT ON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comment {
    /// What it is about.
    pub on: Id,
    /// What it says.
    pub text: String,
}

impl Comment {
    fn action(&self, title: String, text: &str) -> Action {
        let action = Action::new(title).sql(format!("COMMENT ON {} IS {text}", address(&self.on)));
        if in_relation(&self.on.kind) { action.lock(&self.on, LockMode::ShareUpdateExclusive, crate::plan::Cost::Instant) } else { action }
    }
}

impl Kind for Comment {
    const KEYWORD: &'static str = "comment";
    const CATALOG: &'static str = "*";
    const PARENTS: &'static [&'static str] = &[];
    cast_to!(Comment);

    fn query(_server: u32) -> Option<String> {
        Some("SELECT d.classoid::int8, d.objoid::int8, d.objsubid::int8, d.description FROM pg_description d WHERE d.objoid >= 16384 OR (d.classoid = 'pg_namespace'::regclass AND d.objoid = 2200 AND d.description <> 'standard public schema') ORDER BY 1, 2, 3".to_owned())
    }

    fn from_row(row: &mut Row<'_>) -> Self {
        Self { on: row.subject(), text: row.text() }
    }

    fn read(_node: &mut Node<'_>, _at: &Scope<'_>, _out: &mut Lowering) -> Option<Id> {
        None
    }

    fn write<'n>(&self, parent: &'n mut NodeOut) -> &'n mut NodeOut {
        parent.set("comment", self.text.as_str());
        parent
    }

    fn id(&self) -> Id {
        self.on.satellite(Self::KEYWORD, None)
    }

    fn parent(&self) -> Option<Id> {
        Some(self.on.clone())
    }

    fn create(&self) -> Action {
        let Self { on, text } = self;
        self.action(format!("Comment on {on}"), &literal(text))
    }

    fn drop(&self) -> Action {
        self.action(format!("Remove the comment on {}", self.on), "NULL")
    }

    fn alter(_old: &Self, new: &Self) -> Alteration {
        Alteration::Act(vec![new.create()])
    }

    fn rebuild(&self, why: Why) -> Rebuild {
        if why == Why::Retyped { Rebuild::Keep } else { Rebuild::Replace }
    }
}
