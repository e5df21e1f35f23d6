//! SQL text that PostgreSQL deparsed, and how it is written down.

/// Takes one pair of parentheses off an expression when they enclose all of it.
///
/// `pg_get_expr` puts them around every operator expression. Every statement that we write puts its
/// own, so the text means the same with and without; nothing else about it is ever changed. The
/// parentheses of a subquery are its own and stay.
#[must_use]
pub fn unwrap_parens(text: &str) -> &str {
    if encloses(text) && !is_query(&text[1..text.len() - 1]) { &text[1..text.len() - 1] } else { text }
}

fn is_query(text: &str) -> bool {
    let word = text.trim_start().split(|c: char| !c.is_ascii_alphabetic()).next();
    matches!(word, Some("SELECT" | "WITH" | "VALUES"))
}

fn encloses(text: &str) -> bool {
    if !(text.starts_with('(') && text.ends_with(')')) {
        return false;
    }
    let (mut depth, mut chars) = (0_i32, text.char_indices());
    while let Some((at, c)) = chars.next() {
        match c {
            '(' => depth += 1,
            ')' => {
                depth -= 1;
                if depth == 0 && at + 1 < text.len() {
                    return false;
                }
            }
            // Deparsed text holds no comments and no dollar quotes. A backslash escapes only in E''.
            '\'' | '"' => {
                let escapes = c == '\'' && text[..at].ends_with('E');
                loop {
                    match chars.next() {
                        None => return false,
                        Some((_, '\\')) if escapes => {
                            chars.next();
                        }
                        Some((_, end)) if end == c => break,
                        Some(_) => {}
                    }
                }
            }
            _ => {}
        }
    }
    depth == 0
}

/// Takes a parenthesized part off the start of a text: `(a, ')') WHERE x` gives `a, ')'` and the
/// rest.
#[must_use]
pub fn take_parens(text: &str) -> Option<(&str, &str)> {
    let text = text.strip_prefix('(')?;
    let (mut depth, mut quote) = (1, None);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '(') => depth += 1,
            (None, ')') => {
                depth -= 1;
                if depth == 0 {
                    return Some((&text[..at], &text[at + 1..]));
                }
            }
            _ => {}
        }
    }
    None
}

/// Splits at commas that stand outside quotes, parentheses and brackets.
#[must_use]
pub fn split_list(text: &str) -> Vec<String> {
    let (mut parts, mut depth, mut quote, mut part) = (Vec::new(), 0_i32, None, String::new());
    for c in text.chars() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '(' | '[') => depth += 1,
            (None, ')' | ']') => depth -= 1,
            (None, ',') if depth == 0 => {
                parts.push(std::mem::take(&mut part).trim().to_owned());
                continue;
            }
            _ => {}
        }
        part.push(c);
    }
    if !part.trim().is_empty() || !parts.is_empty() {
        parts.push(part.trim().to_owned());
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parens_come_off_only_when_they_enclose_everything() {
        for (text, bare) in [
            ("(a > 0)", "a > 0"),
            ("((a > 0) AND (b > 0))", "(a > 0) AND (b > 0)"),
            ("(a > 0) AND (b > 0)", "(a > 0) AND (b > 0)"),
            ("(a = ')')", "a = ')'"),
            ("(a) || '('", "(a) || '('"),
            ("(a = E'\\')')", "a = E'\\')'"),
            ("(\"x)\" = 1)", "\"x)\" = 1"),
            ("f(a)", "f(a)"),
            ("( SELECT true)", "( SELECT true)"),
            ("(( SELECT true))", "( SELECT true)"),
        ] {
            assert_eq!(unwrap_parens(text), bare);
        }
    }

    #[test]
    fn lists_split_outside_quotes() {
        assert_eq!(split_list("a, 'b, c', f(d, e)"), ["a", "'b, c'", "f(d, e)"]);
        assert!(split_list("").is_empty());
    }
}
