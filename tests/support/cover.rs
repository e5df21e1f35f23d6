//! Which cases are crashed: as few as hold every recipe.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use schema::kind::table::Table;
use schema::plan::plan::{Part, StageName, Step, Undo, Work};
use schema::plan::{Input, Plan, Transaction};

use super::case;
use super::live::{Result, failed};

/// Recipe; whether it fills; runs outside transactions, in several statements; whether a part of its undo does, likewise;
/// whether it is of contract.
type Form = (String, bool, [bool; 5]);

/// Cases that together hold a step of every recipe in every form that a recipe has it: in a
/// transaction, outside one, as a backfill. Each holds one that those before it do not; the fullest
/// come first. `SCHEMA_CASES=all`: every case.
pub fn cover() -> Result<&'static [String]> {
    static COVER: OnceLock<std::result::Result<Vec<String>, String>> = OnceLock::new();
    let forms = |plan: &Plan| plan.steps().map(|(_, step)| form(step, false, false)).collect();
    let chosen = COVER.get_or_init(|| choose(forms).map_err(|error| error.message().unwrap_or_default().to_owned()));
    chosen.as_deref().map_err(|error| error.clone().into())
}

/// The same of steps that can be undone, told apart also by how.
#[allow(dead_code, reason = "the way forward asks only for the other")]
pub fn cover_back() -> Result<&'static [String]> {
    static COVER: OnceLock<std::result::Result<Vec<String>, String>> = OnceLock::new();
    let forms = |plan: &Plan| {
        let possible = plan.steps().take_while(|(_, step)| step.undo != Undo::Impossible);
        possible.map(|(stage, step)| form(step, true, stage == StageName::Contract)).collect()
    };
    let chosen = COVER.get_or_init(|| choose(forms).map_err(|error| error.message().unwrap_or_default().to_owned()));
    chosen.as_deref().map_err(|error| error.clone().into())
}

fn form(step: &Step, back: bool, contract: bool) -> Form {
    let outside = step.transaction == Transaction::Outside;
    let several = matches!(&step.work, Work::Sql(statements) if outside && statements.len() > 1);
    let parts = if back { step.undo.parts(outside) } else { Vec::new() };
    let undo = |count: usize| parts.iter().any(|part| matches!(part, Part::Outside(statements) if statements.len() >= count));
    (step.recipe.clone(), matches!(step.work, Work::Backfill(_)), [outside, several, undo(1), undo(2), contract])
}

fn choose(forms: impl Fn(&Plan) -> BTreeSet<Form>) -> Result<Vec<String>> {
    let all = std::env::var("SCHEMA_CASES").is_ok_and(|which| which == "all");
    let mut cases = Vec::new();
    // Those that every server can run.
    for name in case::names().into_iter().filter(|name| case::needs(name).is_none()) {
        let case = case::Case::read(&name)?;
        // A crash empties what is not logged.
        if case.after.catalog.of::<Table>().chain(case.before.catalog.of::<Table>()).any(|table| table.unlogged) {
            continue;
        }
        let input = Input {
            live: &case.before.catalog,
            desired: &case.after.catalog,
            hints: &case.after.hints,
            facts: &case.facts,
            policy: &case.policy,
        };
        let plan = schema::plan::plan(&input).map_err(failed(&name))?;
        cases.push((name, forms(&plan)));
    }
    if all {
        return Ok(cases.into_iter().filter(|(_, forms)| !forms.is_empty()).map(|(name, _)| name).collect());
    }
    let mut chosen = Vec::new();
    while let Some((name, forms)) = cases.iter().max_by_key(|(_, forms)| forms.len()).cloned().filter(|(_, forms)| !forms.is_empty()) {
        for (_, left) in &mut cases {
            left.retain(|form| !forms.contains(form));
        }
        chosen.push(name);
    }
    Ok(chosen)
}
