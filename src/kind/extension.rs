//! An extension: `extension pgcrypto schema=extensions version="1.3"`.
//!
//! What it holds belongs to it and is no object of ours. The schema is `public` unless the file says
//! otherwise; where an extension fixes its schema (`pg_catalog` of `pg_cron`) the file must name it.

use serde::{Deserialize, Serialize};

use super::observed::Observed;
use super::{Kind, Lowering, Row, Scope, schema::Schema};
use crate::catalog::id::{literal, quote};
use crate::catalog::{Id, Ident};
use crate::kdl::{Node, NodeOut};
use crate::plan::op::{Action, Alteration, Hazard};

const DEFAULT_SCHEMA: &str = "public";

/// An installed extension.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Extension {
    /// Its name.
    pub name: Ident,
    /// The schema that holds its objects.
    pub schema: Ident,
    /// The version that the file asks for. Without one whatever is installed is right, as it is to
    /// `pg_dump`.
    pub version: Observed<String>,
    /// The version that is installed.
    pub installed: Observed<String>,
    /// Whether ALTER EXTENSION … SET SCHEMA can move it.
    pub relocatable: Observed<bool>,
}

/// Versions count only where one side asks for one and the other is known to have another.
impl PartialEq for Extension {
    fn eq(&self, other: &Self) -> bool {
        let Self { name, schema, version: _, installed: _, relocatable: _ } = self;
        *name == other.name && *schema == other.schema && self.is_satisfied_by(other) && other.is_satisfied_by(self)
    }
}

impl Extension {
    /// The id of the extension with this name.
    #[must_use]
    pub fn id_of(name: &str) -> Id {
        Id::new(Self::KEYWORD, [name])
    }

    /// Whether the version that `self` asks for, if any, may be the one of `other`.
    fn is_satisfied_by(&self, other: &Self) -> bool {
        match (self.version.get(), other.version.get().or(other.installed.get())) {
            (Some(asked), Some(there)) => asked == there,
            _ => true,
        }
    }
}

impl Kind for Extension {
    const KEYWORD: &'static str = "extension";
    const CATALOG: &'static str = "pg_extension";
    const PARENTS: &'static [&'static str] = &[""];
    cast_to!(Extension);

    fn query(_server: u32) -> Option<String> {
        // Every new database has plpgsql there, so it says nothing about this one.
        Some(
            "SELECT e.oid::int8, 0::int8, e.extname::text, n.nspname::text, e.extversion, e.extrelocatable \
             FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace \
             WHERE NOT (e.extname = 'plpgsql' AND n.nspname = 'pg_catalog') ORDER BY 3"
                .to_owned(),
        )
    }

    fn from_row(row: &mut Row<'_>) -> Self {
        Self { name: row.name(), schema: row.name(), version: Observed::default(), installed: row.text().into(), relocatable: row.flag().into() }
    }

    fn read(node: &mut Node<'_>, _at: &Scope<'_>, out: &mut Lowering) -> Option<Id> {
        let name = node.arg("a name", &mut out.findings)?;
        let schema = node.value("schema", &mut out.findings).map_or(Ident::new(DEFAULT_SCHEMA), |text| Ident::new(&text.value));
        let version = Observed(node.value("version", &mut out.findings).map(|text| text.value));
        let extension =
            Self { name: Ident::new(&name.value), schema, version, installed: Observed::default(), relocatable: Observed::default() };
        Some(out.put(node, extension))
    }

    fn write<'n>(&self, parent: &'n mut NodeOut) -> &'n mut NodeOut {
        let Self { name, schema, version, installed: _, relocatable: _ } = self;
        let mut node = NodeOut::new(Self::KEYWORD).arg(name.as_str());
        if schema != DEFAULT_SCHEMA {
            node.set("schema", schema.as_str());
        }
        if let Some(version) = version.get() {
            node.set("version", version.as_str());
        }
        parent.add(node)
    }

    fn id(&self) -> Id {
        Self::id_of(&self.name)
    }

    fn parent(&self) -> Option<Id> {
        None
    }

    fn needs(&self) -> Vec<Id> {
        vec![Schema::id_of(&self.schema)]
    }

    fn create(&self) -> Action {
        let Self { name, schema, version, installed: _, relocatable: _ } = self;
        let version = version.get().map_or(String::new(), |version| format!(" VERSION {}", literal(version)));
        // A managed server or a template may have brought it along.
        Action::new(format!("Create {}", self.id()))
            .sql(format!("CREATE EXTENSION IF NOT EXISTS {} WITH SCHEMA {}{version}", quote(name), quote(schema)))
    }

    fn drop(&self) -> Action {
        let id = self.id();
        Action::new(format!("Drop {id}"))
            .sql(format!("DROP EXTENSION {}", id.sql()))
            .hazard(Hazard::DropData, format!("whatever {id} keeps"))
            .loses(format!("whatever {id} keeps"))
    }

    fn alter(old: &Self, new: &Self) -> Alteration {
        let Self { name: _, schema, version, installed: _, relocatable: _ } = new;
        let (id, sql) = (new.id(), new.id().sql());
        let mut actions = Vec::new();
        if *schema != old.schema {
            if old.relocatable.get() != Some(&true) {
                return Alteration::Replace;
            }
            actions.push(
                Action::new(format!("Move {id} to schema {schema}"))
                    .sql(format!("ALTER EXTENSION {sql} SET SCHEMA {}", quote(schema)))
                    .hazard(Hazard::Breaking, format!("clients that look for the objects of {id} in schema {}", old.schema)),
            );
        }
        if let Some(version) = version.get().filter(|_| !new.is_satisfied_by(old)) {
            // The update script can do anything (safe-changes: rehearsed, never by itself).
            actions.push(
                Action::new(format!("Update {id} to version {version}"))
                    .sql(format!("ALTER EXTENSION {sql} UPDATE TO {}", literal(version)))
                    .hazard(Hazard::Irreversible, format!("the update of {id}")),
            );
        }
        Alteration::Act(actions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::round_trip;

    fn pgcrypto(schema: &str, version: Option<&str>, installed: Option<&str>, relocatable: Option<bool>) -> Extension {
        Extension {
            name: "pgcrypto".into(),
            schema: Ident::new(schema),
            version: Observed(version.map(str::to_owned)),
            installed: Observed(installed.map(str::to_owned)),
            relocatable: Observed(relocatable),
        }
    }

    fn altered(old: &Extension, new: &Extension) -> Vec<String> {
        match Extension::alter(old, new) {
            Alteration::Act(actions) => actions.into_iter().flat_map(|action| action.sql).collect(),
            _ => vec!["replace".to_owned()],
        }
    }

    #[test]
    fn create() {
        assert_eq!(pgcrypto("public", None, None, None).create().sql, ["CREATE EXTENSION IF NOT EXISTS pgcrypto WITH SCHEMA public"]);
        assert_eq!(
            pgcrypto("extensions", Some("1.3"), None, None).create().sql,
            ["CREATE EXTENSION IF NOT EXISTS pgcrypto WITH SCHEMA extensions VERSION '1.3'"]
        );
    }

    #[test]
    fn only_a_version_that_is_asked_for_counts() {
        let live = pgcrypto("public", None, Some("1.2"), Some(true));
        assert_eq!(live, pgcrypto("public", None, None, None));
        assert_eq!(live, pgcrypto("public", Some("1.2"), None, None));
        let asked = pgcrypto("public", Some("1.3"), None, None);
        assert_ne!(live, asked);
        assert_ne!(asked, live);
        assert_eq!(altered(&live, &asked), ["ALTER EXTENSION pgcrypto UPDATE TO '1.3'"]);
        assert_eq!(pgcrypto("public", None, Some("1.3"), Some(true)), asked);
    }

    #[test]
    fn a_relocatable_one_moves() {
        let new = pgcrypto("extensions", None, None, None);
        assert_eq!(altered(&pgcrypto("public", None, None, Some(true)), &new), ["ALTER EXTENSION pgcrypto SET SCHEMA extensions"]);
        assert_eq!(altered(&pgcrypto("public", None, None, Some(false)), &new), ["replace"]);
    }

    #[test]
    fn reads_back() {
        assert_eq!(round_trip::check(&pgcrypto("public", None, None, None)), "extension pgcrypto\n");
        assert_eq!(round_trip::check(&pgcrypto("extensions", Some("1.3"), None, None)), "extension pgcrypto schema=extensions version=\"1.3\"\n");
    }
}
