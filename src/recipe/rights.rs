//! Owners and privileges of what stands in for something else: whether the project manages them or not, who could use
//! the one can use the other.

use std::collections::{BTreeMap, BTreeSet};

use crate::catalog::Id;
use crate::catalog::id::literal;
use crate::kind::Kind as _;
use crate::kind::grant::Grant;
use crate::kind::owner::Owner;
use crate::plan::draft::{Context, Draft, Effect};
use crate::plan::op::Action;
use crate::plan::plan::COMMIT;

/// The statement that gives a view the owner of the table beneath it, and everybody the privileges that they have there.
/// The view reads all of its columns: who may read only some of them does so by the rights of its owner, where no row
/// security looks at who asks.
#[must_use]
pub fn of_view(view: &Id, table: &Id) -> String {
    let (view, table) = (literal(&view.sql()), literal(&table.sql()));
    format!(
        "DO $do$ DECLARE held record; BEGIN\n    \
         SELECT pg_get_userbyid(relowner) AS owner, relrowsecurity INTO held FROM pg_class WHERE oid = {table}::regclass;\n    \
         IF held.owner <> current_user THEN\n        \
         EXECUTE format('ALTER VIEW %s OWNER TO %I', {view}, held.owner);\n    END IF;\n    \
         IF NOT held.relrowsecurity AND EXISTS (SELECT FROM pg_attribute WHERE attrelid = {table}::regclass AND NOT attisdropped AND attacl IS NOT NULL) THEN\n        \
         EXECUTE format('ALTER VIEW %s RESET (security_invoker)', {view});\n    END IF;\n    \
         FOR held IN SELECT DISTINCT acl.grantee FROM pg_class, aclexplode(relacl) acl WHERE oid = {view}::regclass AND acl.grantee <> relowner LOOP\n        \
         EXECUTE format('REVOKE ALL ON %s FROM %s', {view}, CASE held.grantee WHEN 0 THEN 'PUBLIC' ELSE held.grantee::regrole::text END);\n    END LOOP;\n    \
         FOR held IN SELECT acl.*, '' AS part FROM pg_class, aclexplode(relacl) acl WHERE oid = {table}::regclass AND acl.grantee <> relowner\n        \
         UNION ALL SELECT acl.*, format('(%I)', attname) FROM pg_attribute, aclexplode(attacl) acl WHERE attrelid = {table}::regclass AND NOT attisdropped LOOP\n        \
         EXECUTE format('GRANT %s %s ON %s TO %s%s', held.privilege_type, held.part, {view},\n            \
         CASE held.grantee WHEN 0 THEN 'PUBLIC' ELSE held.grantee::regrole::text END, CASE WHEN held.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END);\n    \
         END LOOP;\nEND $do$"
    )
}

/// The statements that give a column the privileges of the one whose place it takes, where the project does not manage
/// them.
#[must_use]
pub fn of_column(cx: &Context<'_>, id: &Id) -> Vec<String> {
    let Some(statements) = cx.facts.privileges.get(id) else { return Vec::new() };
    if manages_grants(cx) { Vec::new() } else { statements.clone() }
}

/// The statements that give a column what all of the columns have whose place it takes, where the project does not manage
/// privileges.
#[must_use]
pub fn of_column_from(cx: &Context<'_>, id: &Id, olds: &[Id]) -> Vec<String> {
    const OPTION: &str = " WITH GRANT OPTION";
    let Some(handed) = cx.facts.handed_on.get(id).filter(|_| !manages_grants(cx)) else { return Vec::new() };
    // Who may grant it may do it.
    let held = |old: &Id| -> BTreeSet<&str> {
        let statements = handed.get(old).into_iter().flatten();
        statements.flat_map(|sql| [sql.as_str(), sql.strip_suffix(OPTION).unwrap_or(sql)]).collect()
    };
    let Some(shared) = olds.iter().map(held).reduce(|a, b| &a & &b) else { return Vec::new() };
    let more = |sql: &&&str| !shared.contains(format!("{sql}{OPTION}").as_str());
    shared.iter().filter(more).map(|sql| (*sql).to_owned()).collect()
}

/// What is taken back from a role as a whole is taken of the columns too: what stays there is granted again.
pub fn columns_keep_theirs(cx: &Context<'_>, draft: &mut Draft) {
    for op in draft.ops.iter_mut().filter(|op| op.id.kind == Grant::KEYWORD && op.action.sql.iter().any(|sql| sql.starts_with("REVOKE"))) {
        let Some(grant) = cx.live.get_as::<Grant>(&op.id).or_else(|| cx.desired.get_as::<Grant>(&op.id)) else { continue };
        let stays = |of_column: &&Grant| cx.live.get_as(&of_column.id()) == Some(*of_column);
        op.action.sql.extend(grant.of_columns(cx.desired).filter(stays).flat_map(|of_column| of_column.create().sql));
    }
}

fn manages_grants(cx: &Context<'_>) -> bool {
    cx.desired.of::<Grant>().next().is_some() || cx.live.of::<Grant>().next().is_some()
}

/// Gives what is dropped and made again, by whatever recipe, the owner and the privileges that it had, on the way there
/// and on the way back. Where the project manages them, they are objects of their own.
pub fn restore(cx: &Context<'_>, draft: &mut Draft) {
    if !cx.facts.privileges.keys().any(|id| MADE_AGAIN.contains(&id.kind.as_str())) {
        return;
    }
    let manages_owners = cx.desired.of::<Owner>().next().is_some() || cx.live.of::<Owner>().next().is_some();
    let manages_grants = manages_grants(cx);
    let wanted: BTreeMap<&Id, Vec<String>> = cx
        .facts
        .privileges
        .iter()
        .filter(|(id, _)| MADE_AGAIN.contains(&id.kind.as_str()))
        .map(|(id, statements)| {
            let unmanaged = |sql: &&String| if sql.starts_with("ALTER ") { !manages_owners } else { !manages_grants };
            (id, statements.iter().filter(unmanaged).cloned().collect())
        })
        .filter(|(_, statements): &(_, Vec<String>)| !statements.is_empty())
        .collect();
    let executed: BTreeSet<String> = draft.ops.iter().flat_map(|op| op.action.sql.iter().cloned()).collect();
    for (id, statements) in wanted {
        let Some(live) = cx.live.get(id) else { continue };
        if !live.drop().sql.first().is_some_and(|sql| executed.contains(sql)) {
            continue;
        }
        // The last one that leads to it, and every way back that makes the old one.
        let made = |object: &crate::kind::Object| object.id() == *id;
        let puts = |effect: &Effect| matches!(effect, Effect::Put(object) if made(object));
        if let Some(at) = draft.ops.iter().rposition(|op| op.effects.iter().any(puts)) {
            let Action { sql, .. } = &mut draft.ops[at].action;
            sql.extend(statements.iter().cloned());
        }
        let made: Vec<String> = live.create().sql;
        for undo in draft.ops.iter_mut().filter_map(|op| op.undo.as_mut()) {
            if let Some(at) = undo.iter().position(|sql| made.first() == Some(sql)) {
                let end = undo[at..].iter().position(|sql| sql == COMMIT).map_or(undo.len(), |rest| at + rest);
                undo.splice(end..end, statements.iter().cloned());
            }
        }
    }
}

/// The kinds whose owners and privileges would go with them.
const MADE_AGAIN: [&str; 5] = ["view", "materialized-view", "function", "procedure", "aggregate"];
