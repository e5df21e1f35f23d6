//! A cast: `cast "app.pair" text function="app.pair_text(app.pair)" as=assignment`.
//!
//! Facts: manual, CREATE CAST and catalog `pg_cast`.

use serde::{Deserialize, Serialize};

use super::argument::argument_type;
use super::{Kind, Lowering, Row, Scope, row, sql_type};
use crate::catalog::{Id, Ident};
use crate::kdl::{Finding, Node, NodeOut};
use crate::plan::op::{Action, Alteration, Hazard};

/// Where the cast applies, with `castcontext`: the first only where it is written out.
const CONTEXTS: [(&str, &str, &str); 3] = [("explicit", "e", ""), ("assignment", "a", " AS ASSIGNMENT"), ("implicit", "i", " AS IMPLICIT")];

/// How the value is converted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Method {
    /// By a function with its argument types: `app.pair_text(app.pair)`.
    Function(String),
    /// By the output function of the one and the input function of the other type.
    InOut,
    /// Not at all: the bytes mean the same.
    Binary,
}

/// How a value of one type becomes one of another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cast {
    /// The type it has.
    pub source: String,
    /// The type it gets.
    pub target: String,
    /// How.
    pub method: Method,
    /// `explicit`, `assignment` or `implicit`.
    pub context: String,
}

impl Kind for Cast {
    const KEYWORD: &'static str = "cast";
    const CATALOG: &'static str = "pg_cast";
    const PARENTS: &'static [&'static str] = &[""];
    cast_to!(Cast);

    /// Casts belong to no schema: PostgreSQL's own have OIDs below 16384, and those of a range to
    /// its multirange come with the type.
    fn query(_server: u32) -> Option<String> {
        Some(format!(
            "SELECT c.oid::int8, 0::int8, format_type(c.castsource, NULL), format_type(c.casttarget, NULL), c.castmethod::text, \
             nullif(c.castfunc, 0)::regprocedure::text, c.castcontext::text FROM pg_cast c WHERE c.oid >= 16384 AND {} \
             AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_cast'::regclass AND d.objid = c.oid AND d.deptype = 'i') \
             ORDER BY 3, 4",
            row::not_extension_member("pg_cast", "c.oid")
        ))
    }

    fn from_row(row: &mut Row<'_>) -> Self {
        let (source, target) = (row.text(), row.text());
        let method = match (row.text().as_str(), row.opt_text()) {
            ("f", Some(function)) => Method::Function(function),
            ("i", _) => Method::InOut,
            _ => Method::Binary,
        };
        let code = row.text();
        let context = CONTEXTS.iter().find(|(_, one, _)| *one == code).map_or(code.as_str(), |(word, ..)| *word).to_owned();
        Self { source, target, method, context }
    }

    fn read(node: &mut Node<'_>, _at: &Scope<'_>, out: &mut Lowering) -> Option<Id> {
        let source = node.arg("the type that is cast", &mut out.findings)?;
        let target = node.arg("the type that it becomes", &mut out.findings)?;
        let function = node.value("function", &mut out.findings).map(|text| Method::Function(text.value));
        let in_out = node.flag("inout", &mut out.findings).then_some(Method::InOut);
        let binary = node.flag("without-function", &mut out.findings).then_some(Method::Binary);
        let context = node.word("as", &CONTEXTS.map(|(word, ..)| word), &mut out.findings);
        let mut methods = function.into_iter().chain(in_out).chain(binary);
        let (Some(method), None) = (methods.next(), methods.next()) else {
            let finding = Finding::at(node.span(), "a cast needs exactly one of `function`, `inout` and `without-function`");
            out.findings.push(finding.help("for example: `function=\"app.pair_text(app.pair)\"`"));
            return None;
        };
        let cast = Self {
            source: argument_type(&source.value),
            target: argument_type(&target.value),
            method,
            context: context.map_or_else(|| CONTEXTS[0].0.to_owned(), |word| word.value),
        };
        Some(out.put(node, cast))
    }

    fn write<'n>(&self, parent: &'n mut NodeOut) -> &'n mut NodeOut {
        let Self { source, target, method, context } = self;
        let mut node = NodeOut::new("cast").arg(sql_type::display(source)).arg(sql_type::display(target));
        match method {
            Method::Function(function) => node.set("function", function.as_str()),
            Method::InOut => node = node.arg("inout"),
            Method::Binary => node = node.arg("without-function"),
        }
        if context != CONTEXTS[0].0 {
            node.set("as", context.as_str());
        }
        parent.add(node)
    }

    fn id(&self) -> Id {
        Id::new(Self::KEYWORD, [Ident::new(&self.source), Ident::new(&self.target)])
    }

    fn parent(&self) -> Option<Id> {
        None
    }

    fn texts(&self) -> Vec<&str> {
        match &self.method {
            Method::Function(function) => vec![function],
            Method::InOut | Method::Binary => Vec::new(),
        }
    }

    fn type_names(&mut self) -> Vec<&mut String> {
        vec![&mut self.source, &mut self.target]
    }

    fn create(&self) -> Action {
        let Self { source: _, target: _, method, context } = self;
        let method = match method {
            Method::Function(function) => format!("WITH FUNCTION {function}"),
            Method::InOut => "WITH INOUT".to_owned(),
            Method::Binary => "WITHOUT FUNCTION".to_owned(),
        };
        let context = CONTEXTS.iter().find(|(word, ..)| word == context).map_or("", |(_, _, sql)| sql);
        Action::new(format!("Create {}", self.id())).sql(format!("CREATE {} {method}{context}", Self::address(&self.id())))
    }

    fn drop(&self) -> Action {
        let id = self.id();
        Action::new(format!("Drop {id}"))
            .sql(format!("DROP {}", Self::address(&id)))
            .hazard(Hazard::Breaking, format!("a statement that casts {} to {}", self.source, self.target))
    }

    fn alter(_old: &Self, new: &Self) -> Alteration {
        let Self { source: _, target: _, method: _, context: _ } = new;
        Alteration::Replace
    }

    fn address(id: &Id) -> String {
        // The names in the path are types as SQL spells them.
        format!("CAST ({} AS {})", id.schema(), id.name())
    }
}

#[cfg(test)]
mod tests {
    use super::super::round_trip::created;
    use super::*;

    #[test]
    fn the_forms_of_the_language() {
        let parent: Option<Id> = None;
        for (kdl, sql) in [
            (r#"cast "app.pair" text function="app.pair_text(app.pair)" as=assignment"#, &["CREATE CAST (app.pair AS text) WITH FUNCTION app.pair_text(app.pair) AS ASSIGNMENT"][..]),
            (r#"cast "app.pair" int inout"#, &["CREATE CAST (app.pair AS integer) WITH INOUT"][..]),
        ] {
            assert_eq!(created::<Cast>(kdl, parent.as_ref()), sql);
        }
    }
}
