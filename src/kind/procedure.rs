//! A procedure: `procedure p language=sql { arg n int; out r int; body "SELECT n" }`.
//!
//! Facts: manual, CREATE PROCEDURE. It has none of a function's promises and costs.

use serde::{Deserialize, Serialize};

use super::argument::replaceable;
use super::routine::{self, Routine};
use super::{Kind, Lowering, Row, Scope, schema::Schema};
use crate::catalog::Id;
use crate::catalog::expr::split_list;
use crate::catalog::id::quote;
use crate::kdl::{Node, NodeOut};
use crate::plan::op::{Action, Alteration, Hazard};

/// A procedure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Procedure {
    /// Name, arguments, body.
    pub routine: Routine,
}

impl Procedure {
    /// `schema.name(IN integer)`: without modes PostgreSQL 14 and later may also mean a procedure
    /// whose output arguments make up the same list (manual, DROP PROCEDURE).
    fn call(id: &Id) -> String {
        let [schema, name, types] = &id.path[..] else { return id.sql() };
        let types: Vec<String> = split_list(types).iter().map(|data_type| format!("IN {data_type}")).collect();
        format!("{}.{}({})", quote(schema), quote(name), types.join(", "))
    }
}

impl Kind for Procedure {
    const KEYWORD: &'static str = "procedure";
    const CATALOG: &'static str = "pg_proc";
    const PARENTS: &'static [&'static str] = &["schema"];
    cast_to!(Procedure);

    fn query(_server: u32) -> Option<String> {
        Some(format!("SELECT p.oid::int8, 0::int8, {} {}", Routine::columns(), Routine::from_where("'p'")))
    }

    fn from_row(row: &mut Row<'_>) -> Self {
        Self { routine: Routine::from_row(row).0 }
    }

    fn read(node: &mut Node<'_>, at: &Scope<'_>, out: &mut Lowering) -> Option<Id> {
        let routine = Routine::read(node, at, out)?;
        Some(out.put(node, Self { routine }))
    }

    fn write<'n>(&self, parent: &'n mut NodeOut) -> &'n mut NodeOut {
        let mut node = NodeOut::new("procedure").arg(self.routine.name.as_str());
        self.routine.write_header(&mut node);
        self.routine.write_block(&mut node);
        parent.add(node)
    }

    fn id(&self) -> Id {
        self.routine.id(Self::KEYWORD)
    }

    fn parent(&self) -> Option<Id> {
        Some(Schema::id_of(&self.routine.schema))
    }

    fn texts(&self) -> Vec<&str> {
        self.routine.texts()
    }

    fn type_names(&mut self) -> Vec<&mut String> {
        self.routine.type_names()
    }

    fn create(&self) -> Action {
        let Self { routine } = self;
        Action::new(format!("Create {}", self.id())).sql(routine.create("CREATE PROCEDURE", "", ""))
    }

    fn drop(&self) -> Action {
        let id = self.id();
        Action::new(format!("Drop {id}"))
            .sql(format!("DROP PROCEDURE {}", Self::call(&id)))
            .hazard(Hazard::Breaking, format!("a statement that calls {id}"))
    }

    fn alter(old: &Self, new: &Self) -> Alteration {
        let Self { routine } = new;
        if !replaceable(&old.routine.arguments, &routine.arguments) {
            return Alteration::Replace;
        }
        let sql = routine.create("CREATE OR REPLACE PROCEDURE", "", "");
        Alteration::Act(vec![Action::new(format!("Change {}", new.id())).sql(sql)])
    }

    fn rename(old: &Id, new: &Id) -> Option<Action> {
        routine::rename("PROCEDURE", Self::call, old, new)
    }

    fn address(id: &Id) -> String {
        format!("PROCEDURE {}", Self::call(id))
    }

    fn grant_address(id: &Id) -> Option<String> {
        Some(Self::address(id))
    }
}

#[cfg(test)]
mod tests {
    use super::super::round_trip::{created, read};
    use super::*;

    #[test]
    fn the_forms_of_the_language() {
        let schema = Schema::id_of("app");
        let kdl = r#"procedure p language=sql { arg n int; out r int; body "SELECT n"; }"#;
        assert_eq!(created::<Procedure>(kdl, Some(&schema)), ["CREATE PROCEDURE app.p(n integer, OUT r integer) LANGUAGE sql AS $$SELECT n$$"]);
        assert_eq!(Procedure::address(&read::<Procedure>(kdl, Some(&schema)).id()), "PROCEDURE app.p(IN integer)");
    }
}
