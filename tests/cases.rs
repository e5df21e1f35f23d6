//! Plans, pinned: one test a folder of `tests/cases`, without a database.
//!
//! A folder holds `before.kdl`, `after.kdl` and `plan.snap`: what people are shown, with every
//! statement. `facts.kdl` (sizes, the server's version, volatile defaults) and `policy.kdl` say what
//! differs from: version 15, every table with a million rows, 10,000 rows are few. The planner
//! simulates each plan and refuses one that would not end in the state after.
//!
//! `UPDATE_SNAPSHOTS=1 cargo test --test cases` writes the snapshots. Read them before they are
//! committed: is it what a careful administrator would run?

#[path = "support/case.rs"]
mod case;

use std::fmt::Write as _;
use std::process::ExitCode;

use case::Case;
use libtest_mimic::{Arguments, Failed, Trial};
use schema::catalog::{Catalog, Id, Indexed};
use schema::kind::Object;
use schema::kind::column::Column;
use schema::plan::plan::{Plan, RowsBound};
use schema::plan::render::{Context, Style, text};
use schema::plan::{Input, file};

/// The least number of cases.
const CASES: usize = 80;

fn main() -> ExitCode {
    let names = case::names();
    let count = names.len();
    let mut trials: Vec<Trial> = names.into_iter().map(|name| Trial::test(name.clone(), move || check(&name))).collect();
    trials.push(Trial::test("at_least_80_cases", move || if count >= CASES { Ok(()) } else { Err(format!("only {count}").into()) }));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn check(name: &str) -> Result<(), Failed> {
    let plan = planned(name)?;
    // From the files once more: the same input gives the same bytes.
    if file::write(&plan) != file::write(&planned(name)?) {
        return Err("a second run gives another plan".into());
    }
    let written = file::write(&plan);
    let again = file::read(std::path::Path::new("plan.kdl"), &written).map_err(|error| schema::cli::out::plain(&error))?;
    if again != plan {
        return Err(format!("the plan file reads back as another plan:\n{written}").into());
    }
    compare(name, &shown(&plan))
}

fn planned(name: &str) -> Result<Plan, Failed> {
    let case = Case::read(name)?;
    for state in [&case.before.catalog, &case.after.catalog] {
        parts_are_found(state)?;
    }
    let input = Input {
        live: &case.before.catalog,
        desired: &case.after.catalog,
        hints: &case.after.hints,
        facts: &case.facts,
        policy: &case.policy,
    };
    let mut plan = schema::plan::plan(&input).map_err(|error| error.to_string())?;
    name.clone_into(&mut plan.name);
    Ok(plan)
}

/// An index of what is part of what gives what a look at all objects gives.
fn parts_are_found(state: &Catalog) -> Result<(), Failed> {
    let indexed = Indexed::new(state);
    for (id, object) in &state.objects {
        let all: Vec<&Id> = state.objects.iter().filter(|(_, part)| part.parent().as_ref() == Some(id)).map(|(id, _)| id).collect();
        let found: Vec<Id> = indexed.parts(id).into_iter().map(Object::id).collect();
        if !found.iter().eq(all.iter().copied()) {
            return Err(format!("{id} has the parts {all:?}, found are {found:?}").into());
        }
        if let Some(Object::Column(column)) = Some(object)
            && !indexed.within::<Column>(&column.table).any(|other| other == column)
        {
            return Err(format!("{id} is not found in its table").into());
        }
    }
    Ok(())
}

/// The plan for people with its SQL, and the facts that it rests on.
fn shown(plan: &Plan) -> String {
    let mut out = text(plan, &Context::default(), &Style { verbose: true, ..Style::default() });
    for assumption in &plan.assumes {
        let _ = match assumption.rows {
            RowsBound::AtMost(rows) => writeln!(out, "assumes {} at most {rows} rows", assumption.table),
            RowsBound::Over(rows) => writeln!(out, "assumes {} over {rows} rows", assumption.table),
        };
    }
    out
}

fn compare(name: &str, actual: &str) -> Result<(), Failed> {
    let path = case::root().join(name).join("plan.snap");
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        return std::fs::write(&path, actual).map_err(|error| error.to_string().into());
    }
    let expected =
        std::fs::read_to_string(&path).map_err(|_| format!("{} is missing; UPDATE_SNAPSHOTS=1 writes it:\n{actual}", path.display()))?;
    if expected == actual { Ok(()) } else { Err(format!("expected:\n{expected}\nbut it is:\n{actual}").into()) }
}
