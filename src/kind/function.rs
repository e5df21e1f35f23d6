//! A function: `function add returns=int language=sql immutable { arg a int; … body "SELECT a" }`.
//!
//! Facts: manual, CREATE FUNCTION and catalog `pg_proc`.

use serde::{Deserialize, Serialize};

use super::argument::{Returns, derived_result, replaceable};
use super::routine::{self, Routine};
use super::{Kind, Lowering, Row, Scope, schema::Schema};
use crate::catalog::Id;
use crate::kdl::{Finding, Node, NodeOut, ValueOut};
use crate::plan::op::{Action, Alteration, Hazard};

/// What a function promises about its results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Volatility {
    /// Nothing.
    Volatile,
    /// The same result within one statement.
    Stable,
    /// The same result for ever.
    Immutable,
}

/// A function or a window function.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Function {
    /// Name, arguments, body.
    pub routine: Routine,
    /// The result, where the output arguments do not say it.
    pub returns: Option<Returns>,
    /// A window function.
    pub window: bool,
    /// What it promises.
    pub volatility: Volatility,
    /// Gives NULL for a NULL argument without being called.
    pub strict: bool,
    /// Reveals nothing about its arguments.
    pub leakproof: bool,
    /// `unsafe`, `restricted` or `safe`.
    pub parallel: String,
    /// The cost of a call in units of `cpu_operator_cost`, where it is not the language's default.
    pub cost: Option<String>,
    /// The number of rows, where it is not 1000.
    pub rows: Option<String>,
    /// The planner support function.
    pub support: Option<String>,
}

/// The spellings of PARALLEL, PostgreSQL's default first.
pub(super) const PARALLEL: [&str; 3] = ["unsafe", "restricted", "safe"];

/// `pg_proc.proparallel` as its word.
pub(super) fn parallel_word(code: &str) -> String {
    PARALLEL.iter().find(|word| word.starts_with(code)).map_or_else(|| code.to_owned(), |word| (*word).to_owned())
}

impl Function {
    /// The cost that PostgreSQL fills in.
    fn default_cost(language: &str) -> &'static str {
        if language == "c" || language == "internal" { "1" } else { "100" }
    }

    /// A number as PostgreSQL keeps it (float4), nothing where it is the default.
    fn float(text: &str, default: &str) -> Option<String> {
        let number = text.parse::<f32>().map_or_else(|_| text.to_owned(), |number| number.to_string());
        (number != default).then_some(number)
    }

    fn statement(&self, create: &str) -> String {
        let Self { routine, returns, window, volatility, strict, leakproof, parallel, cost, rows, support } = self;
        let returns = returns.as_ref().map(|returns| format!(" RETURNS {}", returns.sql())).unwrap_or_default();
        let mut properties = String::new();
        for (set, words) in [
            (*window, " WINDOW"),
            (*volatility == Volatility::Immutable, " IMMUTABLE"),
            (*volatility == Volatility::Stable, " STABLE"),
            (*leakproof, " LEAKPROOF"),
            (*strict, " STRICT"),
        ] {
            properties += if set { words } else { "" };
        }
        if parallel != PARALLEL[0] {
            properties += &format!(" PARALLEL {}", parallel.to_uppercase());
        }
        for (word, value) in [("COST", cost), ("ROWS", rows), ("SUPPORT", support)] {
            if let Some(value) = value {
                properties += &format!(" {word} {value}");
            }
        }
        routine.create(create, &returns, &properties)
    }
}

impl Kind for Function {
    const KEYWORD: &'static str = "function";
    const CATALOG: &'static str = "pg_proc";
    const PARENTS: &'static [&'static str] = &["schema"];
    cast_to!(Function);

    fn query(_server: u32) -> Option<String> {
        Some(format!(
            "SELECT p.oid::int8, 0::int8, {}, format_type(p.prorettype, NULL), p.proretset, p.prokind = 'w', p.provolatile::text, \
             p.proisstrict, p.proleakproof, p.proparallel::text, p.procost::text, p.prorows::text, nullif(p.prosupport, 0)::regproc::text {}",
            Routine::columns(),
            Routine::from_where("'f', 'w'")
        ))
    }

    fn from_row(row: &mut Row<'_>) -> Self {
        let (routine, columns) = Routine::from_row(row);
        let (result, is_set) = (row.text(), row.flag());
        let returns = match (is_set, derived_result(&routine.arguments)) {
            _ if !columns.is_empty() => Some(Returns::Table(columns)),
            (true, _) => Some(Returns::SetOf(result)),
            (false, Some(_)) => None,
            (false, None) => Some(Returns::One(result)),
        };
        let window = row.flag();
        let volatility = match row.text().as_str() {
            "i" => Volatility::Immutable,
            "s" => Volatility::Stable,
            _ => Volatility::Volatile,
        };
        let (strict, leakproof, parallel) = (row.flag(), row.flag(), parallel_word(&row.text()));
        let cost = Self::float(&row.text(), Self::default_cost(&routine.language));
        let rows = Self::float(&row.text(), if is_set { "1000" } else { "0" });
        Self { routine, returns, window, volatility, strict, leakproof, parallel, cost, rows, support: row.opt_text() }
    }

    fn read(node: &mut Node<'_>, at: &Scope<'_>, out: &mut Lowering) -> Option<Id> {
        let routine = Routine::read(node, at, out);
        let (immutable, stable) = (node.flag("immutable", &mut out.findings), node.flag("stable", &mut out.findings));
        let volatile = node.flag("volatile", &mut out.findings);
        if [immutable, stable, volatile].into_iter().filter(|set| *set).count() > 1 {
            out.findings.push(Finding::at(node.title(), "`immutable`, `stable` and `volatile` exclude each other").help("keep one of them"));
        }
        let strict = node.flag("strict", &mut out.findings);
        let leakproof = node.flag("leakproof", &mut out.findings);
        let window = node.flag("window", &mut out.findings);
        let written = node.value("returns", &mut out.findings);
        let parallel = node.word("parallel", &PARALLEL, &mut out.findings).map_or_else(|| PARALLEL[0].to_owned(), |word| word.value);
        let (cost, rows) = (node.value("cost", &mut out.findings), node.value("rows", &mut out.findings));
        let support = node.value("support", &mut out.findings).map(|text| text.value);
        let routine = routine?;
        let derived = derived_result(&routine.arguments);
        if written.is_none() && derived.is_none() {
            let finding = Finding::at(node.title(), format!("function `{}` does not say what it returns", routine.name));
            out.findings.push(finding.help("add `returns=…` (`returns=void` for nothing), or `out` arguments"));
            return None;
        }
        // `returns` may repeat what the output arguments say; then it says nothing.
        let returns = written.map(|text| Returns::parse(&text.value)).filter(|returns| match returns {
            Returns::One(one) => derived.as_ref() != Some(one),
            Returns::SetOf(_) | Returns::Table(_) => true,
        });
        let volatility = if immutable {
            Volatility::Immutable
        } else if stable {
            Volatility::Stable
        } else {
            Volatility::Volatile
        };
        let cost = cost.and_then(|text| Self::float(&text.value, Self::default_cost(&routine.language)));
        let rows = rows.and_then(|text| Self::float(&text.value, if returns.as_ref().is_some_and(Returns::is_set) { "1000" } else { "0" }));
        Some(out.put(node, Self { routine, returns, window, volatility, strict, leakproof, parallel, cost, rows, support }))
    }

    fn write<'n>(&self, parent: &'n mut NodeOut) -> &'n mut NodeOut {
        let Self { routine, returns, window, volatility, strict, leakproof, parallel, cost, rows, support } = self;
        let mut node = NodeOut::new("function").arg(routine.name.as_str());
        for (set, word) in [
            (*volatility == Volatility::Immutable, "immutable"),
            (*volatility == Volatility::Stable, "stable"),
            (*strict, "strict"),
            (*leakproof, "leakproof"),
            (*window, "window"),
        ] {
            if set {
                node = node.arg(word);
            }
        }
        if let Some(returns) = returns {
            node.set("returns", returns.display());
        }
        routine.write_header(&mut node);
        if parallel != PARALLEL[0] {
            node.set("parallel", parallel.as_str());
        }
        for (name, value) in [("cost", cost), ("rows", rows)] {
            if let Some(value) = value {
                node.set(name, ValueOut::Number(value.clone()));
            }
        }
        if let Some(support) = support {
            node.set("support", support.as_str());
        }
        routine.write_block(&mut node);
        parent.add(node)
    }

    fn id(&self) -> Id {
        self.routine.id(Self::KEYWORD)
    }

    fn parent(&self) -> Option<Id> {
        Some(Schema::id_of(&self.routine.schema))
    }

    fn texts(&self) -> Vec<&str> {
        self.routine.texts().into_iter().chain(self.support.as_deref()).collect()
    }

    fn type_names(&mut self) -> Vec<&mut String> {
        let returns = self.returns.as_mut().map(Returns::type_names).unwrap_or_default();
        self.routine.type_names().into_iter().chain(returns).collect()
    }

    fn create(&self) -> Action {
        Action::new(format!("Create {}", self.id())).sql(self.statement("CREATE FUNCTION"))
    }

    fn drop(&self) -> Action {
        let id = self.id();
        Action::new(format!("Drop {id}"))
            .sql(format!("DROP FUNCTION {}", routine::call(&id)))
            .hazard(Hazard::Breaking, format!("a statement that calls {id}"))
    }

    fn alter(old: &Self, new: &Self) -> Alteration {
        let Self {
            routine,
            returns,
            window,
            volatility: _,
            strict: _,
            leakproof: _,
            parallel: _,
            cost: _,
            rows: _,
            support: _,
        } = new;
        if *returns != old.returns || *window != old.window || !replaceable(&old.routine.arguments, &routine.arguments) {
            return Alteration::Replace;
        }
        Alteration::Act(vec![Action::new(format!("Change {}", new.id())).sql(new.statement("CREATE OR REPLACE FUNCTION"))])
    }

    fn rename(old: &Id, new: &Id) -> Option<Action> {
        routine::rename("FUNCTION", routine::call, old, new)
    }

    fn address(id: &Id) -> String {
        format!("FUNCTION {}", routine::call(id))
    }

    fn grant_address(id: &Id) -> Option<String> {
        Some(Self::address(id))
    }
}

#[cfg(test)]
mod tests {
    use super::super::round_trip::{created, read};
    use super::*;

    fn schema() -> Id {
        Schema::id_of("app")
    }

    #[test]
    fn the_forms_of_the_language() {
        for (kdl, sql) in [
            (
                r#"function add returns=int language=sql immutable strict parallel=safe cost=10 { arg int; arg int; atomic "RETURN $1 + $2"; }"#,
                "CREATE FUNCTION app.add(integer, integer) RETURNS integer LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE COST 10\nRETURN $1 + $2",
            ),
            (
                r##"function add returns="SETOF app.pair" language=plpgsql security-definer rows=10 {
                    arg a int; arg b text default="'x'"; inout c int; out d "numeric(5,2)"; variadic rest "int[]"
                    set search_path="app, pg_temp" work_mem="64MB"
                    body #"BEGIN -- '#' and \d $1"#
                }"##,
                "CREATE FUNCTION app.add(a integer, b text DEFAULT 'x', INOUT c integer, OUT d numeric, VARIADIC rest integer[]) \
                 RETURNS SETOF app.pair LANGUAGE plpgsql ROWS 10 SECURITY DEFINER SET search_path TO 'app', 'pg_temp' SET work_mem TO '64MB' \
                 AS $body$BEGIN -- '#' and \\d $1$body$",
            ),
            (
                r#"function pairs returns="TABLE(id int, name text)" language=c { arg a int; library "$libdir/x" symbol=pairs; }"#,
                "CREATE FUNCTION app.pairs(a integer) RETURNS TABLE(id integer, name text) LANGUAGE c AS '$libdir/x', 'pairs'",
            ),
            (
                r#"function two language=sql { out a int; out b int; set search_path=""; body "SELECT 1, 2"; }"#,
                "CREATE FUNCTION app.two(OUT a integer, OUT b integer) LANGUAGE sql SET search_path TO '' AS $$SELECT 1, 2$$",
            ),
        ] {
            assert_eq!(created::<Function>(kdl, Some(&schema())), [sql]);
        }
    }

    #[test]
    fn what_postgresql_permits_is_replaced_in_place() {
        let function = |kdl: &str| read::<Function>(kdl, Some(&schema()));
        let old = function(r#"function f returns=int language=sql { arg a int; body "SELECT 1"; }"#);
        let in_place = function(r#"function f returns=int language=sql stable { arg a int default=1; body "SELECT 2"; }"#);
        let sql = "CREATE OR REPLACE FUNCTION app.f(a integer DEFAULT 1) RETURNS integer LANGUAGE sql STABLE AS $$SELECT 2$$";
        assert_eq!(Function::alter(&old, &in_place), Alteration::Act(vec![Action::new("Change function app.f(integer)").sql(sql)]));
        for other in [
            r#"function f returns=bigint language=sql { arg a int; body "SELECT 1"; }"#,
            r#"function f returns=int language=sql { arg b int; body "SELECT 1"; }"#,
            r#"function f returns="SETOF int" language=sql { arg a int; body "SELECT 1"; }"#,
        ] {
            assert_eq!(Function::alter(&old, &function(other)), Alteration::Replace);
        }
        assert_eq!(Function::alter(&in_place, &old), Alteration::Replace);
    }

    #[test]
    fn names_and_addresses() {
        let id = read::<Function>(r#"function F returns=int language=sql { arg "varchar(3)[]"; arg timestamptz; body ""; }"#, Some(&schema())).id();
        assert_eq!(Function::address(&id), "FUNCTION app.\"F\"(character varying[], timestamp with time zone)");
        let renamed = Id::new("function", ["new".into(), "G".into(), id.path[2].clone()]);
        let sql = [
            "ALTER FUNCTION app.\"F\"(character varying[], timestamp with time zone) SET SCHEMA new",
            "ALTER FUNCTION new.\"F\"(character varying[], timestamp with time zone) RENAME TO \"G\"",
        ];
        assert_eq!(Function::rename(&id, &renamed).expect("it can").sql, sql);
    }
}
