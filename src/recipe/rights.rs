//! Owners and privileges of what stands in for something else: whether the project manages them or not, who could use
//! the one can use the other.

use crate::catalog::Id;
use crate::catalog::id::literal;
use crate::kind::grant::Grant;
use crate::plan::draft::Context;

/// The statement that gives a view the owner of the table beneath it, and everybody the privileges that they have there.
#[must_use]
pub fn of_view(view: &Id, table: &Id) -> String {
    let (view, table) = (literal(&view.sql()), literal(&table.sql()));
    format!(
        "DO $do$ DECLARE held record; BEGIN\n    \
         SELECT pg_get_userbyid(relowner) AS owner INTO held FROM pg_class WHERE oid = {table}::regclass;\n    \
         IF held.owner <> current_user THEN\n        \
         EXECUTE format('ALTER VIEW %s OWNER TO %I', {view}, held.owner);\n    END IF;\n    \
         FOR held IN SELECT acl.*, '' AS part FROM pg_class, aclexplode(relacl) acl WHERE oid = {table}::regclass AND acl.grantee <> relowner\n        \
         UNION ALL SELECT acl.*, format('(%I)', attname) FROM pg_attribute, aclexplode(attacl) acl WHERE attrelid = {table}::regclass LOOP\n        \
         EXECUTE format('GRANT %s %s ON %s TO %s%s', held.privilege_type, held.part, {view},\n            \
         CASE held.grantee WHEN 0 THEN 'PUBLIC' ELSE held.grantee::regrole::text END, CASE WHEN held.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END);\n    \
         END LOOP;\nEND $do$"
    )
}

/// The statements that give a column the privileges of the one whose place it takes, where the project does not manage
/// them.
#[must_use]
pub fn of_column(cx: &Context<'_>, id: &Id) -> Vec<String> {
    let manages = cx.desired.of::<Grant>().next().is_some() || cx.live.of::<Grant>().next().is_some();
    if manages { Vec::new() } else { cx.facts.privileges.get(id).cloned().unwrap_or_default() }
}
