//! The new form beside the old one: made as a database would be made that holds nothing else.

use super::followers::is_at_switch;
use super::tree::{Tree, objects};
use crate::catalog::id::{literal, quote, quoted_list};
use crate::catalog::{Catalog, Id, Ident, Indexed};
use crate::kind::column::Column;
use crate::kind::grant::Grant;
use crate::kind::lowering::Hints;
use crate::kind::owner::Owner;
use crate::kind::partition::Partition;
use crate::kind::table::Table;
use crate::kind::{Kind as _, Object};
use crate::plan::change::changes;
use crate::plan::draft::Context;
use crate::plan::facts::Policy;
use crate::plan::graph;
use crate::plan::op::Violations;
use crate::plan::rename::placed_object;

impl Tree<'_> {
    /// The statements that make the schemas and these relations of the new form, without rows.
    pub(super) fn creation(&self, cx: &Context<'_>, relations: &[Id], schemas: &[Ident]) -> Result<Vec<String>, String> {
        let mut sql: Vec<String> = schemas.iter().map(|schema| format!("CREATE SCHEMA {}", quote(schema))).collect();
        let (live, desired) = (Catalog::default(), self.moved(cx, relations));
        let (live, desired) = (Indexed::new(&live), Indexed::new(&desired));
        let hints = Hints::default();
        let policy = Policy { direct: true, ..cx.policy.clone() };
        let inner = Context { live: &live, desired: &desired, hints: &hints, facts: cx.facts, policy: &policy };
        let mut wanted = changes(&live, &desired);
        let mut draft = crate::recipe::draft(&inner, &mut wanted);
        graph::connect(&inner, &mut draft);
        let order = graph::order(&mut draft).map_err(|cycle| cycle.to_string())?;
        sql.extend(order.into_iter().flat_map(|at| draft.ops[at].action.sql.clone()));
        sql.extend(self.rights(cx, relations, schemas));
        if let Some(index) = self.helper_index() {
            let keys = self.keys.as_ref().expect("the index stands in for a key");
            sql.push(format!("CREATE UNIQUE INDEX {} ON {} ({})", index.name_sql(), self.made(&self.root).sql(), quoted_list(&keys.new)));
        }
        Ok(sql)
    }

    /// The desired objects of the table, as they are called before the switch: columns in the live order, for who leaves
    /// a list of columns out.
    fn moved(&self, cx: &Context<'_>, relations: &[Id]) -> Catalog {
        let place = |id: &Id| {
            self.columns.iter().position(|column| id.kind == Column::KEYWORD && column.name == id.name()).unwrap_or(self.columns.len())
        };
        let mut own: Vec<&Object> = objects(cx.desired, relations).filter(|object| !is_at_switch(cx.desired, object)).collect();
        own.sort_by_key(|object| {
            let id = object.id();
            let rank = [Table::KEYWORD, Column::KEYWORD].iter().position(|kind| *kind == id.kind).unwrap_or(2);
            (rank, place(&id))
        });
        let mut catalog = Catalog::default();
        for object in own {
            let id = object.id();
            let moved = self.new.iter().fold((object.clone(), id), |(object, id), table| {
                let object = placed_object(&object, &id, table, &self.made(table));
                let id = object.id();
                (object, id)
            });
            catalog.put(moved.0);
        }
        catalog
    }

    /// Owner and privileges as the old form has them, where the project leaves them alone.
    fn rights(&self, cx: &Context<'_>, relations: &[Id], schemas: &[Ident]) -> Option<String> {
        let on = |id: &Id| id.path.starts_with(&self.root.path);
        let says_owner = [cx.live, cx.desired].iter().any(|state| state.of::<Owner>().any(|owner| on(&owner.on)));
        let says_grants = [cx.live, cx.desired].iter().any(|state| state.of::<Grant>().any(|grant| on(&grant.on)));
        if says_owner && says_grants {
            return None;
        }
        let (old, new) = (literal(&self.root.sql()), literal(&self.made(&self.root).sql()));
        let made: Vec<String> = relations.iter().map(|table| literal(&self.made(table).sql())).collect();
        let mut body = String::new();
        if !says_owner {
            body += &format!(
                "    SELECT pg_get_userbyid(relowner) INTO held FROM pg_class WHERE oid = {old}::regclass;\n    \
                 IF held.pg_get_userbyid <> current_user THEN\n        \
                 EXECUTE format('GRANT USAGE, CREATE ON SCHEMA {} TO %I', held.pg_get_userbyid);\n        \
                 FOREACH made IN ARRAY ARRAY[{}]::regclass[] LOOP\n            \
                 EXECUTE format('ALTER TABLE %s OWNER TO %I', made, held.pg_get_userbyid);\n        END LOOP;\n    END IF;\n",
                quoted_list(schemas),
                made.join(", ")
            );
        }
        if !says_grants {
            body += &format!(
                "    FOR held IN SELECT DISTINCT acl.grantee FROM pg_class, aclexplode(relacl) acl WHERE oid = {new}::regclass AND acl.grantee <> relowner LOOP\n        \
                 EXECUTE format('REVOKE ALL ON %s FROM %s', {new}, CASE held.grantee WHEN 0 THEN 'PUBLIC' ELSE held.grantee::regrole::text END);\n    END LOOP;\n    \
                 FOR held IN SELECT acl.*, '' AS part FROM pg_class, aclexplode(relacl) acl WHERE oid = {old}::regclass AND acl.grantee <> relowner\n        \
                 UNION ALL SELECT acl.*, format('(%I)', attname) FROM pg_attribute, aclexplode(attacl) acl WHERE attrelid = {old}::regclass LOOP\n        \
                 EXECUTE format('GRANT %s %s ON %s TO %s%s', held.privilege_type, held.part, {new},\n            \
                 CASE held.grantee WHEN 0 THEN 'PUBLIC' ELSE held.grantee::regrole::text END, CASE WHEN held.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END);\n    END LOOP;\n"
            );
        }
        Some(format!("DO $do$ DECLARE held record; made regclass; BEGIN\n{body}END $do$"))
    }

    /// The rows that no partition of the new form takes; nothing where every row finds one.
    pub(super) fn unplaced(&self, cx: &Context<'_>) -> Option<Violations> {
        let root = cx.desired.get_as::<Table>(&self.root)?;
        root.partition_by.as_ref()?;
        let places: Vec<&Partition> = self.new.iter().filter_map(|table| cx.desired.get_as(&Partition::id_of(table))).collect();
        let divided = |table: &Id| cx.desired.get_as::<Table>(table).and_then(|table| table.partition_by.as_ref());
        let takes_all = |table: &Id| {
            let bounds: Vec<&str> = places.iter().filter(|place| place.parent == *table).map(|place| place.bound.as_str()).collect();
            bounds.contains(&"DEFAULT") || is_whole(&bounds)
        };
        if self.new.iter().filter(|table| divided(table).is_some()).all(takes_all) {
            return None;
        }
        // What the bounds mean as a condition only the server knows.
        let temporary = |table: &Id| {
            let at = self.new.iter().position(|one| one == table).unwrap_or_default();
            format!("pg_temp.preflight_{at}")
        };
        let by = |table: &Id| {
            divided(table)
                .map(|key| format!(" PARTITION BY {} ({})", key.strategy.to_uppercase(), key.elements.join(", ")))
                .unwrap_or_default()
        };
        let own = self.root.sql();
        let mut setup = vec![format!("CREATE TEMP TABLE {} (LIKE {own}){}", temporary(&self.root), by(&self.root))];
        for place in &places {
            setup.push(format!(
                "CREATE TEMP TABLE {} PARTITION OF {} {}{}",
                temporary(&place.table),
                temporary(&place.parent),
                place.bound,
                by(&place.table)
            ));
        }
        setup.push(format!(
            "CREATE FUNCTION pg_temp.preflight_unplaced() RETURNS SETOF {own} LANGUAGE plpgsql STABLE AS $rows$\nDECLARE\n    taken text;\nBEGIN\n    \
             SELECT string_agg('(' || pg_get_partition_constraintdef(relid) || ')', ' OR ') INTO taken FROM pg_partition_tree({}) WHERE isleaf AND level > 0;\n    \
             RETURN QUERY EXECUTE format('SELECT * FROM %s WHERE NOT (%s)', {}, COALESCE(taken, 'false'));\nEND\n$rows$",
            literal(&temporary(&self.root)),
            literal(&own)
        ));
        let key = self.keys.as_ref().map_or_else(|| "*".to_owned(), |keys| quoted_list(&keys.new));
        Some(Violations {
            title: format!("rows of {} find no partition", self.root),
            rows: format!("SELECT {key} FROM pg_temp.preflight_unplaced()"),
            help: "add partitions for them, or one that takes all others: `partition … default`".to_owned(),
            setup,
            reads: vec![self.root.clone()],
            copies: None,
        })
    }
}

/// Whether hash partitions take every row: their shares are one (each modulus is a factor of the next larger one).
fn is_whole(bounds: &[&str]) -> bool {
    let modulus = |bound: &&str| bound.strip_prefix("FOR VALUES WITH (modulus ")?.split_once(',')?.0.parse::<u64>().ok();
    let moduli: Option<Vec<u64>> = bounds.iter().map(modulus).collect();
    let Some((moduli, largest)) = moduli.and_then(|moduli| moduli.iter().max().copied().map(|largest| (moduli, largest))) else {
        return false;
    };
    moduli.iter().map(|modulus| largest / modulus).sum::<u64>() == largest
}
