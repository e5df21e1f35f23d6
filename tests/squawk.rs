//! squawk, a linter of others for migrations, over the SQL of every pinned plan: it reports nothing that the plan does
//! not itself name as a hazard. `.squawk.toml` says which of its rules are not meant for our sequences, and why;
//! [`RULES`] how a plan says what the others warn of.
//!
//! It needs the program (`pip install squawk-cli==2.70.0`), named by SQUAWK; `.ci/run` installs and runs it.

#[path = "support/case.rs"]
#[allow(dead_code, reason = "other harnesses ask for more")]
mod case;

use std::path::{Path, PathBuf};
use std::process::Command;

use case::Case;
use schema::catalog::id::dotted;
use schema::plan::op::Lock;
use schema::plan::plan::{Assumption, Plan, RowsBound, StageName, Step};
use schema::plan::{Cost, Hazard, Input, LockMode, Transaction, render};
use serde::Deserialize;

/// How a plan says itself what a rule of squawk warns of.
enum Said {
    /// By a hazard.
    Hazard(&'static [Hazard]),
    /// By the locks of the step: each is an instant (the rehearsal measures that), or blocks nobody who reads or writes, or
    /// is on a table of which the plan assumes that it is small, or a hazard says what it waits for.
    Locks,
    /// What goes is the plan's own, or is there again at the end of the step, or a hazard names it.
    Taken,
    /// As [`Said::Locks`], and the locks on a referenced table last as long as a small referencing table is read.
    Referencing,
    /// What goes or gets another name is in the plan's summary: no statement of a client names it.
    Named,
    /// The step comes when no client of the old release is left.
    Contract,
    /// Two columns, or two forms of a table, change their places: the names are there before and behind the step. What that
    /// does to prepared statements, and names that are there no more, are hazards.
    Swapped,
    /// The step is outside a transaction: a lock timeout would leave an INVALID index.
    Outside,
}

/// Cases whose plan says more than it does, so that squawk is not answered yet.
const PENDING: &[&str] = &[];

/// What each rule means for a plan.
const RULES: &[(&str, &[Said])] = &[
    ("adding-field-with-default", &[Said::Locks]),
    ("adding-foreign-key-constraint", &[Said::Locks, Said::Referencing]),
    ("adding-not-nullable-field", &[Said::Locks]),
    ("changing-column-type", &[Said::Locks]),
    ("constraint-missing-not-valid", &[Said::Locks, Said::Referencing]),
    ("disallowed-unique-constraint", &[Said::Locks]),
    ("require-concurrent-index-creation", &[Said::Locks]),
    ("require-concurrent-index-deletion", &[Said::Locks]),
    ("require-concurrent-partition-detach", &[Said::Locks]),
    ("require-lock-timeout", &[Said::Outside]),
    ("ban-drop-column", &[Said::Taken]),
    ("ban-drop-table", &[Said::Taken]),
    ("ban-drop-schema", &[Said::Taken, Said::Contract]),
    ("ban-drop-sequence", &[Said::Taken]),
    ("ban-drop-view", &[Said::Taken, Said::Contract, Said::Swapped]),
    ("ban-drop-function", &[Said::Taken, Said::Contract, Said::Swapped]),
    ("ban-drop-domain", &[Said::Hazard(&[Hazard::Breaking]), Said::Taken, Said::Contract]),
    // What is wanted, not how it is come by; a constraint that is added to a domain in use is `blocking`.
    ("ban-create-domain-with-constraint", &[Said::Hazard(&[Hazard::Breaking])]),
    ("ban-drop-type", &[Said::Taken, Said::Contract]),
    ("ban-drop-constraint", &[Said::Taken, Said::Named]),
    ("ban-drop-default", &[Said::Taken, Said::Contract]),
    ("ban-drop-generated-expression", &[Said::Hazard(&[Hazard::RowShape])]),
    ("ban-drop-not-null", &[Said::Hazard(&[Hazard::RowShape])]),
    ("ban-alter-identity", &[Said::Taken]),
    ("ban-alter-domain-with-add-constraint", &[Said::Hazard(&[Hazard::Blocking])]),
    // A column, a table that is set aside goes from its place: in contract, like one that is dropped.
    ("renaming-column", &[Said::Hazard(&[Hazard::Breaking]), Said::Swapped, Said::Contract]),
    ("ban-set-schema", &[Said::Hazard(&[Hazard::Breaking]), Said::Contract, Said::Swapped]),
    // Of a partitioned table alone, whose partitions have it already.
    ("adding-serial-primary-key-field", &[Said::Locks]),
    ("renaming-table", &[Said::Hazard(&[Hazard::Breaking]), Said::Swapped]),
    ("renaming-object", &[Said::Hazard(&[Hazard::Breaking]), Said::Taken, Said::Named]),
];

#[derive(Deserialize)]
struct Report {
    file: PathBuf,
    line: usize,
    message: String,
    rule_name: String,
}

#[test]
#[ignore = "needs squawk: see .ci/run"]
fn squawk_sees_nothing_that_a_plan_does_not_name() {
    let squawk = std::env::var_os("SQUAWK").unwrap_or_else(|| "squawk".into());
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("squawk");
    std::fs::create_dir_all(&folder).expect("a folder for the scripts");
    let mut plans = Vec::new();
    for name in case::names() {
        let case = Case::read(&name).expect("reads");
        let input = Input {
            live: &case.before.catalog,
            desired: &case.after.catalog,
            hints: &case.after.hints,
            facts: &case.facts,
            policy: &case.policy,
        };
        if case.policy.direct || PENDING.contains(&name.as_str()) {
            // Direct plans are for databases without clients, and never reviewed.
            continue;
        }
        let plan = schema::plan::plan(&input).expect("plans");
        let path = folder.join(format!("{name}.sql"));
        // What stands behind `\quit` runs later, and commands of psql are none of SQL's.
        let sql: String =
            render::sql(&plan).lines().filter(|line| !line.starts_with('\\')).fold(String::new(), |sql, line| sql + line + "\n");
        std::fs::write(&path, sql).expect("written");
        plans.push((path, name, plan));
    }
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join(".squawk.toml");
    let output = Command::new(&squawk)
        .arg("--config")
        .arg(&config)
        .args(["--reporter", "json"])
        .args(plans.iter().map(|(path, ..)| path))
        .output()
        .unwrap_or_else(|error| panic!("cannot run {}: {error}; install it: pip install squawk-cli==2.70.0", squawk.display()));
    let text = String::from_utf8_lossy(&output.stdout);
    let reports: Vec<Report> =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr)));
    let mut unnamed = Vec::new();
    for report in &reports {
        let (_, name, plan) = plans.iter().find(|(path, ..)| *path == report.file).expect("a file of ours");
        let sql = std::fs::read_to_string(&report.file).expect("was written");
        if !step_at(plan, &sql, report.line).is_some_and(|step| is_said(plan, step, &report.rule_name)) {
            unnamed.push(format!("{name}:{}: {}: {}", report.line, report.rule_name, report.message));
        }
    }
    assert!(unnamed.is_empty(), "{} of {} reports:\n{}", unnamed.len(), reports.len(), unnamed.join("\n"));
}

/// The step whose statements stand at a line of the script.
fn step_at<'p>(plan: &'p Plan, sql: &str, line: usize) -> Option<&'p Step> {
    let heading = |line: &str| line.strip_prefix("-- ")?.split_once(". ")?.0.parse::<u32>().ok();
    let number = sql.lines().take(line + 1).filter_map(heading).last()?;
    plan.steps().map(|(_, step)| step).find(|step| step.number == number)
}

fn stage_of(plan: &Plan, step: &Step) -> Option<StageName> {
    plan.steps().find(|(_, other)| other.number == step.number).map(|(stage, _)| stage)
}

/// Whether the plan assumes that the table has few rows.
fn few(plan: &Plan, lock: &Lock) -> bool {
    let few = |assumption: &Assumption| dotted(&assumption.table.path) == lock.relation && matches!(assumption.rows, RowsBound::AtMost(_));
    plan.assumes.iter().any(few)
}

fn is_said(plan: &Plan, step: &Step, rule: &str) -> bool {
    let hazard = |hazards: &[Hazard]| plan.hazards.iter().any(|note| hazards.contains(&note.hazard));
    let by = |said: &Said| match said {
        Said::Hazard(hazards) => hazard(hazards),
        Said::Contract => stage_of(plan, step) == Some(StageName::Contract),
        Said::Named => step.takes.iter().all(|id| {
            let unnamed = ["check", "foreign-key", "exclude", "index"].contains(&id.kind.as_str());
            let line = |(_, text): &(char, String)| text.starts_with(&format!("{} {}", id.kind, id.name()));
            unnamed && (step.title.contains(&id.to_string()) || plan.summary.iter().any(|summary| summary.lines.iter().any(line)))
        }),
        Said::Referencing => {
            step.locks.iter().any(|lock| few(plan, lock)) && step.locks.iter().all(|lock| lock.mode <= LockMode::ShareRowExclusive)
        }
        Said::Swapped => match step.recipe.as_str() {
            "retype-column" => hazard(&[Hazard::Prepared]),
            "repartition-table" | "become-partition" => true,
            _ => false,
        },
        Said::Outside => step.transaction == Transaction::Outside,
        Said::Locks => step.locks.iter().all(|lock| {
            lock.cost == Cost::Instant || lock.mode < LockMode::Share || few(plan, lock) || hazard(&[Hazard::Blocking, Hazard::Rewrite])
        }),
        Said::Taken => step.takes.iter().all(|id| {
            let own = plan.steps().take_while(|(_, other)| other.number < step.number).any(|(_, other)| other.makes.contains(id));
            let again = step.makes.contains(id);
            own || again
                || plan.hazards.iter().any(|note| (2..=id.path.len()).any(|names| note.subject.contains(&dotted(&id.path[..names]))))
        }),
    };
    RULES.iter().filter(|(of, _)| *of == rule).any(|(_, said)| said.iter().any(by))
}
