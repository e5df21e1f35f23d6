//! Which plans run now. Pure.

use std::collections::BTreeSet;

use crate::apply::PlanState;
use crate::apply::status::PlanStatus;
use crate::error::CliError;
use crate::plan::Plan;
use crate::plan::plan::StageName;
use crate::project::plans::{PlanFile, number, shared};

/// A plan that runs now.
#[derive(Debug)]
pub(super) struct Chosen {
    /// The plan.
    pub file: PlanFile,
    /// The first stage that is not done.
    pub next: StageName,
    /// Its steps that are done.
    pub done: BTreeSet<u32>,
    /// Whether a part of it may be in the database: then what it relies on is as the plan made it.
    pub begun: bool,
}

/// All plans, sorted by what becomes of them now.
#[derive(Debug, Default)]
pub(super) struct Selection {
    /// Oldest first.
    pub run: Vec<Chosen>,
    /// Those whose next stage is beyond what was asked for.
    pub waiting: Vec<(PlanFile, StageName)>,
    /// How many have nothing left to do.
    pub done: usize,
    /// The names of those that were rolled back, and were not asked for again.
    pub rolled_back: Vec<String>,
}

/// Sorts plans by what the ledger says of them.
///
/// # Errors
/// A plan that was edited after a part of it was applied.
pub(super) fn select(files: Vec<PlanFile>, ledger: &[PlanStatus], through: StageName, again: bool) -> Result<Selection, CliError> {
    let mut selection = Selection::default();
    for file in files {
        let status = ledger.iter().find(|status| status.name == file.plan.name);
        if let Some(status) = status
            && status.hash != file.hash.0
            && (status.has_effect() || status.state == PlanState::Done)
        {
            return Err(CliError::refused(
                format!("{} was edited after it was applied: the ledger has {}, the file is {}", file.plan.name, status.hash, file.hash),
                "put the file back as it was, and make a new plan for what is to change",
            ));
        }
        let rolled_back = status.is_some_and(|status| status.state == PlanState::RolledBack);
        if rolled_back && !again {
            selection.rolled_back.push(file.plan.name);
            continue;
        }
        let status = status.filter(|_| !rolled_back);
        let done = |number: u32| status.is_some_and(|status| status.steps.iter().any(|step| step.number == number && step.state == "done"));
        let begun = status.is_some_and(PlanStatus::has_effect);
        let next = file.plan.steps().find(|(_, step)| !done(step.number)).map(|(stage, _)| stage);
        match next {
            None if status.is_some_and(|status| status.state == PlanState::Done) || file.plan.is_empty() => selection.done += 1,
            // Every step is done but the plan itself is not marked so: the executor does that.
            None => selection.run.push(Chosen { done: numbers(&file, done), file, next: through, begun }),
            Some(next) if next > through => selection.waiting.push((file, next)),
            Some(next) => selection.run.push(Chosen { done: numbers(&file, done), file, next, begun }),
        }
    }
    Ok(selection)
}

fn numbers(file: &PlanFile, done: impl Fn(u32) -> bool) -> BTreeSet<u32> {
    file.plan.steps().map(|(_, step)| step.number).filter(|number| done(*number)).collect()
}

/// The unfinished plan that must be done before this one may begin: they share objects.
pub(super) fn before<'p>(chosen: &Chosen, unfinished: &[&'p Plan]) -> Option<&'p Plan> {
    let plan = &chosen.file.plan;
    let comes_first =
        |earlier: &&&Plan| earlier.name != plan.name && (!chosen.begun || number_order(earlier, plan)) && shared(earlier, plan).is_some();
    unfinished.iter().find(comes_first).copied()
}

/// Whether `earlier` comes before `later` in the chain.
fn number_order(earlier: &Plan, later: &Plan) -> bool {
    (number(&earlier.name), &earlier.name) < (number(&later.name), &later.name)
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::apply::status::StepStatus;
    use crate::plan::file::hash;
    use crate::plan::sample;

    fn file(name: &str) -> PlanFile {
        let plan = Plan { name: name.into(), ..sample::severity_level() };
        PlanFile { path: "x".into(), text: String::new(), hash: hash(&plan), plan }
    }

    fn status(name: &str, state: PlanState, done: u32) -> PlanStatus {
        let file = file(name);
        let step = |stage, number, title: &str| StepStatus {
            number,
            stage,
            title: title.into(),
            transaction: "inside".into(),
            state: if number <= done { "done" } else { "pending" }.into(),
            attempt: 1,
            started: None,
            ended: (number <= done).then(|| UNIX_EPOCH + std::time::Duration::from_secs(number.into())),
            waited_ms: 0,
            error: None,
            backfill: None,
        };
        PlanStatus {
            name: name.into(),
            hash: file.hash.0.clone(),
            from: String::new(),
            to: String::new(),
            state,
            who: String::new(),
            started: UNIX_EPOCH,
            ended: None,
            back_to: None,
            steps: file.plan.steps().map(|(stage, one)| step(stage, one.number, &one.title)).collect(),
        }
    }

    #[test]
    fn by_the_ledger() {
        let names = ["0001-done", "0002-waiting", "0003-broken", "0004-back", "0005-new"];
        let ledger = [
            status("0001-done", PlanState::Done, 6),
            status("0002-waiting", PlanState::Waiting, 5),
            status("0003-broken", PlanState::Running, 2),
            status("0004-back", PlanState::RolledBack, 0),
        ];
        let chosen = |through, again| {
            let selection = select(names.map(file).into(), &ledger, through, again).expect("nothing was edited");
            let run: Vec<_> = selection.run.iter().map(|chosen| (chosen.file.plan.name.clone(), chosen.next)).collect();
            (run, selection.waiting.len(), selection.done + selection.rolled_back.len())
        };
        let name = |name: &str, stage| (name.to_owned(), stage);
        assert_eq!(
            chosen(StageName::Switch, false),
            (vec![name("0003-broken", StageName::Backfill), name("0005-new", StageName::Expand)], 1, 2)
        );
        assert_eq!(chosen(StageName::Contract, true).0.len(), 4);
    }

    /// What failed and left nothing may be made again, and is looked at as any other plan.
    #[test]
    fn a_plan_that_left_nothing_has_not_begun() {
        let mut edited = file("0001-failed");
        edited.hash.0.push('x');
        let mut failed = status("0001-failed", PlanState::Failed, 0);
        "failed".clone_into(&mut failed.steps[0].state);
        let selection = select(vec![edited.clone()], &[failed.clone()], StageName::Switch, false).expect("nothing of it is there");
        assert_eq!(selection.run.iter().map(|chosen| chosen.begun).collect::<Vec<_>>(), [false]);
        "outside".clone_into(&mut failed.steps[0].transaction);
        assert!(select(vec![edited], &[failed], StageName::Switch, false).is_err());
    }

    #[test]
    fn an_edited_plan_is_refused() {
        let mut edited = file("0001-done");
        edited.hash.0.push('x');
        assert!(select(vec![edited], &[status("0001-done", PlanState::Done, 6)], StageName::Switch, false).is_err());
    }
}
