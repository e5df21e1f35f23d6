//! The triggers that keep columns in step with those that take their place.

use super::group::{Group, New};
use crate::catalog::Id;
use crate::catalog::id::{derived_name, quote};
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
    /// The statements that let the new columns win, and the old ones again, among the table's own triggers.
    pub turn: Option<(String, String)>,
}

/// The new columns from the old ones.
fn forward(group: &Group<'_>) -> String {
    let values: Vec<(String, String)> = group.new.iter().map(|new| (quote(&new.column.name), format!("({})", new.value))).collect();
    format!("{};", sync::assign_all(group.table, &values))
}

/// The old columns from the new ones, as far as the author says how.
fn back(group: &Group<'_>) -> String {
    let values: Vec<(String, String)> =
        group.old.iter().filter_map(|old| Some((quote(&old.column.name), format!("({})", old.back?)))).collect();
    if values.is_empty() { "NULL;".to_owned() } else { format!("{};", sync::assign_all(group.table, &values)) }
}

/// Fills in what a client left out: the columns have no default of their own yet.
fn defaults<'g>(news: impl Iterator<Item = &'g New<'g>>) -> String {
    let lines = news.filter_map(|new| {
        let name = quote(&new.column.name);
        Some(format!("            NEW.{name} := COALESCE(NEW.{name}, {});\n", new.default?.expression))
    });
    lines.collect()
}

/// The columns of the new row, or of the old one.
fn row(names: &[&crate::catalog::Ident], of: &str) -> String {
    names.iter().map(|name| format!("{of}.{}", quote(name))).collect::<Vec<_>>().join(", ")
}

/// The triggers of a group.
pub fn triggers(cx: &Context<'_>, group: &Group<'_>) -> Sync {
    let table = group.table;
    let (forward, back) = (forward(group), back(group));
    let (old, new) = (group.old_names(), group.new_names());
    let changed = |names: &[&crate::catalog::Ident]| sync::differ(&row(names, "NEW"), &row(names, "OLD"));
    let base = format!("{}_{}", table.name(), new[0]);
    let (first, last) = (derived_name(&base, "_sync_first"), derived_name(&base, "_sync_last"));
    let between = own_trigger::changing(cx, table).next().is_some();
    // The table's own triggers come next, and may change a side: the last trigger finds out by what this one saw. Triggers
    // within triggers are a level deeper, so that they see their own.
    let setting = |side: &str| format!("'schema.sync_{side}_' || TG_RELID || '_' || pg_trigger_depth()");
    let value = |names: &[&crate::catalog::Ident]| format!("ROW({})::text", row(names, "NEW"));
    let remember = if between {
        format!(
            "    PERFORM set_config({}, {}, true), set_config({}, {}, true);\n",
            setting(&format!("{}_old", group.number)),
            value(&old),
            setting(&format!("{}_new", group.number)),
            value(&new)
        )
    } else {
        String::new()
    };
    let body = format!(
        "BEGIN\n    IF current_setting('{MARKER}', true) = 'on' THEN\n        NULL;\n    ELSIF TG_OP = 'INSERT' THEN\n        IF num_nonnulls({}) > 0 THEN\n{}            {back}\n        ELSE\n            {forward}\n{}        END IF;\n    ELSIF {} THEN\n        {back}\n    ELSIF {} THEN\n        {forward}\n    END IF;\n{remember}    RETURN NEW;\nEND",
        row(&new, "NEW"),
        defaults(group.new.iter()),
        defaults(group.new.iter().filter(|new| new.column.not_null)),
        changed(&new),
        changed(&old),
    );
    let mut sync = Sync { make: Vec::new(), take: Vec::new(), helpers: Vec::new(), turn: None };
    sync.add(sync::row_trigger(table, "!", &first, "INSERT OR UPDATE", &body));
    if between {
        let last_body = |side: &str, names: &[&crate::catalog::Ident], assign: &str| {
            format!(
                "BEGIN\n    IF current_setting({}, true) IS DISTINCT FROM {} THEN\n        {assign}\n    END IF;\n    RETURN NEW;\nEND",
                setting(&format!("{}_{side}", group.number)),
                value(names)
            )
        };
        let (olds, news) = (last_body("old", &old, &forward), last_body("new", &new, &back));
        sync.add(sync::row_trigger(table, "~", &last, "INSERT OR UPDATE", &olds));
        let replace = |body: &str| format!("CREATE OR REPLACE {}", sync::function(table, &last, body));
        sync.turn = Some((replace(&news), replace(&olds)));
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
