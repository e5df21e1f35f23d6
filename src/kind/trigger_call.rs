//! The call that a trigger makes: `app.touch('a', '1')`.

use serde::{Deserialize, Serialize};

use super::{Row, Scope};
use crate::catalog::expr::split_list;
use crate::catalog::id::{literal, quote};
use crate::catalog::{Id, Ident};

/// A trigger function and its arguments.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// The function: trigger functions take no declared arguments.
    pub function: Id,
    /// What it finds in `TG_ARGV`: always strings.
    pub arguments: Vec<String>,
}

/// Trigger functions of `pg_catalog` that people call without its name.
const BUILT_IN: &[&str] = &["suppress_redundant_updates_trigger", "tsvector_update_trigger", "tsvector_update_trigger_column"];

impl Call {
    /// Columns of `pg_proc p`, its `pg_namespace pn`, and the arguments: `tgargs` ends each with a
    /// zero byte and holds them in the encoding of the database.
    #[must_use]
    pub fn columns(arguments: &str) -> String {
        format!(
            "pn.nspname::text, p.proname::text, ARRAY(SELECT convert_from(decode(u.m[1], 'hex'), getdatabaseencoding()) \
             FROM regexp_matches(encode({arguments}, 'hex'), '((?:(?!00)..)*)00', 'g') WITH ORDINALITY u(m, i) ORDER BY u.i)"
        )
    }

    /// Takes the columns of [`Self::columns`].
    pub fn from_row(row: &mut Row<'_>) -> Self {
        Self { function: Self::function(row.name(), row.name()), arguments: row.texts() }
    }

    fn function(schema: Ident, name: Ident) -> Id {
        Id::new("function", [schema, name, Ident::default()])
    }

    /// Reads a call as SQL spells it; a name without a schema is looked up in the scope's.
    #[must_use]
    pub fn parse(text: &str, at: &Scope<'_>) -> Option<Self> {
        let text = text.trim();
        let (mut names, mut rest) = (Vec::new(), text);
        loop {
            let (name, after) = identifier(rest)?;
            names.push(name);
            rest = after.trim_start();
            match rest.strip_prefix('.') {
                Some(after) => rest = after.trim_start(),
                None => break,
            }
        }
        let arguments = match rest {
            "" => "",
            rest => rest.strip_prefix('(')?.strip_suffix(')')?.trim(),
        };
        let function = match &names[..] {
            [name] if BUILT_IN.contains(&name.as_str()) => Self::function("pg_catalog".into(), name.clone()),
            [name] => Self::function(Ident::new(at.schema), name.clone()),
            [schema, name] => Self::function(schema.clone(), name.clone()),
            _ => return None,
        };
        Some(Self { function, arguments: split_list(arguments).iter().map(|argument| string(argument)).collect() })
    }

    /// `app.touch('a', '1')`.
    #[must_use]
    pub fn sql(&self) -> String {
        let name: Vec<String> = self.function.path.iter().take(2).map(|name| quote(name)).collect();
        let arguments: Vec<String> = self.arguments.iter().map(|argument| literal(argument)).collect();
        format!("{}({})", name.join("."), arguments.join(", "))
    }
}

/// The identifier at the start of an SQL text, folded unless it is quoted, and what follows it.
#[must_use]
pub fn identifier(text: &str) -> Option<(Ident, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$')).unwrap_or(text.len());
        return (end > 0).then(|| (Ident::from(text[..end].to_lowercase()), &text[end..]));
    };
    let mut end = 0;
    loop {
        end += quoted[end..].find('"')?;
        if !quoted[end + 1..].starts_with('"') {
            return Some((Ident::from(quoted[..end].replace("\"\"", "\"")), &quoted[end + 1..]));
        }
        end += 2;
    }
}

/// What an argument is as a string: a literal without its quotes, a number or a word as it stands.
fn string(argument: &str) -> String {
    let inner = |text: &str, quote: char| text.strip_prefix(quote)?.strip_suffix(quote).map(str::to_owned);
    if let Some(text) = inner(argument, '\'') {
        return text.replace("''", "'");
    }
    if let Some(text) = argument.strip_prefix(['E', 'e']).and_then(|text| inner(text, '\'')) {
        // `literal` writes backslashes so.
        return text.replace("''", "'").replace("\\\\", "\\");
    }
    inner(argument, '"').map_or_else(|| argument.to_lowercase(), |text| text.replace("\"\"", "\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_read_back() {
        let at = Scope { parent: None, schema: "app" };
        for (written, sql) in [
            ("touch", "app.touch()"),
            ("touch('a', 1)", "app.touch('a', '1')"),
            ("\"My Schema\".\"F\"\"x\"('it''s, (so)')", "\"My Schema\".\"F\"\"x\"('it''s, (so)')"),
            ("Util.Touch(word)", "util.touch('word')"),
            ("tsvector_update_trigger('t', 'pg_catalog.english')", "pg_catalog.tsvector_update_trigger('t', 'pg_catalog.english')"),
            (r"touch(E'a\\b')", r"app.touch(E'a\\b')"),
        ] {
            let call = Call::parse(written, &at).expect("a call");
            assert_eq!(call.sql(), sql);
            assert_eq!(Call::parse(sql, &at), Some(call));
        }
        assert_eq!(Call::parse("touch(", &at), None);
        assert_eq!(Call::parse("a.b.c()", &at), None);
    }
}
