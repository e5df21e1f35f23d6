//! What stands in a managed schema and has no kind yet: found, and reported by name, never passed
//! over.

use std::collections::BTreeSet;

use crate::kind::registration;
use crate::kind::row::{in_user_schema, not_extension_member};

/// What a query looks for: the keyword under which a kind would take it over, and the query that
/// gives names. When a kind with that keyword is registered, the query is not asked any more.
struct Probe {
    keyword: &'static str,
    /// The catalog, the OID column, the name expression, the rest of the query.
    catalog: &'static str,
    name: &'static str,
    from: &'static str,
    /// The namespace column, where the object stands in a schema.
    namespace: Option<&'static str>,
    filter: &'static str,
}

/// Casts that people made. The one from a range type to its multirange type comes with the type.
const CAST: &str =
    "o.oid >= 16384 AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_cast'::regclass AND d.objid = o.oid AND d.deptype = 'i')";

const QUALIFIED: &str = "format('%I.%I', n.nspname, o.{})";

const PROBES: &[Probe] = &[
    Probe {
        keyword: "policy",
        catalog: "pg_policy",
        name: "format('%I.%I.%I', n.nspname, c.relname, o.polname)",
        from: "JOIN pg_class c ON c.oid = o.polrelid JOIN pg_namespace n ON n.oid = c.relnamespace",
        namespace: Some("c.relnamespace"),
        filter: "true",
    },
    Probe {
        keyword: "rule",
        catalog: "pg_rewrite",
        name: "format('%I.%I.%I', n.nspname, c.relname, o.rulename)",
        from: "JOIN pg_class c ON c.oid = o.ev_class JOIN pg_namespace n ON n.oid = c.relnamespace",
        namespace: Some("c.relnamespace"),
        filter: "o.rulename <> '_RETURN'",
    },
    Probe {
        keyword: "row-security",
        catalog: "pg_class",
        name: "format('%I.%I', n.nspname, o.relname)",
        from: "JOIN pg_namespace n ON n.oid = o.relnamespace",
        namespace: Some("o.relnamespace"),
        filter: "o.relrowsecurity OR o.relforcerowsecurity",
    },
    Probe {
        keyword: "statistics",
        catalog: "pg_statistic_ext",
        name: "stxname",
        from: "JOIN pg_namespace n ON n.oid = o.stxnamespace",
        namespace: Some("o.stxnamespace"),
        filter: "true",
    },
    Probe {
        keyword: "collation",
        catalog: "pg_collation",
        name: "collname",
        from: "JOIN pg_namespace n ON n.oid = o.collnamespace",
        namespace: Some("o.collnamespace"),
        filter: "true",
    },
    Probe {
        keyword: "conversion",
        catalog: "pg_conversion",
        name: "conname",
        from: "JOIN pg_namespace n ON n.oid = o.connamespace",
        namespace: Some("o.connamespace"),
        filter: "true",
    },
    Probe {
        keyword: "operator",
        catalog: "pg_operator",
        name: "oprname",
        from: "JOIN pg_namespace n ON n.oid = o.oprnamespace",
        namespace: Some("o.oprnamespace"),
        filter: "true",
    },
    Probe {
        keyword: "operator-class",
        catalog: "pg_opclass",
        name: "opcname",
        from: "JOIN pg_namespace n ON n.oid = o.opcnamespace",
        namespace: Some("o.opcnamespace"),
        filter: "true",
    },
    Probe {
        keyword: "operator-family",
        catalog: "pg_opfamily",
        name: "opfname",
        from: "JOIN pg_namespace n ON n.oid = o.opfnamespace",
        namespace: Some("o.opfnamespace"),
        filter: "true",
    },
    Probe {
        keyword: "text-search-configuration",
        catalog: "pg_ts_config",
        name: "cfgname",
        from: "JOIN pg_namespace n ON n.oid = o.cfgnamespace",
        namespace: Some("o.cfgnamespace"),
        filter: "true",
    },
    Probe {
        keyword: "text-search-dictionary",
        catalog: "pg_ts_dict",
        name: "dictname",
        from: "JOIN pg_namespace n ON n.oid = o.dictnamespace",
        namespace: Some("o.dictnamespace"),
        filter: "true",
    },
    Probe {
        keyword: "text-search-parser",
        catalog: "pg_ts_parser",
        name: "prsname",
        from: "JOIN pg_namespace n ON n.oid = o.prsnamespace",
        namespace: Some("o.prsnamespace"),
        filter: "true",
    },
    Probe {
        keyword: "text-search-template",
        catalog: "pg_ts_template",
        name: "tmplname",
        from: "JOIN pg_namespace n ON n.oid = o.tmplnamespace",
        namespace: Some("o.tmplnamespace"),
        filter: "true",
    },
    Probe {
        keyword: "foreign-table",
        catalog: "pg_class",
        name: "relname",
        from: "JOIN pg_namespace n ON n.oid = o.relnamespace",
        namespace: Some("o.relnamespace"),
        filter: "o.relkind = 'f'",
    },
    Probe {
        keyword: "typed-table",
        catalog: "pg_class",
        name: "relname",
        from: "JOIN pg_namespace n ON n.oid = o.relnamespace",
        namespace: Some("o.relnamespace"),
        filter: "o.reloftype <> 0",
    },
    Probe {
        keyword: crate::config::INHERITANCE,
        catalog: "pg_class",
        name: "relname",
        from: "JOIN pg_namespace n ON n.oid = o.relnamespace",
        namespace: Some("o.relnamespace"),
        filter: "o.relkind IN ('r', 'f') AND NOT o.relispartition AND EXISTS (SELECT FROM pg_inherits h WHERE h.inhrelid = o.oid)",
    },
    Probe {
        keyword: "base-type",
        catalog: "pg_type",
        name: "typname",
        from: "JOIN pg_namespace n ON n.oid = o.typnamespace",
        namespace: Some("o.typnamespace"),
        filter: "o.typtype = 'b' AND NOT EXISTS (SELECT FROM pg_type e WHERE e.typarray = o.oid)",
    },
    Probe {
        keyword: "event-trigger",
        catalog: "pg_event_trigger",
        name: "quote_ident(o.evtname)",
        from: "",
        namespace: None,
        filter: "true",
    },
    Probe { keyword: "publication", catalog: "pg_publication", name: "quote_ident(o.pubname)", from: "", namespace: None, filter: "true" },
    Probe {
        keyword: "cast",
        catalog: "pg_cast",
        name: "format('%s -> %s', format_type(o.castsource, NULL), format_type(o.casttarget, NULL))",
        from: "",
        namespace: None,
        filter: CAST,
    },
    Probe {
        keyword: "transform",
        catalog: "pg_transform",
        name: "format_type(o.trftype, NULL)",
        from: "",
        namespace: None,
        filter: "o.oid >= 16384",
    },
    Probe {
        keyword: "language",
        catalog: "pg_language",
        name: "quote_ident(o.lanname)",
        from: "",
        namespace: None,
        filter: "o.oid >= 16384",
    },
    Probe {
        keyword: "access-method",
        catalog: "pg_am",
        name: "quote_ident(o.amname)",
        from: "",
        namespace: None,
        filter: "o.oid >= 16384",
    },
    Probe {
        keyword: "foreign-data-wrapper",
        catalog: "pg_foreign_data_wrapper",
        name: "quote_ident(o.fdwname)",
        from: "",
        namespace: None,
        filter: "true",
    },
    Probe { keyword: "server", catalog: "pg_foreign_server", name: "quote_ident(o.srvname)", from: "", namespace: None, filter: "true" },
    Probe {
        keyword: "default-privileges",
        catalog: "pg_default_acl",
        name: "format('for %s%s', pg_get_userbyid(o.defaclrole), COALESCE(' in ' || (SELECT nspname FROM pg_namespace WHERE oid = o.defaclnamespace), ''))",
        from: "",
        namespace: None,
        filter: "true",
    },
];

/// What PostgreSQL 18 brought of constraints that no kind knows: read as an ordinary one, it would be another.
fn constraints() -> Vec<String> {
    let found = |what: &str, from: &str, filter: &str| {
        format!(
            "SELECT '{what}', format('%I.%I.%I', n.nspname, c.relname, o.conname) FROM pg_constraint o JOIN pg_class c ON c.oid = o.conrelid \
             JOIN pg_namespace n ON n.oid = c.relnamespace {from} WHERE {filter} AND {} AND {}",
            in_user_schema("c.relnamespace"),
            not_extension_member("pg_class", "c.oid")
        )
    };
    let described = "JOIN pg_description d ON d.classoid = 'pg_constraint'::regclass AND d.objoid = o.oid";
    vec![
        found("not-enforced", "", "NOT o.conenforced AND o.conparentid = 0"),
        found("temporal-key", "", "o.conperiod AND o.conparentid = 0"),
        found("comment-on-not-null", described, "o.contype = 'n'"),
    ]
}

/// What hangs on an object that has a kind, and that the kind does not know of.
fn details() -> Vec<String> {
    let of_relation = |what: &str, name: &str, from: &str, filter: &str| {
        format!(
            "SELECT '{what}', {name} FROM {from} JOIN pg_namespace n ON n.oid = c.relnamespace WHERE ({filter}) AND {} AND {}",
            in_user_schema("c.relnamespace"),
            not_extension_member("pg_class", "c.oid")
        )
    };
    let relation = "format('%I.%I', n.nspname, c.relname)";
    let attribute = "format('%I.%I.%I', n.nspname, c.relname, a.attname)";
    let identity = "EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'i')";
    vec![
        of_relation(
            "view-default",
            attribute,
            "pg_attrdef o JOIN pg_class c ON c.oid = o.adrelid JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = o.adnum",
            "c.relkind = 'v'",
        ),
        of_relation(
            "materialized-view-column",
            attribute,
            "pg_class c JOIN pg_attribute a ON a.attrelid = c.oid JOIN pg_type t ON t.oid = a.atttypid",
            "c.relkind = 'm' AND a.attnum > 0 AND NOT a.attisdropped AND (a.attstattarget > 0 OR a.attstorage <> t.typstorage \
             OR a.attcompression <> '' OR EXISTS (SELECT FROM unnest(a.attoptions) x WHERE x NOT LIKE 'pg\\_%'))",
        ),
        of_relation(
            "comment-on-identity-sequence",
            relation,
            "pg_class c JOIN pg_description o ON o.classoid = 'pg_class'::regclass AND o.objoid = c.oid",
            &format!("c.relkind = 'S' AND {identity}"),
        ),
        of_relation(
            "trigger-of-partition",
            "format('%I.%I.%I', n.nspname, c.relname, o.tgname)",
            "pg_trigger o JOIN pg_trigger p ON p.oid = o.tgparentid JOIN pg_class c ON c.oid = o.tgrelid",
            "o.tgenabled <> p.tgenabled AND NOT o.tgisinternal",
        ),
        of_relation(
            "incomplete-index",
            relation,
            "pg_index o JOIN pg_class c ON c.oid = o.indexrelid",
            "c.relkind = 'I' AND NOT o.indisvalid",
        ),
        format!(
            "SELECT 'shell-type', format('%I.%I', n.nspname, o.typname) FROM pg_type o JOIN pg_namespace n ON n.oid = o.typnamespace \
             WHERE NOT o.typisdefined AND {} AND {}",
            in_user_schema("o.typnamespace"),
            not_extension_member("pg_type", "o.oid")
        ),
    ]
}

/// The query for everything that has no kind, on a server of this version.
pub fn sql(is_superuser: bool, server: u32) -> String {
    let mut parts: Vec<String> = PROBES
        .iter()
        .filter(|probe| registration(probe.keyword).is_none())
        .map(|probe| {
            let Probe { keyword, catalog, name, from, namespace, filter } = probe;
            let name = if name.contains(['(', '.']) { (*name).to_owned() } else { QUALIFIED.replace("{}", name) };
            let schema = namespace.map_or_else(String::new, |column| format!(" AND {}", in_user_schema(column)));
            format!(
                "SELECT '{keyword}', {name} FROM {catalog} o {from} WHERE ({filter}){schema} AND {}",
                not_extension_member(catalog, "o.oid")
            )
        })
        .collect();
    parts.extend(details());
    if server >= 180_000 {
        parts.extend(constraints());
    }
    let subscriptions = "SELECT 'subscription', quote_ident(subname) FROM pg_subscription WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let mut sql = parts.join(" UNION ALL ");
    // Only a superuser may read pg_subscription.
    if is_superuser {
        sql = format!("{sql} UNION ALL {subscriptions}");
    }
    sql
}

/// The names that it gives, sorted: `policy public.t.p`.
pub fn names(rows: &[tokio_postgres::Row]) -> BTreeSet<String> {
    rows.iter().map(|row| format!("{} {}", row.get::<_, &str>(0), row.get::<_, &str>(1))).collect()
}
