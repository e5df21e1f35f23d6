//! What a role may do with an object: `grant reader select`, `revoke public all`.
//!
//! Counted against PostgreSQL's defaults (`acldefault`): grants add to them, revokes take from them.
//! Counts only where the configuration says `manage grants`.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Kind, Lowering, Object, Rebuild, Row, Scope, Why, registration};
use crate::catalog::id::quote;
use crate::catalog::{Id, Ident, Indexed};
use crate::kdl::{Finding, Node, NodeOut};
use crate::plan::op::{Action, Alteration, Hazard};

/// The privileges of one role on one object, as they differ from the defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Grant {
    /// The object.
    pub on: Id,
    /// The role; `public` is everybody.
    pub role: Ident,
    /// Granted beyond the defaults: SELECT, INSERT, …
    pub granted: BTreeSet<String>,
    /// Granted with the right to grant on.
    pub grantable: BTreeSet<String>,
    /// Defaults that were taken away.
    pub revoked: BTreeSet<String>,
}

/// The privileges that a kind of object has, in PostgreSQL's order (manual, table 5.2).
#[must_use]
pub fn privileges_of(kind: &str) -> &'static [&'static str] {
    match kind {
        "table" | "view" | "materialized-view" => &["SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"],
        "column" | "view-column" => &["SELECT", "INSERT", "UPDATE", "REFERENCES"],
        "sequence" => &["USAGE", "SELECT", "UPDATE"],
        "schema" => &["USAGE", "CREATE"],
        "function" | "procedure" | "aggregate" => &["EXECUTE"],
        _ => &["USAGE"],
    }
}

impl Grant {
    /// What the role holds of single columns of this relation in a state: a revoke of the whole takes that too (manual,
    /// REVOKE), and it has to be granted again.
    pub fn of_columns<'c>(&'c self, state: &Indexed<'c>) -> impl Iterator<Item = &'c Self> {
        let whole = ["table", "view", "materialized-view"].contains(&self.on.kind.as_str());
        let grants = state.of::<Self>().filter(move |_| whole);
        let of_this = |other: &&Self| other.on.path.len() == 3 && other.on.path[..2] == self.on.path[..];
        grants.filter(|other| other.role == self.role).filter(of_this).collect::<Vec<_>>().into_iter()
    }

    fn list(&self, privileges: &BTreeSet<String>) -> String {
        let column = matches!(self.on.kind.as_str(), "column" | "view-column").then(|| format!(" ({})", quote(self.on.name())));
        privileges.iter().map(|privilege| format!("{privilege}{}", column.as_deref().unwrap_or_default())).collect::<Vec<_>>().join(", ")
    }

    fn target(&self) -> (String, String) {
        let on = registration(&self.on.kind).and_then(|kind| (kind.grant_address)(&self.on)).unwrap_or_else(|| self.on.sql());
        (on, if self.role == "public" { "PUBLIC".to_owned() } else { quote(&self.role) })
    }

    fn grant(&self, privileges: &BTreeSet<String>, grantable: bool) -> Option<String> {
        let (on, role) = self.target();
        let option = if grantable { " WITH GRANT OPTION" } else { "" };
        (!privileges.is_empty()).then(|| format!("GRANT {} ON {on} TO {role}{option}", self.list(privileges)))
    }

    fn revoke(&self, privileges: &BTreeSet<String>, option_only: bool) -> Option<String> {
        let (on, role) = self.target();
        let option = if option_only { "GRANT OPTION FOR " } else { "" };
        (!privileges.is_empty()).then(|| format!("REVOKE {option}{} ON {on} FROM {role}", self.list(privileges)))
    }

    /// Reads a `grant` or `revoke` node; several for one role add up.
    fn read_node(node: &mut Node<'_>, at: &Scope<'_>, out: &mut Lowering, is_grant: bool) -> Option<Id> {
        let on = at.parent().clone();
        let role = node.arg("a role", &mut out.findings)?;
        let words = node.args();
        let all = privileges_of(&on.kind);
        let mut privileges = BTreeSet::new();
        let mut with_option = false;
        for word in &words {
            let upper = word.value.to_uppercase().replace('-', " ");
            match upper.as_str() {
                "ALL" => privileges.extend(all.iter().map(|privilege| (*privilege).to_owned())),
                "WITH GRANT OPTION" if is_grant => with_option = true,
                // MAINTAIN exists from 17 on.
                _ if all.contains(&upper.as_str()) || (upper == "MAINTAIN" && all.contains(&"TRUNCATE")) => {
                    privileges.insert(upper);
                }
                _ => {
                    let names: Vec<String> = all.iter().map(|privilege| privilege.to_lowercase().replace(' ', "-")).collect();
                    let near = crate::kdl::suggest(&word.value, &names.iter().map(String::as_str).collect::<Vec<_>>()).map(|near| format!("did you mean `{near}`? There is ")).unwrap_or_default();
                    out.complain(word, format!("a {} has no privilege `{}`", on.kind, word.value), format!("{near}{}, all", names.join(", ")));
                }
            }
        }
        if privileges.is_empty() && words.is_empty() {
            out.findings.push(Finding::at(node.title(), format!("`{}` needs privileges", node.name())).help(format!("for example: `{} {} {}`", node.name(), role.value, all.first().copied().unwrap_or("all").to_lowercase())));
            return None;
        }
        let id = on.satellite(Self::KEYWORD, Some(&role.value));
        let mut grant = if let Some(Object::Grant(grant)) = out.catalog.get(&id) {
            if let Some(origin) = out.origins.get_mut(&id) {
                origin.others.push(node.span());
            }
            grant.clone()
        } else {
            let empty = BTreeSet::new();
            let grant = Self { on, role: Ident::new(&role.value), granted: empty.clone(), grantable: empty.clone(), revoked: empty };
            out.put(node, grant.clone());
            grant
        };
        if is_grant {
            if with_option {
                grant.grantable.extend(privileges.iter().cloned());
            }
            grant.granted.extend(privileges);
        } else {
            grant.revoked.extend(privileges);
        }
        out.catalog.put(grant.into_object());
        Some(id)
    }

    /// Reads a `revoke` node.
    pub fn read_revoke(node: &mut Node<'_>, at: &Scope<'_>, out: &mut Lowering) -> Option<Id> {
        Self::read_node(node, at, out, false)
    }
}

impl Kind for Grant {
    const KEYWORD: &'static str = "grant";
    const CATALOG: &'static str = "*";
    const PARENTS: &'static [&'static str] = &[
        "schema", "table", "column", "view", "view-column", "materialized-view", "sequence", "function", "procedure", "aggregate", "enum", "domain", "type", "range-type",
    ];
    cast_to!(Grant);

    fn query(_server: u32) -> Option<String> {
        let sources = [
            ("pg_namespace", "oid", "0", "nspacl", "acldefault('n', nspowner)", "pg_namespace"),
            ("pg_class", "oid", "0", "relacl", "acldefault(CASE WHEN relkind = 'S' THEN 's'::\"char\" ELSE 'r'::\"char\" END, relowner)", "pg_class"),
            ("pg_class", "attrelid", "attnum", "attacl", "NULL::aclitem[]", "pg_attribute"),
            ("pg_proc", "oid", "0", "proacl", "acldefault('f', proowner)", "pg_proc"),
            ("pg_type", "oid", "0", "typacl", "acldefault('T', typowner)", "pg_type"),
        ]
        .map(|(class, oid, sub, acl, default, from)| {
            format!("SELECT '{class}'::regclass::int8 AS class, {oid}::int8 AS oid, {sub}::int8 AS sub, {acl} AS acl, {default} AS base FROM {from} WHERE {acl} IS NOT NULL AND ({oid} >= 16384 OR '{class}' = 'pg_namespace')")
        })
        .join(" UNION ALL ");
        Some(format!(
            "SELECT o.class, o.oid, o.sub, CASE WHEN g.grantee = 0 THEN 'public' ELSE pg_get_userbyid(g.grantee)::text END, \
             array_agg(g.privilege_type::text ORDER BY g.privilege_type) FILTER (WHERE g.given), array_agg(g.privilege_type::text ORDER BY g.privilege_type) FILTER (WHERE g.given AND g.is_grantable), \
             array_agg(g.privilege_type::text ORDER BY g.privilege_type) FILTER (WHERE NOT g.given) \
             FROM ({sources}) o CROSS JOIN LATERAL ( \
               SELECT true AS given, a.grantee, a.privilege_type, bool_or(a.is_grantable) AS is_grantable FROM aclexplode(o.acl) a \
               WHERE NOT EXISTS (SELECT FROM aclexplode(o.base) d WHERE d.grantee = a.grantee AND d.privilege_type = a.privilege_type AND d.is_grantable = a.is_grantable) GROUP BY 2, 3 \
               UNION ALL SELECT false, d.grantee, d.privilege_type, false FROM aclexplode(o.base) d \
               WHERE NOT EXISTS (SELECT FROM aclexplode(o.acl) a WHERE d.grantee = a.grantee AND d.privilege_type = a.privilege_type)) g \
             GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4"
        ))
    }

    fn from_row(row: &mut Row<'_>) -> Self {
        let set = |texts: Vec<String>| texts.into_iter().collect::<BTreeSet<_>>();
        Self { on: row.subject(), role: row.name(), granted: set(row.texts()), grantable: set(row.texts()), revoked: set(row.texts()) }
    }

    fn read(node: &mut Node<'_>, at: &Scope<'_>, out: &mut Lowering) -> Option<Id> {
        Self::read_node(node, at, out, true)
    }

    fn write<'n>(&self, parent: &'n mut NodeOut) -> &'n mut NodeOut {
        let Self { on: _, role, granted, grantable, revoked } = self;
        let words = |privileges: Vec<&String>| privileges.into_iter().map(|privilege| privilege.to_lowercase()).collect::<Vec<_>>();
        let plain: Vec<_> = granted.difference(grantable).collect();
        if !plain.is_empty() {
            parent.add(NodeOut::new("grant").arg(role.as_str()).args(words(plain)));
        }
        if !grantable.is_empty() {
            parent.add(NodeOut::new("grant").arg(role.as_str()).args(words(grantable.iter().collect())).arg("with-grant-option"));
        }
        if !revoked.is_empty() {
            parent.add(NodeOut::new("revoke").arg(role.as_str()).args(words(revoked.iter().collect())));
        }
        parent
    }

    fn id(&self) -> Id {
        self.on.satellite(Self::KEYWORD, Some(&self.role))
    }

    fn parent(&self) -> Option<Id> {
        Some(self.on.clone())
    }

    fn create(&self) -> Action {
        let Self { on, role, granted, grantable, revoked } = self;
        let plain: BTreeSet<String> = granted.difference(grantable).cloned().collect();
        let mut action = Action::new(format!("Set what {role} may do with {on}"));
        // Revokes first: a revoke of a default would also take a grant of the same privilege.
        action.sql.extend(self.revoke(revoked, false));
        action.sql.extend(self.grant(&plain, false));
        action.sql.extend(self.grant(grantable, true));
        if revoked.is_empty() { action } else { action.hazard(Hazard::Revoke, format!("{} on {on} from {role}", self.list(revoked))) }
    }

    fn drop(&self) -> Action {
        let mut action = Action::new(format!("Take back what {} may do with {}", self.role, self.on));
        action.sql.extend(self.revoke(&self.granted, false));
        action.sql.extend(self.grant(&self.revoked, false));
        if self.granted.is_empty() { action } else { action.hazard(Hazard::Revoke, format!("{} on {} from {}", self.list(&self.granted), self.on, self.role)) }
    }

    fn alter(old: &Self, new: &Self) -> Alteration {
        let Self { on, role, granted, grantable, revoked } = new;
        let minus = |a: &BTreeSet<String>, b: &BTreeSet<String>| a.difference(b).cloned().collect::<BTreeSet<String>>();
        let taken: BTreeSet<String> = minus(&old.granted, granted).union(&minus(revoked, &old.revoked)).cloned().collect();
        let restored = minus(&old.revoked, revoked);
        let option_taken: BTreeSet<String> = minus(&old.grantable, grantable).intersection(granted).cloned().collect();
        let given: BTreeSet<String> = minus(&minus(granted, &old.granted), grantable).union(&restored).cloned().collect();
        let mut action = Action::new(format!("Change what {role} may do with {on}"));
        action.sql.extend(new.revoke(&taken, false));
        action.sql.extend(new.revoke(&option_taken, true));
        action.sql.extend(new.grant(&given, false));
        action.sql.extend(new.grant(&minus(grantable, &old.grantable), true));
        if !taken.is_empty() {
            action = action.hazard(Hazard::Revoke, format!("{} on {on} from {role}", new.list(&taken)));
        }
        Alteration::Act(vec![action])
    }

    fn rebuild(&self, why: Why) -> Rebuild {
        if why == Why::Retyped { Rebuild::Keep } else { Rebuild::Replace }
    }
}
