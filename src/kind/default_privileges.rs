//! Privileges that new objects get: `default-privileges for=migrator schema=app { on tables { grant reader select; }; }`.
//!
//! Facts: manual, ALTER DEFAULT PRIVILEGES. Of a schema they add to the others; without a schema
//! they replace PostgreSQL's own, so what differs from those is held, both ways.

use serde::{Deserialize, Serialize};

use super::{Kind, Lowering, Row, Scope, schema::Schema};
use crate::catalog::id::quote;
use crate::catalog::{Id, Ident};
use crate::kdl::{Node, NodeOut, Text, one_of};
use crate::plan::op::{Action, Alteration, Hazard};

/// The sorts of objects with their `defaclobjtype`.
const SORTS: [(&str, &str); 6] =
    [("tables", "r"), ("sequences", "S"), ("functions", "f"), ("types", "T"), ("schemas", "n"), ("large-objects", "L")];

/// A privilege that a role gets, or does not get although PostgreSQL's defaults say so.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Privilege {
    /// The role; `public` for all.
    pub role: Ident,
    /// `select`.
    pub privilege: String,
    /// May be passed on.
    pub with_grant_option: bool,
}

/// The privileges of the new objects of one sort.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DefaultPrivileges {
    /// Who makes the objects.
    pub role: Ident,
    /// In which schema; in any without one.
    pub schema: Option<Ident>,
    /// `tables`, `sequences`, `functions`, `types`, `schemas`, `large-objects`.
    pub sort: String,
    /// What is given, sorted.
    pub grants: Vec<Privilege>,
    /// What is taken, sorted.
    pub revokes: Vec<Privilege>,
}

impl DefaultPrivileges {
    fn statement(&self, grant: bool, privilege: &Privilege) -> String {
        let schema = self.schema.as_ref().map(|schema| format!(" IN SCHEMA {}", quote(schema))).unwrap_or_default();
        let Privilege { role, privilege, with_grant_option } = privilege;
        let role = if role == "public" { "PUBLIC".to_owned() } else { quote(role) };
        let option = if *with_grant_option { " WITH GRANT OPTION" } else { "" };
        let (verb, word, option) = if grant { ("GRANT", "TO", option) } else { ("REVOKE", "FROM", "") };
        let (privilege, sort) = (privilege.replace('-', " ").to_uppercase(), self.sort.replace('-', " ").to_uppercase());
        format!("ALTER DEFAULT PRIVILEGES FOR ROLE {}{schema} {verb} {privilege} ON {sort} {word} {role}{option}", quote(&self.role))
    }

    fn read_sort(mut on: Node<'_>, role: &Ident, schema: Option<&Ident>, out: &mut Lowering) -> Option<Self> {
        let sort = on.arg("a sort of objects", &mut out.findings);
        let mut read = |word: &'static str, out: &mut Lowering| {
            let mut privileges = Vec::new();
            for mut node in on.children(word) {
                let role = node.arg("a role", &mut out.findings);
                let with_grant_option = word == "grant" && node.flag("with-grant-option", &mut out.findings);
                let words: Vec<Text> = node.args();
                node.finish(&mut out.findings);
                let role = role.map(|role| Ident::new(&role.value));
                privileges.extend(role.iter().flat_map(|role| {
                    words.iter().map(|word| Privilege { role: role.clone(), privilege: word.value.to_lowercase(), with_grant_option })
                }));
            }
            privileges.sort();
            privileges.dedup();
            privileges
        };
        let (grants, revokes) = (read("grant", out), read("revoke", out));
        on.finish(&mut out.findings);
        let sort = sort.filter(|sort| one_of(sort, "sort of objects", &SORTS.map(|(word, _)| word), &mut out.findings))?;
        Some(Self { role: role.clone(), schema: schema.cloned(), sort: sort.value, grants, revokes })
    }
}

impl Kind for DefaultPrivileges {
    const KEYWORD: &'static str = "default-privileges";
    const CATALOG: &'static str = "pg_default_acl";
    const PARENTS: &'static [&'static str] = &[""];
    cast_to!(DefaultPrivileges);

    /// `acldefault` calls sequences `s`.
    fn query(_server: u32) -> Option<String> {
        let own = "CASE WHEN d.defaclnamespace = 0 THEN \
                   acldefault(CASE d.defaclobjtype WHEN 'S' THEN 's' ELSE d.defaclobjtype END::\"char\", d.defaclrole) END";
        let entries = |acl: &str| {
            format!(
                "SELECT json_build_array(CASE x.grantee WHEN 0 THEN 'public' ELSE pg_get_userbyid(x.grantee) END, \
                 lower(x.privilege_type), x.is_grantable)::text FROM aclexplode({acl}) x"
            )
        };
        let (all, own) = (entries("d.defaclacl"), entries(own));
        Some(format!(
            "SELECT d.oid::int8, 0::int8, pg_get_userbyid(d.defaclrole)::text, n.nspname::text, d.defaclobjtype::text, \
             ARRAY({all} EXCEPT {own}), ARRAY({own} EXCEPT {all}) \
             FROM pg_default_acl d LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace \
             WHERE n.oid IS NULL OR ({}) ORDER BY 3, 4, 5",
            super::row::in_user_schema("n.oid")
        ))
    }

    fn from_row(row: &mut Row<'_>) -> Self {
        let (role, schema, code) = (row.name(), row.opt_name(), row.text());
        let sort = SORTS.iter().find(|(_, one)| *one == code).map_or(code.as_str(), |(word, _)| *word).to_owned();
        let mut privileges = || {
            let entry = |entry: &String| serde_json::from_str::<(Ident, String, bool)>(entry).ok();
            let mut privileges: Vec<Privilege> = row
                .texts()
                .iter()
                .filter_map(entry)
                .map(|(role, privilege, with_grant_option)| Privilege { role, privilege: privilege.replace(' ', "-"), with_grant_option })
                .collect();
            privileges.sort();
            privileges
        };
        let (grants, revokes) = (privileges(), privileges());
        Self { role, schema, sort, grants, revokes }
    }

    fn read(node: &mut Node<'_>, _at: &Scope<'_>, out: &mut Lowering) -> Option<Id> {
        let role = node.value("for", &mut out.findings);
        let schema = node.value("schema", &mut out.findings).map(|schema| Ident::new(&schema.value));
        let sorts = node.children("on");
        let Some(role) = role else {
            let finding = crate::kdl::Finding::at(node.span(), "`default-privileges` does not say whose new objects it means");
            out.findings.push(finding.help("add `for=role`"));
            return None;
        };
        let role = Ident::new(&role.value);
        let mut last = None;
        for on in sorts {
            if let Some(privileges) = Self::read_sort(on, &role, schema.as_ref(), out) {
                last = Some(out.put(node, privileges));
            }
        }
        last
    }

    fn write<'n>(&self, parent: &'n mut NodeOut) -> &'n mut NodeOut {
        let Self { role, schema, sort, grants, revokes } = self;
        let mut node = NodeOut::new("default-privileges");
        node.set("for", role.as_str());
        if let Some(schema) = schema {
            node.set("schema", schema.as_str());
        }
        let on = node.add(NodeOut::new("on").arg(sort.as_str()));
        for (word, privileges) in [("grant", grants), ("revoke", revokes)] {
            for one in privileges.chunk_by(|a, b| a.role == b.role && a.with_grant_option == b.with_grant_option) {
                let mut line = one.iter().fold(NodeOut::new(word).arg(one[0].role.as_str()), |line, one| line.arg(one.privilege.as_str()));
                if one[0].with_grant_option && word == "grant" {
                    line = line.arg("with-grant-option");
                }
                on.add(line);
            }
        }
        parent.add(node)
    }

    fn id(&self) -> Id {
        Id::new(Self::KEYWORD, [self.role.clone(), self.schema.clone().unwrap_or_default(), Ident::new(&self.sort)])
    }

    fn parent(&self) -> Option<Id> {
        // It stands beside the schema that it is about: it belongs to a role.
        None
    }

    fn needs(&self) -> Vec<Id> {
        self.schema.iter().map(|schema| Schema::id_of(schema)).collect()
    }

    fn create(&self) -> Action {
        let Self { role: _, schema: _, sort: _, grants, revokes } = self;
        let action = Action::new(format!("Set {}", self.id()));
        let action = revokes.iter().fold(action, |action, one| action.sql(self.statement(false, one)));
        grants.iter().fold(action, |action, one| action.sql(self.statement(true, one)))
    }

    fn drop(&self) -> Action {
        let action = Action::new(format!("Take back {}", self.id()));
        let action = self.grants.iter().fold(action, |action, one| action.sql(self.statement(false, one)));
        self.revokes.iter().fold(action, |action, one| action.sql(self.statement(true, one)))
    }

    fn alter(old: &Self, new: &Self) -> Alteration {
        let Self { role: _, schema: _, sort: _, grants, revokes } = new;
        let mut action = Action::new(format!("Change {}", new.id()));
        for one in old.grants.iter().filter(|one| !grants.contains(one)).chain(revokes.iter().filter(|one| !old.revokes.contains(one))) {
            action = action.sql(new.statement(false, one)).hazard(Hazard::Revoke, format!("{} of {} on new {}", one.privilege, one.role, new.sort));
        }
        for one in grants.iter().filter(|one| !old.grants.contains(one)).chain(old.revokes.iter().filter(|one| !revokes.contains(one))) {
            action = action.sql(new.statement(true, one));
        }
        Alteration::Act(vec![action])
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
            ("default-privileges for=migrator schema=app { on tables { grant reader select; grant writer insert with-grant-option; } }", &["ALTER DEFAULT PRIVILEGES FOR ROLE migrator IN SCHEMA app GRANT SELECT ON TABLES TO reader", "ALTER DEFAULT PRIVILEGES FOR ROLE migrator IN SCHEMA app GRANT INSERT ON TABLES TO writer WITH GRANT OPTION"][..]),
            ("default-privileges for=migrator { on functions { revoke public execute; }; }", &["ALTER DEFAULT PRIVILEGES FOR ROLE migrator REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC"][..]),
        ] {
            assert_eq!(created::<DefaultPrivileges>(kdl, parent.as_ref()), sql);
        }
    }
}
