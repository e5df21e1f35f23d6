//! A collation: `collation german provider=icu locale=de-u-co-phonebk deterministic=#false`.
//!
//! Facts: manual, CREATE COLLATION and catalog `pg_collation`, whose columns for the locale differ
//! between 14, 15 and 17.

use serde::{Deserialize, Serialize};

use super::{Kind, Lowering, Row, Scope, row, schema::Schema};
use crate::catalog::id::literal;
use crate::catalog::{Id, Ident};
use crate::kdl::{Finding, Node, NodeOut};
use crate::plan::op::{Action, Alteration};

/// The providers with their `collprovider`, CREATE COLLATION's default first.
const PROVIDERS: [(&str, &str); 3] = [("libc", "c"), ("icu", "i"), ("builtin", "b")];

/// How texts are ordered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Collation {
    /// Its schema.
    pub schema: Ident,
    /// Its name.
    pub name: Ident,
    /// `libc`, `icu` or `builtin`.
    pub provider: String,
    /// The locale; of libc that of the order.
    pub locale: String,
    /// The locale of the character classes, where libc has another one for them.
    pub ctype: Option<String>,
    /// Whether texts of different bytes always differ.
    pub deterministic: bool,
    /// Rules besides the locale's (ICU, PostgreSQL 16).
    pub rules: Option<String>,
}

impl Kind for Collation {
    const KEYWORD: &'static str = "collation";
    const CATALOG: &'static str = "pg_collation";
    const PARENTS: &'static [&'static str] = &["schema"];
    cast_to!(Collation);

    fn query(server: u32) -> Option<String> {
        let locale = match server {
            170_000.. => "coalesce(c.colllocale, c.collcollate)",
            150_000.. => "coalesce(c.colliculocale, c.collcollate)",
            _ => "c.collcollate",
        };
        let rules = if server >= 160_000 { "c.collicurules::text" } else { "NULL::text" };
        Some(format!(
            "SELECT c.oid::int8, 0::int8, n.nspname::text, c.collname::text, c.collprovider::text, coalesce({locale}, '')::text, \
             CASE WHEN c.collprovider = 'c' THEN nullif(c.collctype, c.collcollate)::text END, c.collisdeterministic, {rules} \
             FROM pg_collation c JOIN pg_namespace n ON n.oid = c.collnamespace WHERE {} AND {} ORDER BY n.nspname, c.collname",
            row::in_user_schema("c.collnamespace"),
            row::not_extension_member("pg_collation", "c.oid")
        ))
    }

    fn from_row(row: &mut Row<'_>) -> Self {
        let (schema, name, code) = (row.name(), row.name(), row.text());
        let provider = PROVIDERS.iter().find(|(_, one)| *one == code).map_or(code.as_str(), |(word, _)| *word).to_owned();
        Self { schema, name, provider, locale: row.text(), ctype: row.opt_text(), deterministic: row.flag(), rules: row.opt_text() }
    }

    fn read(node: &mut Node<'_>, at: &Scope<'_>, out: &mut Lowering) -> Option<Id> {
        let name = node.arg("a name", &mut out.findings)?;
        let provider = node.word("provider", &PROVIDERS.map(|(word, _)| word), &mut out.findings);
        let locale = node.value("locale", &mut out.findings);
        let ctype = node.value("ctype", &mut out.findings).map(|text| text.value);
        let deterministic = node.opt_flag("deterministic", &mut out.findings).unwrap_or(true);
        let rules = node.value("rules", &mut out.findings).map(|text| text.value);
        let Some(locale) = locale else {
            let finding = Finding::at(node.span(), format!("collation `{}` needs a locale", name.value));
            out.findings.push(finding.help("for example: `provider=icu locale=de-DE`"));
            return None;
        };
        let collation = Self {
            schema: Ident::new(at.schema),
            name: Ident::new(&name.value),
            provider: provider.map_or_else(|| PROVIDERS[0].0.to_owned(), |word| word.value),
            ctype: ctype.filter(|ctype| *ctype != locale.value),
            locale: locale.value,
            deterministic,
            rules,
        };
        Some(out.put(node, collation))
    }

    fn write<'n>(&self, parent: &'n mut NodeOut) -> &'n mut NodeOut {
        let Self { schema: _, name, provider, locale, ctype, deterministic, rules } = self;
        let mut node = NodeOut::new("collation").arg(name.as_str());
        if provider != PROVIDERS[0].0 {
            node.set("provider", provider.as_str());
        }
        node.set("locale", locale.as_str());
        for (word, value) in [("ctype", ctype), ("rules", rules)] {
            if let Some(value) = value {
                node.set(word, value.as_str());
            }
        }
        if !deterministic {
            node.set("deterministic", false);
        }
        parent.add(node)
    }

    fn id(&self) -> Id {
        Id::new(Self::KEYWORD, [self.schema.clone(), self.name.clone()])
    }

    fn parent(&self) -> Option<Id> {
        Some(Schema::id_of(&self.schema))
    }

    fn create(&self) -> Action {
        let Self { schema: _, name: _, provider, locale, ctype, deterministic, rules } = self;
        let mut options = vec![format!("provider = {provider}")];
        match ctype {
            Some(ctype) => options.extend([format!("lc_collate = {}", literal(locale)), format!("lc_ctype = {}", literal(ctype))]),
            None => options.push(format!("locale = {}", literal(locale))),
        }
        if !deterministic {
            options.push("deterministic = false".to_owned());
        }
        options.extend(rules.iter().map(|rules| format!("rules = {}", literal(rules))));
        Action::new(format!("Create {}", self.id())).sql(format!("CREATE COLLATION {} ({})", self.id().sql(), options.join(", ")))
    }

    fn drop(&self) -> Action {
        Action::new(format!("Drop {}", self.id())).sql(format!("DROP COLLATION {}", self.id().sql()))
    }

    /// ALTER COLLATION changes nothing but names, owners and the recorded version.
    fn alter(_old: &Self, new: &Self) -> Alteration {
        let Self { schema: _, name: _, provider: _, locale: _, ctype: _, deterministic: _, rules: _ } = new;
        Alteration::Replace
    }

    fn rename(old: &Id, new: &Id) -> Option<Action> {
        Some(super::table::rename_in_schema("COLLATION", old, new))
    }
}

#[cfg(test)]
mod tests {
    use super::super::round_trip::created;
    use super::*;

    #[test]
    fn the_forms_of_the_language() {
        let parent = Some(Schema::id_of("app"));
        for (kdl, sql) in [
            ("collation german provider=icu locale=de-u-co-phonebk deterministic=#false", &["CREATE COLLATION app.german (provider = icu, locale = 'de-u-co-phonebk', deterministic = false)"][..]),
            ("collation c locale=C ctype=C.UTF-8", &["CREATE COLLATION app.c (provider = libc, lc_collate = 'C', lc_ctype = 'C.UTF-8')"][..]),
        ] {
            assert_eq!(created::<Collation>(kdl, parent.as_ref()), sql);
        }
    }
}
