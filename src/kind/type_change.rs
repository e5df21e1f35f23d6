//! From one type to another: what is known of it without a server.

use super::sql_type;

/// `value`, of type `old`, as one of type `new`. To a text type with a length it is assigned, so that a value which is too
/// long is refused; an explicit cast would cut it (manual, 8.3).
#[must_use]
pub fn converted(old: &str, new: &str, value: &str) -> String {
    let (from, to) = (sql_type::base(old), sql_type::base(new));
    let is_text = |base: &str| matches!(base, "text" | "character varying" | "character");
    if from == to || is_text(&from) && is_text(&to) && new.contains('(') { value.to_owned() } else { format!("{value}::{new}") }
}

/// Whether a change of type leaves the heap as it is (safe-changes.md, measured).
#[must_use]
pub fn keeps_heap(old: &str, new: &str) -> bool {
    let (old_base, new_base) = (sql_type::base(old), sql_type::base(new));
    let modifier = |text: &str| -> Option<Vec<i64>> {
        let inner = text.split_once('(')?.1.split_once(')')?.0;
        inner.split(',').map(|number| number.trim().parse().ok()).collect()
    };
    let (old_mod, new_mod) = (modifier(old), modifier(new));
    let grows = match (&old_mod, &new_mod) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(old), Some(new)) => old.len() == new.len() && old[0] <= new[0] && old[1..] == new[1..],
    };
    if old.ends_with("[]") != new.ends_with("[]") {
        return false;
    }
    match (old_base.as_str(), new_base.as_str()) {
        ("character varying" | "text", "text") => true,
        ("text", "character varying") => new_mod.is_none(),
        ("cidr", "inet") => true,
        (old, new) if old == new => {
            matches!(
                old,
                "character varying"
                    | "numeric"
                    | "bit varying"
                    | "interval"
                    | "timestamp without time zone"
                    | "timestamp with time zone"
                    | "time without time zone"
                    | "time with time zone"
            ) && grows
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::keeps_heap;

    #[test]
    fn types_that_keep_the_heap() {
        for (old, new, keeps) in [
            ("character varying(10)", "character varying(20)", true),
            ("character varying(20)", "character varying(10)", false),
            ("character varying(20)", "text", true),
            ("text", "character varying", true),
            ("text", "character varying(10)", false),
            ("numeric(5,2)", "numeric(9,2)", true),
            ("numeric(5,2)", "numeric(9,3)", false),
            ("numeric(5,2)", "numeric", true),
            ("integer", "bigint", false),
            ("cidr", "inet", true),
            ("inet", "cidr", false),
            ("timestamp(3) with time zone", "timestamp with time zone", true),
            ("jsonb", "json", false),
        ] {
            assert_eq!(keeps_heap(old, new), keeps, "{old} -> {new}");
        }
    }
}
