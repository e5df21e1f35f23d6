//! The triggers that keep columns in step with those that take their place.

use super::group::{Group, New};
use crate::catalog::id::quote;
use crate::catalog::{Id, Ident};
use crate::kind::column::Column;
use crate::plan::draft::Context;
use crate::recipe::rename_column::MARKER;
use crate::recipe::{own_trigger, sync};

/// What keeps the two sides in step.
pub struct Sync {
    /// Statements that make it.
    pub make: Vec<String>,
    /// Statements that take it away.
    pub take: Vec<String>,
    /// Triggers and functions.
    pub helpers: Vec<Id>,
}

/// The new columns from the old ones.
fn forward(group: &Group<'_>) -> String {
    let values: Vec<(String, String)> = group.new.iter().map(|new| (quote(&new.column.name), format!("({})", new.value))).collect();
    format!("{};", sync::assign_all(group.table, &values))
}

/// The old columns from the new ones, as far as the author says how.
fn back(group: &Group<'_>) -> String {
    let values: Vec<(String, String)> =
        group.old.iter().filter_map(|old| Some((quote(&old.column.name), format!("({})", old.back.as_ref()?)))).collect();
    if values.is_empty() { "NULL;".to_owned() } else { format!("{};", sync::assign_all(group.table, &values)) }
}

/// Fills in what a client left out: the columns have no default of their own yet.
fn defaults<'g>(news: impl Iterator<Item = &'g New<'g>>) -> String {
    let lines = news.filter_map(|new| {
        let name = sync::field("NEW", &quote(&new.column.name));
        Some(format!("            {name} := COALESCE({name}, {});\n", new.default?.expression))
    });
    lines.collect()
}

/// The columns of the new row, or of the old one.
fn row(names: &[&Ident], of: &str) -> String {
    names.iter().map(|name| sync::field(of, &quote(name))).collect::<Vec<_>>().join(", ")
}

/// The triggers of a group.
///
/// The first computes the side that the client did not write. The table's own triggers come next; where one of them
/// changes what the client wrote, the last trigger computes the other side again, never the client's own.
pub fn triggers(cx: &Context<'_>, group: &Group<'_>) -> Sync {
    let table = group.table;
    let (forward, back) = (forward(group), back(group));
    let (old, new) = (group.old_names(), group.new_names());
    let changed = |names: &[&Ident]| sync::differ(&row(names, "NEW"), &row(names, "OLD"));
    let [first, last] = ["_sync_first", "_sync_last"].map(|suffix| sync::name(cx, table, new[0], suffix));
    let values = group.new.iter().flat_map(|new| [Some(new.value.as_str()), new.default.map(|default| default.expression.as_str())]);
    let said: Vec<&str> = values.chain(group.old.iter().map(|old| old.back.as_deref())).flatten().collect();
    let resolution = sync::resolution(&said);
    let columns: Vec<&Column> = group.new.iter().map(|new| new.column).chain(group.old.iter().map(|old| old.column)).collect();
    let settings = sync::settings(cx, table, &columns, &said);
    let between = own_trigger::changing(cx, table).next().is_some();
    // Triggers within triggers are a level deeper, so that they see their own. (A variable could be taken for a column.)
    let setting = |side: &str| format!("'schema.sync_{}_{side}_' || TG_RELID || '_' || pg_trigger_depth()", group.number);
    let value = |names: &[&Ident]| format!("ROW({})::text", row(names, "NEW"));
    let seen = |indent: &str, by_old: bool, by_new: bool| {
        let side = |name: &str, names: &[&Ident], wrote: bool| {
            format!("{indent}PERFORM set_config({}, {}, true);\n", setting(name), if wrote { value(names) } else { "''".to_owned() })
        };
        if between { side("old", &old, by_old) + &side("new", &new, by_new) } else { String::new() }
    };
    let (deep, flat) = (" ".repeat(12), " ".repeat(8));
    let nothing = if between { String::new() } else { format!("{flat}NULL;\n") };
    let untouched = if between { format!("    ELSE\n{}", seen(&flat, true, true)) } else { String::new() };
    let body = format!(
        "{resolution}BEGIN\n    IF current_setting('{MARKER}', true) = 'on' THEN\n{nothing}{both}    ELSIF TG_OP = 'INSERT' THEN\n        IF num_nonnulls({given}) > 0 THEN\n{all_defaults}{deep}{back}\n{new_deep}        ELSE\n{deep}{forward}\n{strict_defaults}{old_deep}        END IF;\n    ELSIF {new_changed} THEN\n{flat}{back}\n{new_flat}    ELSIF {old_changed} THEN\n{flat}{forward}\n{old_flat}{untouched}    END IF;\n    RETURN NEW;\nEND",
        both = seen(&flat, true, true),
        given = row(&new, "NEW"),
        all_defaults = defaults(group.new.iter()),
        strict_defaults = defaults(group.new.iter().filter(|new| new.column.not_null)),
        new_deep = seen(&deep, false, true),
        old_deep = seen(&deep, true, false),
        new_changed = changed(&new),
        old_changed = changed(&old),
        new_flat = seen(&flat, false, true),
        old_flat = seen(&flat, true, false),
    );
    let mut sync = Sync { make: Vec::new(), take: Vec::new(), helpers: Vec::new() };
    sync.add(sync::row_trigger(table, "!", &first, "INSERT OR UPDATE", &settings, &body));
    if between {
        let other = |side: &str, names: &[&Ident]| {
            format!("COALESCE(current_setting({0}, true), '') NOT IN ('', {1})", setting(side), value(names))
        };
        let body = format!(
            "{resolution}BEGIN\n    IF {} THEN\n{flat}{forward}\n    ELSIF {} THEN\n{flat}{back}\n    END IF;\n    RETURN NEW;\nEND",
            other("old", &old),
            other("new", &new)
        );
        sync.add(sync::row_trigger(table, "~", &last, "INSERT OR UPDATE", &settings, &body));
    }
    sync
}

impl Sync {
    fn add(&mut self, trigger: sync::RowTrigger) {
        self.make.extend(trigger.make);
        self.take.extend(trigger.take);
        self.helpers.extend(trigger.helpers);
    }
}
