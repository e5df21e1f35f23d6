//! What functions and procedures share: arguments, language, body, settings.

use serde::{Deserialize, Serialize};

use super::argument::{Argument, signature};
use super::{Lowering, Row, Scope, row, sql_type};
use crate::catalog::expr::split_list;
use crate::catalog::id::{literal, quote};
use crate::catalog::{Id, Ident};
use crate::kdl::{Finding, Node, NodeOut};
use crate::plan::op::Action;

/// What a routine does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Body {
    /// A text in its language, to the byte.
    Text(String),
    /// `RETURN …` or `BEGIN ATOMIC … END`, parsed when it is created (language sql).
    Atomic(String),
    /// A symbol of a shared library (language c).
    Library {
        /// The library: `$libdir/x`.
        file: String,
        /// The symbol in it.
        symbol: String,
    },
}

/// A function or a procedure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Routine {
    /// Its schema.
    pub schema: Ident,
    /// Its name.
    pub name: Ident,
    /// Its arguments, in order, without the columns of RETURNS TABLE.
    pub arguments: Vec<Argument>,
    /// The language.
    pub language: Ident,
    /// What it does.
    pub body: Body,
    /// Runs with the privileges of its owner.
    pub security_definer: bool,
    /// Settings for the time of a call, sorted by name; values as `pg_proc.proconfig` holds them.
    pub settings: Vec<(String, String)>,
    /// Types whose transforms are used.
    pub transforms: Vec<String>,
}

impl Routine {
    /// Columns of `pg_proc p`, `pg_namespace n` and `pg_language l`.
    #[must_use]
    pub fn columns() -> String {
        format!(
            "n.nspname::text, p.proname::text, {}, l.lanname::text, p.prosrc, p.probin, \
             CASE WHEN p.prosqlbody IS NOT NULL THEN pg_get_function_sqlbody(p.oid) END, p.prosecdef, p.proconfig, \
             ARRAY(SELECT format_type(u.t, NULL) FROM unnest(p.protrftypes) WITH ORDINALITY u(t, i) ORDER BY u.i)",
            Argument::COLUMNS
        )
    }

    /// The query's FROM and WHERE for routines of these `prokind`s.
    ///
    /// What depends internally on something else is made with it: the constructors of a range type.
    #[must_use]
    pub fn from_where(kinds: &str) -> String {
        format!(
            "FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang \
             WHERE p.prokind IN ({kinds}) AND {} AND {} \
             AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'i') \
             ORDER BY n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)",
            row::in_user_schema("p.pronamespace"),
            row::not_extension_member("pg_proc", "p.oid")
        )
    }

    /// Takes the columns of [`Self::columns`]; the columns of RETURNS TABLE come beside it.
    pub fn from_row(row: &mut Row<'_>) -> (Self, Vec<(Ident, String)>) {
        let (schema, name) = (row.name(), row.name());
        let (arguments, table) = Argument::from_row(row);
        let language = row.name();
        let (source, library, atomic) = (row.text(), row.opt_text(), row.opt_text());
        let body = match (atomic, library) {
            (Some(atomic), _) => Body::Atomic(atomic),
            (None, Some(file)) => Body::Library { file, symbol: source },
            (None, None) => Body::Text(source),
        };
        let security_definer = row.flag();
        let mut settings = row::options(row.texts());
        settings.sort();
        (Self { schema, name, arguments, language, body, security_definer, settings, transforms: row.texts() }, table)
    }

    /// Reads what is shared; the rest of the node is the caller's.
    pub fn read(node: &mut Node<'_>, at: &Scope<'_>, out: &mut Lowering) -> Option<Self> {
        let name = Ident::new(&node.arg("a name", &mut out.findings)?.value);
        let security_definer = node.flag("security-definer", &mut out.findings);
        let language = node.value("language", &mut out.findings);
        let body = Self::read_body(node, &name, out);
        let arguments = Argument::read_all(node, out);
        let settings = Self::read_settings(node, out);
        let transforms = node.values("transform", &mut out.findings).unwrap_or_default();
        let transforms = transforms.iter().map(|text| sql_type::canonical(&text.value)).collect();
        let language = match (language, &body) {
            (Some(language), _) => Ident::new(&language.value),
            (None, Some(Body::Atomic(_))) => Ident::new("sql"),
            (None, Some(Body::Library { .. })) => Ident::new("c"),
            (None, _) => {
                let finding = Finding::at(node.title(), format!("{} `{name}` needs a language", node.name()));
                out.findings.push(finding.help("write `language=sql` or `language=plpgsql`"));
                return None;
            }
        };
        Some(Self { schema: Ident::new(at.schema), name, arguments, language, body: body?, security_definer, settings, transforms })
    }

    fn read_body(node: &mut Node<'_>, name: &Ident, out: &mut Lowering) -> Option<Body> {
        let text = node.value("body", &mut out.findings).map(|text| Body::Text(text.value));
        let atomic = node.value("atomic", &mut out.findings).map(|text| Body::Atomic(text.value));
        let library = node.child("library", &mut out.findings).and_then(|mut library| {
            let file = library.arg("a file", &mut out.findings);
            let symbol = library.value("symbol", &mut out.findings).map_or_else(|| name.to_string(), |text| text.value);
            library.finish(&mut out.findings);
            Some(Body::Library { file: file?.value, symbol })
        });
        let mut bodies = text.into_iter().chain(atomic).chain(library);
        let body = bodies.next();
        let again = bodies.next().is_some();
        if body.is_none() {
            let finding = Finding::at(node.title(), format!("{} `{name}` has no body", node.name()));
            out.findings.push(finding.help(
                "add `body \"…\"`; or `atomic \"…\"` for SQL that PostgreSQL parses at once, or `library \"file\" symbol=name` for C",
            ));
        } else if again {
            let finding =
                Finding::at(node.title(), format!("{} `{name}` has more than one of `body`, `atomic` and `library`", node.name()));
            out.findings.push(finding.help("keep one of them"));
        }
        body
    }

    fn read_settings(node: &mut Node<'_>, out: &mut Lowering) -> Vec<(String, String)> {
        let mut settings: Vec<(String, String)> = Vec::new();
        for mut set in node.children("set") {
            for (name, value) in set.properties(&mut out.findings) {
                if settings.iter().any(|(earlier, _)| *earlier == name.value) {
                    out.complain(&name, format!("`{}` is set twice", name.value), "keep one of the two");
                    continue;
                }
                let empty = value.value.is_empty() && is_list(&name.value);
                settings.push((name.value, if empty { EMPTY_LIST.to_owned() } else { value.value }));
            }
            set.finish(&mut out.findings);
        }
        settings.sort();
        settings
    }

    /// Writes what stands in the header.
    pub fn write_header(&self, node: &mut NodeOut) {
        node.set("language", self.language.as_str());
        if self.security_definer {
            node.set("security-definer", true);
        }
    }

    /// Writes what stands in the block.
    pub fn write_block(&self, node: &mut NodeOut) {
        let Self { schema: _, name, arguments, language: _, body, security_definer: _, settings, transforms } = self;
        for argument in arguments {
            argument.write(node);
        }
        if !settings.is_empty() {
            let set = node.add(NodeOut::new("set"));
            for (name, value) in settings {
                set.set(name.as_str(), if value == EMPTY_LIST && is_list(name) { "" } else { value });
            }
        }
        if !transforms.is_empty() {
            node.add(transforms.iter().fold(NodeOut::new("transform"), |node, data_type| node.arg(sql_type::display(data_type))));
        }
        match body {
            Body::Text(text) => node.add(NodeOut::new("body").arg(text.as_str())),
            Body::Atomic(text) => node.add(NodeOut::new("atomic").arg(text.as_str())),
            Body::Library { file, symbol } => {
                let library = node.add(NodeOut::new("library").arg(file.as_str()));
                if *symbol != *name {
                    library.set("symbol", symbol.as_str());
                }
                library
            }
        };
    }

    /// The id as a routine of this kind.
    #[must_use]
    pub fn id(&self, kind: &str) -> Id {
        Id::new(kind, [self.schema.clone(), self.name.clone(), Ident::from(signature(&self.arguments))])
    }

    /// The types in it.
    pub fn type_names(&mut self) -> Vec<&mut String> {
        self.arguments.iter_mut().map(|argument| &mut argument.data_type).chain(&mut self.transforms).collect()
    }

    /// Its body and its arguments' defaults.
    #[must_use]
    pub fn texts(&self) -> Vec<&str> {
        let body = match &self.body {
            Body::Text(text) | Body::Atomic(text) => Some(text.as_str()),
            Body::Library { .. } => None,
        };
        self.arguments.iter().filter_map(|argument| argument.default.as_deref()).chain(body).collect()
    }

    /// CREATE with the clauses of the kind: `RETURNS …` before the language, `properties` behind it.
    #[must_use]
    pub fn create(&self, create: &str, returns: &str, properties: &str) -> String {
        let Self { schema, name, arguments, language, body, security_definer, settings, transforms } = self;
        let arguments: Vec<String> = arguments.iter().map(Argument::sql).collect();
        let mut sql = format!("{create} {}.{}({}){returns} LANGUAGE {}", quote(schema), quote(name), arguments.join(", "), quote(language));
        if !transforms.is_empty() {
            let types: Vec<String> = transforms.iter().map(|data_type| format!("FOR TYPE {data_type}")).collect();
            sql += &format!(" TRANSFORM {}", types.join(", "));
        }
        sql += properties;
        if *security_definer {
            sql += " SECURITY DEFINER";
        }
        for (name, value) in settings {
            sql += &format!(" SET {} TO {}", setting_name(name), setting_value(name, value));
        }
        sql + &match body {
            Body::Text(text) => format!(" AS {}", dollar_quoted(text)),
            Body::Atomic(text) => format!("\n{text}"),
            Body::Library { file, symbol } => format!(" AS {}, {}", literal(file), literal(symbol)),
        }
    }
}

/// `schema.name(types)` of a routine's id.
#[must_use]
pub fn call(id: &Id) -> String {
    match &id.path[..] {
        [schema, name, types] => format!("{}.{}({types})", quote(schema), quote(name)),
        _ => id.sql(),
    }
}

/// A new name, a new schema or both for a routine; its arguments stay.
#[must_use]
pub fn rename(word: &str, call: impl Fn(&Id) -> String, old: &Id, new: &Id) -> Option<Action> {
    let ([old_schema, old_name, old_types], [schema, name, types]) = (&old.path[..], &new.path[..]) else { return None };
    if old_types != types {
        return None;
    }
    let mut action = Action::new(format!("Rename {old} to {new}"));
    let moved = Id::new(&old.kind, [schema.clone(), old_name.clone(), types.clone()]);
    if old_schema != schema {
        action = action.sql(format!("ALTER {word} {} SET SCHEMA {}", call(old), quote(schema)));
    }
    if old_name != name {
        action = action.sql(format!("ALTER {word} {} RENAME TO {}", call(&moved), quote(name)));
    }
    Some(action)
}

/// The text between dollar quotes whose tag does not occur in it.
#[must_use]
pub fn dollar_quoted(text: &str) -> String {
    // A `$` at the end of the text and the closing tag would be read together.
    let mut tag = if text.contains('$') { "$body".to_owned() } else { "$".to_owned() };
    let mut count = 0;
    while tag != "$" && text.contains(&tag) {
        count += 1;
        tag = format!("$body{count}");
    }
    if tag == "$" { format!("$${text}$$") } else { format!("{tag}${text}{tag}$") }
}

/// The settings whose value is a list of quoted names (`GUC_LIST_QUOTE` in `src/backend/utils/misc`),
/// which may not be quoted once more.
const LISTS: &[&str] = &[
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
];

/// How `pg_proc.proconfig` holds the empty list.
const EMPTY_LIST: &str = "\"\"";

fn is_list(name: &str) -> bool {
    LISTS.iter().any(|list| name.eq_ignore_ascii_case(list))
}

/// A setting's name: the names of extensions' settings hold a dot.
fn setting_name(name: &str) -> String {
    name.split('.').map(quote).collect::<Vec<_>>().join(".")
}

fn setting_value(name: &str, value: &str) -> String {
    if !is_list(name) {
        return literal(value);
    }
    let part = |part: &String| match part.strip_prefix('"').and_then(|part| part.strip_suffix('"')) {
        Some(quoted) => literal(&quoted.replace("\"\"", "\"")),
        None => literal(part.strip_prefix('\'').and_then(|part| part.strip_suffix('\'')).unwrap_or(part)),
    };
    let parts: Vec<String> = split_list(value).iter().map(part).collect();
    if parts.is_empty() { "''".to_owned() } else { parts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_does_not_occur_in_the_text() {
        for (text, quoted) in [
            ("SELECT 1", "$$SELECT 1$$"),
            ("SELECT $1", "$body$SELECT $1$body$"),
            ("$body$ $$", "$body1$$body$ $$$body1$"),
            ("ends with $body", "$body1$ends with $body$body1$"),
        ] {
            assert_eq!(dollar_quoted(text), quoted);
        }
    }

    #[test]
    fn lists_of_names_are_quoted_one_by_one() {
        assert_eq!(setting_value("search_path", "\"$user\", app"), "'$user', 'app'");
        assert_eq!(setting_value("search_path", "\"\""), "''");
        assert_eq!(setting_value("work_mem", "64MB"), "'64MB'");
        assert_eq!(setting_name("app.User"), "app.\"User\"");
    }
}
