//! What views and materialized views have in common: options and the text of their query.

use super::{Lowering, Row, row, table};
use crate::kdl::{Finding, Node};

/// A `text[]` column: the parameters of the relation `c` and, prefixed, those of its TOAST table.
pub const OPTIONS: &str =
    "c.reloptions || ARRAY(SELECT 'toast.' || o FROM pg_class tc, unnest(tc.reloptions) o WHERE tc.oid = c.reltoastrelid)";

/// Takes a column of `name=value` entries, sorted by name: the order in which they were set means
/// nothing.
pub fn options(row: &mut Row<'_>) -> Vec<(String, String)> {
    let mut options = row::options(row.texts());
    options.sort();
    options
}

/// ` WITH (fillfactor=70)` for CREATE; empty where there are none.
#[must_use]
pub fn with_clause(options: &[(String, String)]) -> String {
    if options.is_empty() { String::new() } else { format!(" WITH ({})", table::options_sql(options)) }
}

/// Reads the `sql` of a view.
pub fn read(node: &mut Node<'_>, out: &mut Lowering) -> Option<String> {
    if let Some(text) = node.value("sql", &mut out.findings) {
        return Some(trimmed(&text.value));
    }
    let finding = Finding::at(node.title(), format!("`{}` needs its query", node.name()))
        .label("`sql` is missing in this")
        .help("write `sql \"SELECT …\"`");
    out.findings.push(finding);
    None
}

/// The query without what `pg_get_viewdef` puts around it: a space before, a semicolon behind.
#[must_use]
pub fn trimmed(text: &str) -> String {
    let text = text.trim();
    text.strip_suffix(';').map_or(text, str::trim_end).to_owned()
}
