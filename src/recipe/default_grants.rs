//! New objects get what ALTER DEFAULT PRIVILEGES says: what is not wanted of that is taken back.

use std::collections::{BTreeMap, BTreeSet};

use crate::catalog::{Id, Ident, Indexed};
use crate::kind::Kind as _;
use crate::kind::default_privileges::DefaultPrivileges;
use crate::kind::grant::Grant;
use crate::plan::Alteration;
use crate::plan::change::{Change, Changes};
use crate::plan::draft::{Context, Draft, Op};
use crate::plan::plan::StageName;

const RECIPE: &str = "default-privileges";

/// Takes the grants of new objects that the default privileges of the applying role give, and that are not wanted.
pub fn apply(cx: &Context<'_>, changes: &mut Changes, draft: &mut Draft) {
    // Where privileges are not managed, new objects get what PostgreSQL gives them.
    let defaults = Defaults::managed(cx);
    let made: Vec<Id> = changes.iter().filter(|(_, change)| **change == Change::Create).map(|(id, _)| id.clone()).collect();
    for id in made {
        for given in defaults.given(&id) {
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

/// What is dropped and made again, on the way there or back, is new to PostgreSQL: what it is given by default is taken
/// before it gets what it had.
pub fn taken_of_made_again(cx: &Context<'_>, draft: &mut Draft) {
    let defaults = Defaults::all(cx);
    if defaults.0.is_empty() {
        return;
    }
    let mut taken: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for state in [cx.live, cx.desired] {
        for (id, object) in &state.objects {
            if sort_of(&id.kind).is_some() && cx.live.contains(id) {
                let statements: Vec<String> = defaults.given(id).iter().flat_map(|given| given.drop().sql).collect();
                if let Some(create) = object.create().sql.into_iter().next().filter(|_| !statements.is_empty()) {
                    taken.insert(create, statements);
                }
            }
        }
    }
    let lists = draft.ops.iter_mut().flat_map(|op| std::iter::once(&mut op.action.sql).chain(op.undo.as_mut()));
    for list in lists.filter(|list| list.iter().any(|sql| taken.contains_key(sql))) {
        *list = list.iter().flat_map(|sql| std::iter::once(sql).chain(taken.get(sql).into_iter().flatten())).cloned().collect();
    }
}

/// The default privileges that count for what the applying role makes.
struct Defaults<'c>(Vec<&'c DefaultPrivileges>);

impl<'c> Defaults<'c> {
    /// Those that the states speak of: before or after the plan's own change of them.
    fn managed(cx: &Context<'c>) -> Self {
        let Some(role) = &cx.facts.role else { return Self(Vec::new()) };
        Self([cx.live, cx.desired].into_iter().flat_map(Indexed::of::<DefaultPrivileges>).filter(|one| one.role == *role).collect())
    }

    /// Also those that the project does not manage.
    fn all(cx: &Context<'c>) -> Self {
        let Self(mut all) = Self::managed(cx);
        all.extend(cx.facts.default_privileges.iter());
        Self(all)
    }

    /// What a new object is given, role by role.
    fn given(&self, id: &Id) -> Vec<Grant> {
        let Some(sort) = sort_of(&id.kind) else { return Vec::new() };
        let mut grants: BTreeMap<Ident, Grant> = BTreeMap::new();
        let of_sort = self.0.iter().filter(|one| one.sort == sort && one.schema.as_ref().is_none_or(|schema| *schema == id.schema()));
        for one in of_sort {
            let entry = |role: &Ident| Grant {
                on: id.clone(),
                role: role.clone(),
                granted: BTreeSet::new(),
                grantable: BTreeSet::new(),
                revoked: BTreeSet::new(),
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
