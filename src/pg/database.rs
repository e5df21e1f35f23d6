//! What a `CREATE DATABASE` may say.

use std::fmt::Write as _;

/// Where a database's collation comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocaleProvider {
    /// The operating system.
    Libc,
    /// ICU (PostgreSQL 15 and later).
    Icu,
    /// PostgreSQL itself (17 and later).
    Builtin,
}

/// How a database is to be made; what is `None` is as in the template.
#[derive(Debug, Clone, Default)]
pub struct DatabaseOptions {
    /// The database to copy. A different encoding or locale needs `template0`, which is then the default.
    pub template: Option<String>,
    /// `UTF8`, `LATIN1`, ….
    pub encoding: Option<String>,
    /// `LC_COLLATE`.
    pub collate: Option<String>,
    /// `LC_CTYPE`.
    pub ctype: Option<String>,
    /// Who collates.
    pub provider: Option<LocaleProvider>,
    /// The locale of the ICU or builtin provider.
    pub provider_locale: Option<String>,
}

impl DatabaseOptions {
    /// The statement for a server of version `major`.
    pub(super) fn statement(&self, name: &str, major: u32) -> String {
        let Self { template, encoding, collate, ctype, provider, provider_locale } = self;
        let mut sql = format!("CREATE DATABASE {}", quote_identifier(name));
        let mut add = |word: &str, value: &str| {
            // Writing to a String cannot fail.
            let _ = write!(sql, " {word} {value}");
        };
        let special = encoding.is_some() || collate.is_some() || ctype.is_some() || provider.is_some();
        match template {
            Some(template) => add("TEMPLATE", &quote_identifier(template)),
            None if special => add("TEMPLATE", "template0"),
            None => {}
        }
        for (word, value) in [("ENCODING", encoding), ("LC_COLLATE", collate), ("LC_CTYPE", ctype)] {
            if let Some(value) = value {
                add(word, &quote_literal(value));
            }
        }
        // Before 15 there is only libc, and no word for it.
        if let Some(provider) = provider.filter(|_| major >= 15) {
            let (word, locale) = match provider {
                LocaleProvider::Libc => ("libc", None),
                LocaleProvider::Icu => ("icu", Some("ICU_LOCALE")),
                LocaleProvider::Builtin => ("builtin", Some("BUILTIN_LOCALE")),
            };
            add("LOCALE_PROVIDER", word);
            if let (Some(word), Some(value)) = (locale, provider_locale) {
                add(word, &quote_literal(value));
            }
        }
        sql
    }
}

pub(super) fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn quote_literal(text: &str) -> String {
    let backslash = if text.contains('\\') { "E" } else { "" };
    format!("{backslash}'{}'", text.replace('\\', r"\\").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn create_database_statements() {
        let mut options = DatabaseOptions::default();
        assert_eq!(options.statement("a\"b", 15), "CREATE DATABASE \"a\"\"b\"");
        options.encoding = Some("LATIN1".to_owned());
        options.collate = Some("C".to_owned());
        options.provider = Some(LocaleProvider::Icu);
        options.provider_locale = Some("de-x-'".to_owned());
        let before = "CREATE DATABASE \"d\" TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C'";
        assert_eq!(options.statement("d", 14), before);
        assert_eq!(options.statement("d", 15), format!("{before} LOCALE_PROVIDER icu ICU_LOCALE 'de-x-'''"));
    }
}
