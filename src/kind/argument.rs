//! Arguments and result types of functions, procedures and aggregates.

use serde::{Deserialize, Serialize};

use super::{Lowering, Row, sql_type};
use crate::catalog::Ident;
use crate::catalog::expr::split_list;
use crate::catalog::id::quote;
use crate::kdl::{Node, NodeOut, ValueOut};

/// How an argument goes in or out (manual, CREATE FUNCTION).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// Goes in.
    In,
    /// Comes out.
    Out,
    /// Both.
    InOut,
    /// Takes all further values as an array.
    Variadic,
}

impl Mode {
    /// The node name in KDL and the mode, in no particular order.
    pub const WORDS: [(&'static str, Self); 4] =
        [("arg", Self::In), ("out", Self::Out), ("inout", Self::InOut), ("variadic", Self::Variadic)];

    fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, mode)| *mode == self).map_or("arg", |(word, _)| word)
    }

    const fn sql(self) -> &'static str {
        match self {
            Self::In => "",
            Self::Out => "OUT ",
            Self::InOut => "INOUT ",
            Self::Variadic => "VARIADIC ",
        }
    }

    /// Whether it is part of the routine's identity.
    #[must_use]
    pub const fn is_input(self) -> bool {
        !matches!(self, Self::Out)
    }

    /// Whether it is part of the result.
    #[must_use]
    pub const fn is_output(self) -> bool {
        matches!(self, Self::Out | Self::InOut)
    }
}

/// An argument.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Argument {
    /// In, out.
    pub mode: Mode,
    /// Its name, if it has one.
    pub name: Option<Ident>,
    /// Its type, without modifiers: PostgreSQL drops them (manual, CREATE FUNCTION, Notes).
    pub data_type: String,
    /// The expression for calls that leave it out.
    pub default: Option<String>,
}

impl Argument {
    /// Reads the nodes `arg`, `out`, `inout` and `variadic` in the order in which they stand.
    pub fn read_all(node: &mut Node<'_>, out: &mut Lowering) -> Vec<Self> {
        let mut nodes = Vec::new();
        for (word, mode) in Mode::WORDS {
            nodes.extend(node.children(word).into_iter().map(|child| (mode, child)));
        }
        nodes.sort_by_key(|(_, child)| child.span().start);
        nodes.into_iter().filter_map(|(mode, child)| Self::read(mode, child, out)).collect()
    }

    /// Reads `arg type` or `arg name type default=…`.
    pub fn read(mode: Mode, mut node: Node<'_>, out: &mut Lowering) -> Option<Self> {
        let first = node.arg("a type, or a name and a type", &mut out.findings);
        let second = node.opt_arg();
        let default = node.value("default", &mut out.findings);
        if let Some(default) = default.as_ref().filter(|_| mode == Mode::Out) {
            out.complain(default, "an `out` argument has no default", "remove it");
        }
        node.finish(&mut out.findings);
        let first = first?;
        let (name, data_type) = match second {
            Some(data_type) => (Some(Ident::new(&first.value)), data_type),
            None => (None, first),
        };
        Some(Self { mode, name, data_type: argument_type(&data_type.value), default: default.map(|text| text.value) })
    }

    /// Writes it as a child of its routine.
    pub fn write(&self, parent: &mut NodeOut) {
        self.write_as(self.mode.word(), parent);
    }

    /// Writes it as a child with another name than its mode's.
    pub fn write_as(&self, word: &str, parent: &mut NodeOut) {
        let Self { mode: _, name, data_type, default } = self;
        let mut node = NodeOut::new(word);
        if let Some(name) = name {
            node = node.arg(name.as_str());
        }
        node = node.arg(sql_type::display(data_type));
        if let Some(default) = default {
            node.set("default", ValueOut::sql(default));
        }
        parent.add(node);
    }

    /// As in the parentheses of CREATE FUNCTION.
    #[must_use]
    pub fn sql(&self) -> String {
        let Self { mode, name, data_type, default } = self;
        let name = name.as_ref().map(|name| format!("{} ", quote(name))).unwrap_or_default();
        let default = default.as_ref().map(|default| format!(" DEFAULT {default}")).unwrap_or_default();
        format!("{}{name}{data_type}{default}", mode.sql())
    }

    /// Columns of `pg_proc p`: names, modes, types and defaults of all arguments, as arrays.
    pub const COLUMNS: &'static str = "p.proargnames, p.proargmodes::text[], \
        ARRAY(SELECT format_type(u.t, NULL) FROM unnest(coalesce(p.proallargtypes, p.proargtypes::oid[])) WITH ORDINALITY u(t, i) ORDER BY u.i), \
        CASE WHEN p.pronargdefaults > 0 THEN ARRAY(SELECT pg_get_function_arg_default(p.oid, u.i::int) \
        FROM unnest(coalesce(p.proallargtypes, p.proargtypes::oid[])) WITH ORDINALITY u(t, i) ORDER BY u.i) END";

    /// Takes the columns of [`Self::COLUMNS`]: the arguments, and the columns of RETURNS TABLE.
    pub fn from_row(row: &mut Row<'_>) -> (Vec<Self>, Vec<(Ident, String)>) {
        let (names, modes, types, mut defaults) = (row.texts(), row.texts(), row.texts(), row.opt_texts());
        let (mut arguments, mut columns) = (Vec::new(), Vec::new());
        for (index, data_type) in types.into_iter().enumerate() {
            let name = names.get(index).filter(|name| !name.is_empty()).map(Ident::new);
            let mode = match modes.get(index).map(String::as_str) {
                Some("t") => {
                    columns.push((name.unwrap_or_default(), data_type));
                    continue;
                }
                Some("o") => Mode::Out,
                Some("b") => Mode::InOut,
                Some("v") => Mode::Variadic,
                _ => Mode::In,
            };
            let default = defaults.get_mut(index).and_then(Option::take);
            arguments.push(Self { mode, name, data_type, default });
        }
        (arguments, columns)
    }
}

/// The types that identify a routine among those of its name: `integer, text[]`.
#[must_use]
pub fn signature(arguments: &[Argument]) -> String {
    let inputs = arguments.iter().filter(|argument| argument.mode.is_input());
    inputs.map(|argument| argument.data_type.as_str()).collect::<Vec<_>>().join(", ")
}

/// Whether CREATE OR REPLACE keeps the calls of `old` valid in PostgreSQL's eyes: no input argument
/// loses its name or its default, the output is the same (manual, CREATE FUNCTION).
#[must_use]
pub fn replaceable(old: &[Argument], new: &[Argument]) -> bool {
    let defaults = |arguments: &[Argument]| arguments.iter().filter(|argument| argument.default.is_some()).count();
    let same = |(old, new): (&Argument, &Argument)| {
        let Argument { mode, name, data_type, default: _ } = new;
        let name_stays = *name == old.name || (old.name.is_none() && !mode.is_output());
        *mode == old.mode && name_stays && *data_type == old.data_type
    };
    old.len() == new.len() && old.iter().zip(new).all(same) && defaults(old) <= defaults(new)
}

/// A type of an argument or a result as `format_type` says it: without modifiers and with one pair
/// of brackets for an array, which is all that PostgreSQL keeps.
#[must_use]
pub fn argument_type(text: &str) -> String {
    let canonical = sql_type::canonical(text);
    let array = if canonical.ends_with("[]") { "[]" } else { "" };
    format!("{}{array}", sql_type::base(&canonical))
}

/// What a function gives back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Returns {
    /// One value.
    One(String),
    /// Rows of a type.
    SetOf(String),
    /// Rows of these columns.
    Table(Vec<(Ident, String)>),
}

impl Returns {
    /// Reads `int`, `SETOF app.pair` or `TABLE(id int, name text)`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let text = text.trim();
        let after = |word: &str| text.get(..word.len()).filter(|start| start.eq_ignore_ascii_case(word)).map(|_| text[word.len()..].trim());
        if let Some(data_type) = after("setof ") {
            return Self::SetOf(argument_type(data_type));
        }
        match after("table").and_then(|rest| rest.strip_prefix('(')?.strip_suffix(')')) {
            Some(columns) => Self::Table(split_list(columns).iter().map(|column| split_column(column)).collect()),
            None => Self::One(argument_type(text)),
        }
    }

    /// After RETURNS.
    #[must_use]
    pub fn sql(&self) -> String {
        self.spell(str::to_owned)
    }

    /// As KDL spells it.
    #[must_use]
    pub fn display(&self) -> String {
        self.spell(sql_type::display)
    }

    fn spell(&self, data_type: impl Fn(&str) -> String) -> String {
        match self {
            Self::One(one) => data_type(one),
            Self::SetOf(one) => format!("SETOF {}", data_type(one)),
            Self::Table(columns) => {
                let columns: Vec<String> = columns.iter().map(|(name, one)| format!("{} {}", quote(name), data_type(one))).collect();
                format!("TABLE({})", columns.join(", "))
            }
        }
    }

    /// Whether it gives rows.
    #[must_use]
    pub const fn is_set(&self) -> bool {
        !matches!(self, Self::One(_))
    }

    /// The types in it.
    pub fn type_names(&mut self) -> Vec<&mut String> {
        match self {
            Self::One(one) | Self::SetOf(one) => vec![one],
            Self::Table(columns) => columns.iter_mut().map(|(_, one)| one).collect(),
        }
    }
}

/// What the output arguments alone say; nothing where there are none.
#[must_use]
pub fn derived_result(arguments: &[Argument]) -> Option<String> {
    let mut outputs = arguments.iter().filter(|argument| argument.mode.is_output());
    let first = outputs.next()?;
    Some(if outputs.next().is_some() { "record".to_owned() } else { first.data_type.clone() })
}

/// `"Name" type` as SQL: an unquoted name is folded.
fn split_column(text: &str) -> (Ident, String) {
    if let Some(rest) = text.strip_prefix('"') {
        let mut end = 0;
        while let Some(quote) = rest[end..].find('"') {
            end += quote;
            if rest[end + 1..].starts_with('"') {
                end += 2;
            } else {
                return (Ident::from(rest[..end].replace("\"\"", "\"")), argument_type(&rest[end + 1..]));
            }
        }
    }
    let (name, data_type) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (Ident::from(name.to_lowercase()), argument_type(data_type))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_read_back() {
        for (written, sql) in [
            ("int", "integer"),
            ("SETOF app.pair", "SETOF app.pair"),
            ("setof int[]", "SETOF integer[]"),
            ("TABLE(id int, \"My \"\"Name\" varchar(5))", "TABLE(id integer, \"My \"\"Name\" character varying)"),
        ] {
            let returns = Returns::parse(written);
            assert_eq!(returns.sql(), sql);
            assert_eq!(Returns::parse(&returns.display()), returns);
        }
    }

    #[test]
    fn types_lose_what_postgresql_drops() {
        for (written, says) in [
            ("numeric(5,2)", "numeric"),
            ("char", "character"),
            ("varchar(3)[][]", "character varying[]"),
            ("timestamptz(3)", "timestamp with time zone"),
        ] {
            assert_eq!(argument_type(written), says);
        }
    }

    #[test]
    fn names_may_be_added_but_not_changed() {
        let argument = |mode, name: Option<&str>, default: Option<&str>| Argument {
            mode,
            name: name.map(Ident::new),
            data_type: "integer".to_owned(),
            default: default.map(str::to_owned),
        };
        let (bare, named, defaulted) =
            (argument(Mode::In, None, None), argument(Mode::In, Some("a"), None), argument(Mode::In, None, Some("1")));
        assert!(replaceable(std::slice::from_ref(&bare), std::slice::from_ref(&named)));
        assert!(!replaceable(std::slice::from_ref(&named), std::slice::from_ref(&bare)));
        assert!(replaceable(std::slice::from_ref(&bare), std::slice::from_ref(&defaulted)));
        assert!(!replaceable(std::slice::from_ref(&defaulted), std::slice::from_ref(&bare)));
        assert!(!replaceable(&[argument(Mode::Out, None, None)], &[argument(Mode::Out, Some("a"), None)]));
    }
}
