//! A row security policy: `policy own restrictive for=select using="owner = current_user" { to app; }`.
//!
//! Facts: manual, CREATE POLICY and ALTER POLICY. All take ACCESS EXCLUSIVE on the table.

use serde::{Deserialize, Serialize};

use super::{Kind, Lowering, Row, Scope, row};
use crate::catalog::expr::unwrap_parens;
use crate::catalog::id::{quote, quoted_list};
use crate::catalog::{Id, Ident};
use crate::kdl::{Node, NodeOut};
use crate::plan::op::{Action, Alteration, Cost, LockMode};

/// The commands with their `polcmd`; the first is the default.
const COMMANDS: [(&str, &str); 5] = [("all", "*"), ("select", "r"), ("insert", "a"), ("update", "w"), ("delete", "d")];

/// Which rows a role may see and write.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// The table.
    pub table: Id,
    /// Its name.
    pub name: Ident,
    /// Must hold besides the others, instead of adding to them.
    pub restrictive: bool,
    /// `all`, `select`, `insert`, `update` or `delete`.
    pub command: String,
    /// The roles, sorted; empty for all.
    pub roles: Vec<Ident>,
    /// Which rows are there.
    pub using: Option<String>,
    /// Which rows may be written.
    pub with_check: Option<String>,
}

impl Policy {
    fn clauses(&self) -> String {
        let roles = if self.roles.is_empty() { "PUBLIC".to_owned() } else { quoted_list(&self.roles) };
        let using = self.using.as_ref().map(|using| format!(" USING ({using})")).unwrap_or_default();
        let with_check = self.with_check.as_ref().map(|check| format!(" WITH CHECK ({check})")).unwrap_or_default();
        format!(" TO {roles}{using}{with_check}")
    }

    fn action(&self, title: &str, sql: String) -> Action {
        Action::new(format!("{title} {}", self.id())).sql(sql).lock(&self.table, LockMode::AccessExclusive, Cost::Instant)
    }
}

impl Kind for Policy {
    const KEYWORD: &'static str = "policy";
    const CATALOG: &'static str = "pg_policy";
    const PARENTS: &'static [&'static str] = &["table"];
    cast_to!(Policy);

    fn query(_server: u32) -> Option<String> {
        Some(format!(
            "SELECT p.oid::int8, 0::int8, n.nspname::text, c.relname::text, p.polname::text, NOT p.polpermissive, p.polcmd::text, \
             ARRAY(SELECT r.rolname::text FROM pg_roles r WHERE r.oid = ANY (p.polroles) ORDER BY 1), \
             pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid) \
             FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE {} AND {} ORDER BY n.nspname, c.relname, p.polname",
            row::in_user_schema("c.relnamespace"),
            row::not_extension_member("pg_class", "c.oid")
        ))
    }

    fn from_row(row: &mut Row<'_>) -> Self {
        let table = Id::new("table", [row.name(), row.name()]);
        let (name, restrictive, code) = (row.name(), row.flag(), row.text());
        let command = COMMANDS.iter().find(|(_, one)| *one == code).map_or(code.as_str(), |(word, _)| *word).to_owned();
        let mut roles = row.names();
        roles.sort();
        let mut expression = || row.opt_text().map(|text| unwrap_parens(&text).to_owned());
        Self { table, name, restrictive, command, roles, using: expression(), with_check: expression() }
    }

    fn read(node: &mut Node<'_>, at: &Scope<'_>, out: &mut Lowering) -> Option<Id> {
        let name = node.arg("a name", &mut out.findings)?;
        let restrictive = node.flag("restrictive", &mut out.findings);
        let command = node.word("for", &COMMANDS.map(|(word, _)| word), &mut out.findings);
        let roles = node.values("to", &mut out.findings).unwrap_or_default();
        let mut roles: Vec<Ident> = roles.iter().map(|role| Ident::new(&role.value)).collect();
        if roles.iter().any(|role| role == "public") {
            roles.clear();
        }
        roles.sort();
        roles.dedup();
        let policy = Self {
            table: at.parent().clone(),
            name: Ident::new(&name.value),
            restrictive,
            command: command.map_or_else(|| COMMANDS[0].0.to_owned(), |word| word.value),
            roles,
            using: node.value("using", &mut out.findings).map(|text| text.value),
            with_check: node.value("with-check", &mut out.findings).map(|text| text.value),
        };
        Some(out.put(node, policy))
    }

    fn write<'n>(&self, parent: &'n mut NodeOut) -> &'n mut NodeOut {
        let Self { table: _, name, restrictive, command, roles, using, with_check } = self;
        let mut node = NodeOut::new("policy").arg(name.as_str());
        if *restrictive {
            node = node.arg("restrictive");
        }
        if command != COMMANDS[0].0 {
            node.set("for", command.as_str());
        }
        for (word, expression) in [("using", using), ("with-check", with_check)] {
            if let Some(expression) = expression {
                node.set(word, expression.as_str());
            }
        }
        if !roles.is_empty() {
            node.add(roles.iter().fold(NodeOut::new("to"), |node, role| node.arg(role.as_str())));
        }
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
        [&self.using, &self.with_check].into_iter().filter_map(|text| text.as_deref()).collect()
    }

    fn create(&self) -> Action {
        let Self { table, name, restrictive, command, roles: _, using: _, with_check: _ } = self;
        let restrictive = if *restrictive { " AS RESTRICTIVE" } else { "" };
        let command = if command == COMMANDS[0].0 { String::new() } else { format!(" FOR {}", command.to_uppercase()) };
        self.action("Create", format!("CREATE POLICY {} ON {}{restrictive}{command}{}", quote(name), table.sql(), self.clauses()))
    }

    fn drop(&self) -> Action {
        self.action("Drop", format!("DROP POLICY {} ON {}", quote(&self.name), self.table.sql()))
    }

    /// ALTER POLICY can set an expression but not take one away.
    fn alter(old: &Self, new: &Self) -> Alteration {
        let Self { table, name, restrictive, command, roles: _, using, with_check } = new;
        let loses = (using.is_none() && old.using.is_some()) || (with_check.is_none() && old.with_check.is_some());
        if *restrictive != old.restrictive || *command != old.command || loses {
            return Alteration::Replace;
        }
        Alteration::Act(vec![new.action("Change", format!("ALTER POLICY {} ON {}{}", quote(name), table.sql(), new.clauses()))])
    }

    fn rename(old: &Id, new: &Id) -> Option<Action> {
        super::table::rename_on_relation("POLICY", old, new)
    }

    fn address(id: &Id) -> String {
        format!("POLICY {} ON {}", id.name_sql(), id.relation())
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
            (r##"policy own restrictive for=select using="owner = current_user" with-check=#""User Id" IS NOT NULL"# { to app admin; }"##, &[r#"CREATE POLICY own ON app.orders AS RESTRICTIVE FOR SELECT TO admin, app USING (owner = current_user) WITH CHECK ("User Id" IS NOT NULL)"#][..]),
            ("policy P using=#true", &[r#"CREATE POLICY "P" ON app.orders TO PUBLIC USING (true)"#][..]),
        ] {
            assert_eq!(created::<Policy>(kdl, parent.as_ref()), sql);
        }
    }
}
