//! How an aggregate gets from rows to its result: the options that exist twice, once with an M for
//! moving frames.

use serde::{Deserialize, Serialize};

use super::{Lowering, Row, sql_type};
use crate::catalog::id::literal;
use crate::kdl::{Node, NodeOut, ValueOut};

/// A state, its functions and its final step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Takes a state and a value, gives the next state.
    pub function: String,
    /// The type of the state.
    pub data_type: String,
    /// The size of a state in bytes, for the planner; 0 where it shall guess.
    pub space: i64,
    /// Takes the last state, gives the result.
    pub final_function: Option<String>,
    /// The final function takes the arguments' types besides.
    pub final_extra: bool,
    /// `read-only`, `shareable` or `read-write`, where it is not the default.
    pub final_modify: Option<String>,
    /// Takes a row out of a moving frame.
    pub inverse: Option<String>,
    /// The first state, as text; NULL where there is none.
    pub initial: Option<String>,
}

/// The KDL names of the options, in the order of the fields.
type Names = [&'static str; 8];

const MODIFY: [(&str, &str); 3] = [("read-only", "r"), ("shareable", "s"), ("read-write", "w")];

impl State {
    /// The KDL names for every aggregate (there is no inverse function).
    pub const NAMES: Names = ["sfunc", "stype", "sspace", "finalfunc", "finalfunc-extra", "finalfunc-modify", "", "initcond"];

    /// The KDL names for moving frames.
    pub const MOVING_NAMES: Names =
        ["msfunc", "mstype", "msspace", "mfinalfunc", "mfinalfunc-extra", "mfinalfunc-modify", "minvfunc", "minitcond"];

    /// Columns of `pg_aggregate a`; `prefix` is empty, or `m` for moving frames.
    #[must_use]
    pub fn columns(prefix: &str) -> String {
        let moving = !prefix.is_empty();
        let transition = if moving { "aggmtransfn" } else { "aggtransfn" };
        let inverse = if moving { "nullif(a.aggminvtransfn, 0)::regproc::text" } else { "NULL::text" };
        let initial = if moving { "aggminitval" } else { "agginitval" };
        format!(
            "nullif(a.{transition}, 0)::regproc::text, format_type(nullif(a.agg{prefix}transtype, 0), NULL), a.agg{prefix}transspace::int8, \
             nullif(a.agg{prefix}finalfn, 0)::regproc::text, a.agg{prefix}finalextra, a.agg{prefix}finalmodify::text, {inverse}, a.{initial}"
        )
    }

    /// Takes the columns of [`Self::columns`]; nothing where there is no transition function.
    pub fn from_row(row: &mut Row<'_>, ordered: bool) -> Option<Self> {
        let (function, data_type, space) = (row.opt_text(), row.opt_text(), row.int());
        let (final_function, final_extra) = (row.opt_text(), row.flag());
        let code = row.text();
        let word = MODIFY.iter().find(|(_, one)| *one == code).map(|(word, _)| *word);
        let final_modify = word.filter(|word| *word != default_modify(ordered)).map(str::to_owned);
        let (inverse, initial) = (row.opt_text(), row.opt_text());
        let function = function?;
        Some(Self {
            function,
            data_type: data_type.unwrap_or_default(),
            space,
            final_function,
            final_extra,
            final_modify,
            inverse,
            initial,
        })
    }

    /// Reads the options of one of the two states; nothing where its function or type is missing.
    pub fn read(node: &mut Node<'_>, names: &Names, ordered: bool, out: &mut Lowering) -> Option<Self> {
        let [function, data_type, space, final_function, final_extra, final_modify, inverse, initial] = *names;
        let final_extra = node.flag(final_extra, &mut out.findings);
        let words: Vec<&str> = MODIFY.iter().map(|(word, _)| *word).collect();
        let final_modify = node.word(final_modify, &words, &mut out.findings).map(|word| word.value);
        let space = node.number(space, &mut out.findings).unwrap_or(0);
        let mut value =
            |name: &'static str| if name.is_empty() { None } else { node.value(name, &mut out.findings).map(|text| text.value) };
        let (function, data_type, inverse) = (value(function), value(data_type), value(inverse));
        let (final_function, initial) = (value(final_function), value(initial));
        Some(Self {
            function: function?,
            data_type: super::argument::argument_type(&data_type?),
            space,
            final_function,
            final_extra,
            final_modify: final_modify.filter(|word| word != default_modify(ordered)),
            inverse,
            initial,
        })
    }

    /// Writes the options as properties.
    pub fn write(&self, names: &Names, node: &mut NodeOut) {
        let Self { function, data_type, space, final_function, final_extra, final_modify, inverse, initial } = self;
        node.set(names[0], function.as_str());
        node.set(names[1], sql_type::display(data_type));
        if *space != 0 {
            node.set(names[2], ValueOut::Number(space.to_string()));
        }
        if *final_extra {
            node.set(names[4], true);
        }
        for (name, value) in [(names[3], final_function), (names[5], final_modify), (names[6], inverse)] {
            if let Some(value) = value {
                node.set(name, value.as_str());
            }
        }
        if let Some(initial) = initial {
            node.set(names[7], ValueOut::sql(initial));
        }
    }

    /// The options of CREATE AGGREGATE; `prefix` is empty, or `M` for moving frames.
    #[must_use]
    pub fn options(&self, prefix: &str) -> Vec<String> {
        let Self { function, data_type, space, final_function, final_extra, final_modify, inverse, initial } = self;
        let mut options = vec![format!("{prefix}SFUNC = {function}"), format!("{prefix}STYPE = {data_type}")];
        if *space != 0 {
            options.push(format!("{prefix}SSPACE = {space}"));
        }
        options.extend(inverse.iter().map(|function| format!("{prefix}INVFUNC = {function}")));
        options.extend(final_function.iter().map(|function| format!("{prefix}FINALFUNC = {function}")));
        if *final_extra {
            options.push(format!("{prefix}FINALFUNC_EXTRA"));
        }
        options.extend(final_modify.iter().map(|word| format!("{prefix}FINALFUNC_MODIFY = {}", word.replace('-', "_").to_uppercase())));
        options.extend(initial.iter().map(|initial| format!("{prefix}INITCOND = {}", literal(initial))));
        options
    }

    /// What the type of the result follows from.
    #[must_use]
    pub fn result(&self) -> &str {
        self.final_function.as_deref().unwrap_or(&self.data_type)
    }

    /// The functions in it.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        [Some(&self.function), self.final_function.as_ref(), self.inverse.as_ref()].into_iter().flatten().map(String::as_str)
    }
}

/// Ordered-set aggregates sort their state in place (manual, CREATE AGGREGATE).
fn default_modify(ordered: bool) -> &'static str {
    if ordered { "read-write" } else { "read-only" }
}
