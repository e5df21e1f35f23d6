//! New objects get what ALTER DEFAULT PRIVILEGES says: what is not wanted of that is taken back.

use std::collections::BTreeMap;

use crate::catalog::{Id, Ident};
use crate::kind::Kind as _;
use crate::kind::default_privileges::DefaultPrivileges;
use crate::kind::grant::Grant;
use crate::plan::Alteration;
use crate::plan::change::{Change, Changes};
use crate::plan::draft::{Context, Draft, Op};
use crate::plan::plan::StageName;

const RECIPE: &str = "default-privileges";

/// Takes the grants of new objects that the live default privileges of the applying role give
/// something else than is desired.
pub fn apply(cx: &Context<'_>, changes: &mut Changes, draft: &mut Draft) {
    let Some(role) = &cx.facts.role else { return };
    let defaults: Vec<&DefaultPrivileges> = cx.live.of::<DefaultPrivileges>().filter(|one| one.role == *role).collect();
    if defaults.is_empty() {
        return;
    }
    let made: Vec<Id> =
        changes.iter().filter(|(_, change)| matches!(change, Change::Create | Change::Replace)).map(|(id, _)| id.clone()).collect();
    for id in made {
        let Some(sort) = sort_of(&id.kind) else { continue };
        for given in given(&defaults, &id, sort) {
            let grant_id = given.id();
            match cx.desired.get_as::<Grant>(&grant_id) {
                Some(wanted) if *wanted == given => {}
                Some(wanted) => {
                    let Alteration::Act(actions) = Grant::alter(&given, wanted) else { continue };
                    changes.shift_remove(&grant_id);
                    let ops = actions.into_iter().map(|mut action| {
                        action.hazards.clear();
                        Op::new(&grant_id, action, StageName::Expand, RECIPE).puts(wanted.clone())
                    });
                    draft.chain(&grant_id, ops.collect());
                }
                None => {
                    let mut action = given.drop();
                    action.hazards.clear();
                    let at = draft.push(Op::new(&grant_id, action, StageName::Expand, RECIPE));
                    draft.follow_ups.push((id.clone(), at));
                }
            }
        }
    }
}

fn sort_of(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "table" | "view" | "materialized-view" => "tables",
        "sequence" => "sequences",
        "function" | "procedure" | "aggregate" => "functions",
        "enum" | "domain" | "type" | "range-type" => "types",
        "schema" => "schemas",
        _ => return None,
    })
}

/// What a new object is given, role by role.
fn given(defaults: &[&DefaultPrivileges], id: &Id, sort: &str) -> Vec<Grant> {
    let mut grants: BTreeMap<Ident, Grant> = BTreeMap::new();
    let of_sort = defaults.iter().filter(|one| one.sort == sort && one.schema.as_ref().is_none_or(|schema| *schema == id.schema()));
    for one in of_sort {
        let entry = |role: &Ident| Grant {
            on: id.clone(),
            role: role.clone(),
            granted: std::collections::BTreeSet::new(),
            grantable: std::collections::BTreeSet::new(),
            revoked: std::collections::BTreeSet::new(),
        };
        for privilege in &one.grants {
            let grant = grants.entry(privilege.role.clone()).or_insert_with(|| entry(&privilege.role));
            let word = privilege.privilege.replace('-', " ").to_uppercase();
            if privilege.with_grant_option {
                grant.grantable.insert(word.clone());
            }
            grant.granted.insert(word);
        }
        for privilege in &one.revokes {
            let grant = grants.entry(privilege.role.clone()).or_insert_with(|| entry(&privilege.role));
            grant.revoked.insert(privilege.privilege.replace('-', " ").to_uppercase());
        }
    }
    grants.into_values().collect()
}
