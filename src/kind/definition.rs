//! Parts of the definitions that `pg_get_triggerdef` and `pg_get_ruledef` give. They are deparsed,
//! so they hold no comments and no dollar quotes.

use crate::catalog::expr::unwrap_parens;

/// The condition in a definition by `pg_get_triggerdef`: `pg_get_expr` cannot name OLD and NEW.
#[must_use]
pub fn condition(definition: &str) -> Option<&str> {
    let open = unquoted(definition, |rest| rest.starts_with(" WHEN ("))? + " WHEN ".len();
    let mut depth = 0;
    let length = unquoted(&definition[open..], |rest| {
        depth += match rest.as_bytes()[0] {
            b'(' => 1,
            b')' => -1,
            _ => 0,
        };
        depth == 0
    })?;
    Some(unwrap_parens(&definition[open + 1..open + length]))
}

/// The first place outside quotes where `here` holds.
fn unquoted(text: &str, mut here: impl FnMut(&str) -> bool) -> Option<usize> {
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        if here(&text[at..]) {
            return Some(at);
        }
        if c == '\'' || c == '"' {
            let escapes = c == '\'' && text[..at].ends_with('E');
            loop {
                match chars.next()? {
                    (_, '\\') if escapes => drop(chars.next()),
                    (_, end) if end == c => break,
                    _ => {}
                }
            }
        }
    }
    None
}

/// The condition and the action in a definition by `pg_get_ruledef`. Names that are keywords are
/// quoted there, so that a bare WHERE or DO outside parentheses is the rule's own.
#[must_use]
pub fn rule_parts(definition: &str) -> (Option<String>, String) {
    let find = |text: &str, word: &str| {
        let mut depth = 0_i32;
        unquoted(text, |rest| {
            depth += match rest.as_bytes()[0] {
                b'(' => 1,
                b')' => -1,
                _ => 0,
            };
            depth == 0 && rest.strip_prefix(word).is_some_and(|rest| rest.starts_with(char::is_whitespace))
        })
    };
    let Some(at) = find(definition, " DO") else { return (None, definition.to_owned()) };
    let (head, action) = (&definition[..at], definition[at + " DO".len()..].trim());
    let action = action.strip_prefix("INSTEAD").map_or(action, str::trim);
    let action = action.strip_suffix(';').unwrap_or(action).trim();
    let condition = find(head, " WHERE").map(|at| unwrap_parens(head[at + " WHERE".len()..].trim()).to_owned());
    (condition, action.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_found_whatever_names_and_strings_hold() {
        for (definition, when) in [
            (
                "CREATE TRIGGER a BEFORE UPDATE ON s.t FOR EACH ROW WHEN ((old.* IS DISTINCT FROM new.*)) EXECUTE FUNCTION s.f()",
                "old.* IS DISTINCT FROM new.*",
            ),
            ("CREATE TRIGGER \"x WHEN (\" AFTER INSERT ON s.t FOR EACH ROW WHEN (new.b) EXECUTE FUNCTION s.f(') WHEN (')", "new.b"),
            ("CREATE TRIGGER a AFTER INSERT ON s.t FOR EACH ROW WHEN ((new.a = E'\\')')) EXECUTE FUNCTION s.f()", "new.a = E'\\')'"),
            (
                "CREATE TRIGGER a AFTER INSERT ON s.t FOR EACH ROW WHEN (((new.a > 0) OR (new.b = ')'::text))) EXECUTE FUNCTION s.f()",
                "(new.a > 0) OR (new.b = ')'::text)",
            ),
        ] {
            assert_eq!(condition(definition), Some(when));
        }
    }

    #[test]
    fn definitions_come_apart() {
        let definition = "CREATE RULE \" DO \" AS\n    ON UPDATE TO s.\" WHERE \"\n   WHERE (old.a IN ( SELECT 1 WHERE true)) DO INSTEAD ( INSERT INTO s.l VALUES (' DO ');\n DELETE FROM s.t;\n);";
        let (condition, action) = rule_parts(definition);
        assert_eq!(condition.as_deref(), Some("old.a IN ( SELECT 1 WHERE true)"));
        assert_eq!(action, "( INSERT INTO s.l VALUES (' DO ');\n DELETE FROM s.t;\n)");
        assert_eq!(rule_parts("CREATE RULE r AS\n    ON DELETE TO s.t DO NOTHING;"), (None, "NOTHING".to_owned()));
        assert_eq!(rule_parts("CREATE RULE r AS\n    ON DELETE TO s.t DO\n NOTIFY n;"), (None, "NOTIFY n".to_owned()));
    }
}
