//! An aggregate: `aggregate group_concat sfunc=_group_concat stype=text initcond="" { arg text; }`.
//!
//! Facts: manual, CREATE AGGREGATE and catalog `pg_aggregate`. Of an ordered-set aggregate, `arg`
//! are the direct arguments and `order-by` the aggregated ones.

use serde::{Deserialize, Serialize};

use super::aggregate_state::State;
use super::argument::{Argument, Mode, replaceable, signature};
use super::function::{PARALLEL, parallel_word};
use super::routine;
use super::{Kind, Lowering, Row, Scope, row, schema::Schema};
use crate::catalog::id::quote;
use crate::catalog::{Id, Ident};
use crate::kdl::{Finding, Node, NodeOut};
use crate::plan::op::{Action, Alteration, Hazard};

/// An aggregate function.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Aggregate {
    /// Its schema.
    pub schema: Ident,
    /// Its name.
    pub name: Ident,
    /// The arguments of a plain aggregate, the direct ones of an ordered-set aggregate.
    pub arguments: Vec<Argument>,
    /// What stands behind ORDER BY, for an ordered-set aggregate.
    pub ordered: Option<Vec<Argument>>,
    /// A hypothetical-set aggregate.
    pub hypothetical: bool,
    /// How it aggregates.
    pub state: Box<State>,
    /// How it aggregates in a moving frame.
    pub moving: Option<Box<State>>,
    /// Merges two states.
    pub combine: Option<String>,
    /// Turns a state of type `internal` into bytes.
    pub serial: Option<String>,
    /// Turns bytes into a state.
    pub deserial: Option<String>,
    /// The operator by which the result is the first value: MIN and MAX.
    pub sort_operator: Option<String>,
    /// `unsafe`, `restricted` or `safe`.
    pub parallel: String,
}

impl Aggregate {
    /// All arguments as `pg_proc` holds them: a variadic one that stands on both sides of ORDER BY
    /// is one (manual, CREATE AGGREGATE).
    fn all_arguments(&self) -> Vec<Argument> {
        let shared = usize::from(self.arguments.last().is_some_and(|argument| argument.mode == Mode::Variadic));
        self.arguments.iter().chain(self.ordered.iter().flatten().skip(shared)).cloned().collect()
    }

    fn statement(&self, create: &str) -> String {
        let Self { schema, name, arguments, ordered, hypothetical, state, moving, combine, serial, deserial, sort_operator, parallel } = self;
        let list = |arguments: &[Argument]| arguments.iter().map(Argument::sql).collect::<Vec<_>>().join(", ");
        let arguments = match ordered {
            Some(ordered) => format!("{} ORDER BY {}", list(arguments), list(ordered)).trim_start().to_owned(),
            None if arguments.is_empty() => "*".to_owned(),
            None => list(arguments),
        };
        let mut options = state.options("");
        for (word, function) in [("COMBINEFUNC", combine), ("SERIALFUNC", serial), ("DESERIALFUNC", deserial)] {
            options.extend(function.iter().map(|function| format!("{word} = {function}")));
        }
        options.extend(moving.iter().flat_map(|moving| moving.options("M")));
        options.extend(sort_operator.iter().map(|operator| format!("SORTOP = OPERATOR({operator})")));
        if parallel != PARALLEL[0] {
            options.push(format!("PARALLEL = {}", parallel.to_uppercase()));
        }
        if *hypothetical {
            options.push("HYPOTHETICAL".to_owned());
        }
        format!("{create} {}.{}({arguments}) (\n    {}\n)", quote(schema), quote(name), options.join(",\n    "))
    }

    /// `schema.name(types)`, or `(*)` without arguments.
    fn call(id: &Id) -> String {
        let call = routine::call(id);
        call.strip_suffix("()").map_or(call.clone(), |name| format!("{name}(*)"))
    }
}

impl Kind for Aggregate {
    const KEYWORD: &'static str = "aggregate";
    const CATALOG: &'static str = "pg_proc";
    const PARENTS: &'static [&'static str] = &["schema"];
    cast_to!(Aggregate);

    fn query(_server: u32) -> Option<String> {
        let function = |column: &str| format!("nullif(a.{column}, 0)::regproc::text");
        Some(format!(
            "SELECT p.oid::int8, 0::int8, n.nspname::text, p.proname::text, {}, a.aggkind::text, a.aggnumdirectargs::int8, {}, {}, {}, {}, {}, \
             (SELECT CASE WHEN o.oprnamespace = 'pg_catalog'::regnamespace THEN o.oprname::text \
             ELSE format('%I.%s', o.oprnamespace::regnamespace::name, o.oprname) END FROM pg_operator o WHERE o.oid = a.aggsortop), p.proparallel::text \
             FROM pg_aggregate a JOIN pg_proc p ON p.oid = a.aggfnoid JOIN pg_namespace n ON n.oid = p.pronamespace \
             WHERE {} AND {} ORDER BY n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)",
            Argument::COLUMNS,
            State::columns(""),
            State::columns("m"),
            function("aggcombinefn"),
            function("aggserialfn"),
            function("aggdeserialfn"),
            row::in_user_schema("p.pronamespace"),
            row::not_extension_member("pg_proc", "p.oid")
        ))
    }

    fn from_row(row: &mut Row<'_>) -> Self {
        let (schema, name) = (row.name(), row.name());
        let mut arguments = Argument::from_row(row).0;
        let kind = row.text();
        let direct = usize::try_from(row.int()).unwrap_or_default();
        let ordered = (kind != "n").then(|| {
            let ordered = arguments.split_off(direct.min(arguments.len()));
            // All are direct ones: the variadic one stands for both sides.
            if ordered.is_empty() { arguments.last().cloned().into_iter().collect() } else { ordered }
        });
        let is_ordered = ordered.is_some();
        let state = Box::new(State::from_row(row, is_ordered).unwrap_or_default());
        let moving = State::from_row(row, is_ordered).map(Box::new);
        let (combine, serial, deserial) = (row.opt_text(), row.opt_text(), row.opt_text());
        let sort_operator = row.opt_text();
        let hypothetical = kind == "h";
        Self {
            schema,
            name,
            arguments,
            ordered,
            hypothetical,
            state,
            moving,
            combine,
            serial,
            deserial,
            sort_operator,
            parallel: parallel_word(&row.text()),
        }
    }

    fn read(node: &mut Node<'_>, at: &Scope<'_>, out: &mut Lowering) -> Option<Id> {
        let name = Ident::new(&node.arg("a name", &mut out.findings)?.value);
        let hypothetical = node.flag("hypothetical", &mut out.findings);
        let mut arguments = Argument::read_all(node, out);
        for argument in &mut arguments {
            if argument.mode.is_output() || argument.default.take().is_some() {
                let finding = Finding::at(node.title(), "an argument of an aggregate goes in and has no default");
                out.findings.push(finding.help("write `arg` or `variadic`, without `default`"));
            }
        }
        let mut ordered = Vec::new();
        for child in node.children("order-by") {
            ordered.extend(Argument::read(Mode::In, child, out));
        }
        // What is variadic before ORDER BY is so behind it.
        if let (Some(last), [one]) = (arguments.last(), &mut ordered[..]) {
            one.mode = last.mode;
        }
        let state = State::read(node, &State::NAMES, !ordered.is_empty(), out);
        let moving = State::read(node, &State::MOVING_NAMES, !ordered.is_empty(), out).map(Box::new);
        let mut function = |name| node.value(name, &mut out.findings).map(|text| text.value);
        let (combine, serial, deserial) = (function("combinefunc"), function("serialfunc"), function("deserialfunc"));
        let sort_operator = function("sortop");
        let parallel = node.word("parallel", &PARALLEL, &mut out.findings).map_or_else(|| PARALLEL[0].to_owned(), |word| word.value);
        let Some(state) = state else {
            let finding = Finding::at(node.title(), format!("aggregate `{name}` needs `sfunc` and `stype`"));
            out.findings.push(finding.help("`sfunc` takes a state and a value and gives the next state of type `stype`"));
            return None;
        };
        let (state, ordered) = (Box::new(state), (!ordered.is_empty()).then_some(ordered));
        let schema = Ident::new(at.schema);
        let aggregate =
            Self { schema, name, arguments, ordered, hypothetical, state, moving, combine, serial, deserial, sort_operator, parallel };
        Some(out.put(node, aggregate))
    }

    fn write<'n>(&self, parent: &'n mut NodeOut) -> &'n mut NodeOut {
        let Self { schema: _, name, arguments, ordered, hypothetical, state, moving, combine, serial, deserial, sort_operator, parallel } = self;
        let mut node = NodeOut::new("aggregate").arg(name.as_str());
        if *hypothetical {
            node = node.arg("hypothetical");
        }
        state.write(&State::NAMES, &mut node);
        if let Some(moving) = moving {
            moving.write(&State::MOVING_NAMES, &mut node);
        }
        for (word, value) in [("combinefunc", combine), ("serialfunc", serial), ("deserialfunc", deserial), ("sortop", sort_operator)] {
            if let Some(value) = value {
                node.set(word, value.as_str());
            }
        }
        if parallel != PARALLEL[0] {
            node.set("parallel", parallel.as_str());
        }
        for argument in arguments {
            argument.write(&mut node);
        }
        for argument in ordered.iter().flatten() {
            argument.write_as("order-by", &mut node);
        }
        parent.add(node)
    }

    fn id(&self) -> Id {
        Id::new(Self::KEYWORD, [self.schema.clone(), self.name.clone(), Ident::from(signature(&self.all_arguments()))])
    }

    fn parent(&self) -> Option<Id> {
        Some(Schema::id_of(&self.schema))
    }

    fn texts(&self) -> Vec<&str> {
        let states = [Some(&self.state), self.moving.as_ref()].into_iter().flatten().flat_map(|state| state.texts());
        let functions = [&self.combine, &self.serial, &self.deserial, &self.sort_operator];
        states.chain(functions.into_iter().filter_map(|function| function.as_deref())).collect()
    }

    fn type_names(&mut self) -> Vec<&mut String> {
        let arguments = self.arguments.iter_mut().chain(self.ordered.iter_mut().flatten()).map(|argument| &mut argument.data_type);
        let states = [Some(&mut self.state), self.moving.as_mut()];
        arguments.chain(states.into_iter().flatten().map(|state| &mut state.data_type)).collect()
    }

    fn create(&self) -> Action {
        Action::new(format!("Create {}", self.id())).sql(self.statement("CREATE AGGREGATE"))
    }

    fn drop(&self) -> Action {
        let id = self.id();
        Action::new(format!("Drop {id}"))
            .sql(format!("DROP AGGREGATE {}", Self::call(&id)))
            .hazard(Hazard::Breaking, format!("a statement that calls {id}"))
    }

    /// The result is the final function's, or else the state: where both stay, it stays.
    fn alter(old: &Self, new: &Self) -> Alteration {
        let Self {
            schema: _,
            name: _,
            arguments,
            ordered,
            hypothetical,
            state,
            moving: _,
            combine: _,
            serial: _,
            deserial: _,
            sort_operator: _,
            parallel: _,
        } = new;
        let same_call = replaceable(&old.arguments, arguments)
            && *ordered == old.ordered
            && *hypothetical == old.hypothetical
            && state.result() == old.state.result();
        if !same_call {
            return Alteration::Replace;
        }
        Alteration::Act(vec![Action::new(format!("Change {}", new.id())).sql(new.statement("CREATE OR REPLACE AGGREGATE"))])
    }

    fn rename(old: &Id, new: &Id) -> Option<Action> {
        routine::rename("AGGREGATE", Self::call, old, new)
    }

    fn address(id: &Id) -> String {
        format!("AGGREGATE {}", Self::call(id))
    }

    fn grant_address(id: &Id) -> Option<String> {
        Some(format!("FUNCTION {}", routine::call(id)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::round_trip::{created, read};
    use super::*;

    #[test]
    fn the_forms_of_the_language() {
        let schema = Schema::id_of("app");
        for (kdl, sql, address) in [
            (
                r#"aggregate group_concat sfunc=_group_concat stype=text initcond="" combinefunc=cc parallel=safe { arg text; }"#,
                "CREATE AGGREGATE app.group_concat(text) (\n    SFUNC = _group_concat,\n    STYPE = text,\n    INITCOND = '',\n    COMBINEFUNC = cc,\n    PARALLEL = SAFE\n)",
                "AGGREGATE app.group_concat(text)",
            ),
            ("aggregate n sfunc=int8inc stype=bigint initcond=0", "CREATE AGGREGATE app.n(*) (\n    SFUNC = int8inc,\n    STYPE = bigint,\n    INITCOND = '0'\n)", "AGGREGATE app.n(*)"),
            (
                r#"aggregate rk hypothetical sfunc=s stype=internal finalfunc=f finalfunc-extra=#true { variadic "\"any\""; order-by "\"any\""; }"#,
                "CREATE AGGREGATE app.rk(VARIADIC \"any\" ORDER BY VARIADIC \"any\") (\n    SFUNC = s,\n    STYPE = internal,\n    FINALFUNC = f,\n    FINALFUNC_EXTRA,\n    HYPOTHETICAL\n)",
                "AGGREGATE app.rk(\"any\")",
            ),
        ] {
            assert_eq!(created::<Aggregate>(kdl, Some(&schema)), [sql]);
            assert_eq!(Aggregate::address(&read::<Aggregate>(kdl, Some(&schema)).id()), address);
        }
    }
}
