//! The triggers that keep the two forms of a table in step, whichever of them clients write to.
//!
//! They bring no change over but a row: what stands under a key in the table that was written to is what stands under it
//! in the other afterwards. So neither the order of triggers nor what the table's own ones write besides can bring the
//! two out of step. They are named to sort before those, and fire in every session (an origin-only trigger is skipped by
//! logical apply, measured); they act as who applies the plan, for clients have no rights on the other form.

use super::tree::{Keys, Tree};
use crate::catalog::id::{derived_name, literal, quote, quoted_list};
use crate::catalog::{Id, Ident};
use crate::recipe::backfill::search_path;
use crate::recipe::sync::{differ, field};

/// Which form clients write to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// The old one, until the switch.
    Old,
    /// The new one, from then on.
    New,
}

/// Triggers with their function.
#[derive(Debug)]
pub(super) struct Sync {
    pub(super) make: Vec<String>,
    pub(super) take: Vec<String>,
    pub(super) helpers: Vec<Id>,
}

impl Sync {
    /// On the form that clients write to, for the other one.
    pub(super) fn of(tree: &Tree<'_>, keys: &Keys, side: Side) -> Self {
        let root = &tree.root;
        let (suffix, schema, relations) = match side {
            Side::Old => ("_divide", tree.schema_new(), &tree.old),
            Side::New => ("_divide_back", tree.schema_old(), &tree.new),
        };
        let name = derived_name(root.name(), suffix);
        let function = format!("{}.{}", quote(&schema), quote(&name));
        let trigger = format!("!{name}");
        let mut sync = Self {
            make: vec![format!(
                "CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = {}, pg_temp AS $sync$\n{}\n$sync$",
                search_path(root),
                body(tree, keys, side)
            )],
            take: Vec::new(),
            helpers: vec![Id::new("function", [schema.as_str(), name.as_str(), ""])],
        };
        let mut add = |table: &Id, trigger: &str, events: &str, each: &str, arguments: &str| {
            let (name, on) = (quote(trigger), table.sql());
            sync.make
                .push(format!("CREATE TRIGGER {name} AFTER {events} ON {on} FOR EACH {each} EXECUTE FUNCTION {function}({arguments})"));
            sync.make.push(format!("ALTER TABLE {on} ENABLE ALWAYS TRIGGER {name}"));
            sync.take.push(format!("DROP TRIGGER {name} ON {on}"));
            sync.helpers.push(table.child("trigger", trigger));
        };
        add(root, &trigger, "INSERT OR UPDATE OR DELETE", "ROW", "");
        for table in relations {
            let arguments = if table == root { "" } else { "'part'" };
            add(table, &format!("!{}", derived_name(&name, "_truncate")), "TRUNCATE", "STATEMENT", arguments);
        }
        sync.take.push(format!("DROP FUNCTION {function}()"));
        sync
    }
}

/// `a.id = b.id AND …`.
fn same(key: &[Ident], a: &str, b: &str) -> String {
    key.iter().map(|name| format!("{} = {}", field(a, &quote(name)), field(b, &quote(name)))).collect::<Vec<_>>().join(" AND ")
}

fn body(tree: &Tree<'_>, keys: &Keys, side: Side) -> String {
    let own = tree.root.sql();
    let (other, unique) = match side {
        Side::Old => (tree.made(&tree.root).sql(), &keys.new),
        Side::New => (tree.aside(&tree.root).sql(), &keys.old),
    };
    // The new key holds the old one's columns: by it rows are told apart on both sides.
    let key = &keys.new;
    let copied = tree.copied();
    let list = quoted_list(&copied);
    let values = copied.iter().map(|name| field("OLD", &quote(name))).collect::<Vec<_>>().join(", ");
    let moved = {
        let row = |alias: &str| key.iter().map(|name| field(alias, &quote(name))).collect::<Vec<_>>().join(", ");
        differ(&row("OLD"), &row("NEW"))
    };
    let delete = |indent: &str| {
        format!(
            "{indent}DELETE FROM {other} AS other WHERE {}\n{indent}    AND NOT EXISTS (SELECT FROM {own} AS own WHERE {});\n",
            same(key, "other", "OLD"),
            same(key, "own", "OLD")
        )
    };
    // A row that was copied behind the snapshot of a REPEATABLE READ transaction is not seen by it: it would stay. The
    // unique key sees it, and the transaction fails as one that has to be tried again.
    let unseen = match side {
        Side::Old => format!(
            "        IF NOT FOUND AND current_setting('transaction_isolation') <> 'read committed' THEN\n            \
             INSERT INTO {other} ({list}) OVERRIDING SYSTEM VALUE VALUES ({values}) ON CONFLICT ({}) DO NOTHING;\n{}        END IF;\n",
            quoted_list(unique),
            delete("            ")
        ),
        Side::New => String::new(),
    };
    // TRUNCATE … CASCADE of a table that both refer to has emptied the other one in the same statement, and that cannot be
    // truncated once more while its own triggers wait (measured). A snapshot may be older than rows that are there.
    let truncate = format!(
        "IF current_setting('transaction_isolation') <> 'read committed' OR EXISTS (SELECT FROM {other}) THEN\n                \
         TRUNCATE {other};\n            END IF;"
    );
    format!(
        "#variable_conflict use_column\nBEGIN\n    IF TG_OP = 'TRUNCATE' THEN\n        IF TG_NARGS = 0 THEN\n            {truncate}\n        ELSE\n            \
         DELETE FROM {other} AS other WHERE NOT EXISTS (SELECT FROM {own} AS own WHERE {});\n        END IF;\n        RETURN NULL;\n    END IF;\n    \
         IF TG_OP = 'DELETE' OR TG_OP = 'UPDATE' AND {moved} THEN\n{}{unseen}    END IF;\n    IF TG_OP <> 'DELETE' THEN\n{}    END IF;\n    RETURN NULL;\nEND",
        same(key, "own", "other"),
        delete("        "),
        upsert(tree, key, unique, &own, &other)
    )
}

/// Brings the row under the key of the new row over.
fn upsert(tree: &Tree<'_>, key: &[Ident], unique: &[Ident], own: &str, other: &str) -> String {
    let copied = tree.copied();
    let list = quoted_list(&copied);
    let settable = tree
        .columns
        .iter()
        .filter(|column| column.generated.is_none() && !column.identity.as_ref().is_some_and(|identity| identity.always));
    let set = settable.map(|column| format!("{0} = EXCLUDED.{0}", quote(&column.name))).collect::<Vec<_>>().join(", ");
    let action = if set.is_empty() { "DO NOTHING".to_owned() } else { format!("DO UPDATE SET {set}") };
    let insert = format!(
        "        INSERT INTO {other} AS other ({list}) OVERRIDING SYSTEM VALUE\n            SELECT {list} FROM {own} AS own WHERE {}\n            \
         ON CONFLICT ({}) {action}",
        same(key, "own", "NEW"),
        quoted_list(unique)
    );
    if unique == key || set.is_empty() {
        return format!("{insert};\n");
    }
    // The old form has one row of this key. Another row of the new form that is it must not be written over: two
    // rows would be one when the switch is undone.
    let message = literal(&format!("{}: the form that it had holds one row of each {}", tree.root, unique.join(", ")));
    format!(
        "{insert}\n            WHERE {} OR NOT EXISTS (SELECT FROM {own} AS own WHERE {});\n        \
         IF NOT FOUND AND EXISTS (SELECT FROM {own} AS own WHERE {}) THEN\n            \
         RAISE EXCEPTION USING ERRCODE = 'unique_violation', MESSAGE = {message}, HINT = 'it goes with the contract stage of the plan';\n        END IF;\n",
        same(key, "other", "EXCLUDED"),
        same(key, "own", "other"),
        same(key, "own", "NEW")
    )
}
