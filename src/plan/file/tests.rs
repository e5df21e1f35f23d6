use std::path::Path;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::catalog::{Fingerprint, Id, Ident};
use crate::plan::op::{Cost, Hazard, Lock, LockMode, Probe, Transaction, Verify};
use crate::plan::plan::{
    Allowance, Assumption, Backfill, Copying, Gate, HazardNote, Preflight, Proof, Reliance, RowsBound, Stage, StageName, Step, Summary,
    Undo, Work,
};
use crate::plan::sample;

fn reread(plan: &Plan) -> Plan {
    let text = write(plan);
    read(Path::new("plans/x.kdl"), &text).unwrap_or_else(|error| panic!("{:?}\n{text}", miette::Report::new(error)))
}

#[test]
fn the_example() {
    let plan = sample::severity_level();
    insta::assert_snapshot!(write(&plan));
    assert_eq!(reread(&plan), plan);
    assert_eq!(reread(&Plan::default()), Plan::default());
}

#[test]
fn the_hash_covers_what_runs() {
    let plan = sample::severity_level();
    let renamed = Plan { name: "0008".into(), made_by: "x".into(), proof: Proof::Skipped, summary: Vec::new(), ..plan.clone() };
    assert_eq!(hash(&renamed), hash(&plan));
    let changes: [fn(&mut Plan); 5] = [
        |plan| plan.allowances.clear(),
        |plan| plan.hazards.clear(),
        |plan| plan.relies_on.clear(),
        |plan| plan.assumes.clear(),
        |plan| plan.stages[0].steps[0].verify.push(Verify { sql: "SELECT 1".into(), expect: "1".into() }),
    ];
    for change in changes {
        let mut other = plan.clone();
        change(&mut other);
        assert_ne!(hash(&other), hash(&plan));
    }
}

#[test]
fn edited_steps_are_not_proven() {
    let plan = sample::severity_level();
    let Proof::Proven(server) = &plan.proof else { panic!("the sample is proven") };
    let text = write(&plan);
    let edited = text.replacen("varchar(16);", "varchar(17);", 1);
    assert_ne!(edited, text);
    let edited = read(Path::new("plans/x.kdl"), &edited).expect("reads");
    assert_eq!(edited.proof, Proof::Edited(server.clone()));
    // It stays so when it is written again.
    assert_eq!(reread(&edited), edited);
    let judged = crate::plan::policy::judge(&edited, &crate::plan::policy::Policy::default());
    assert!(judged.iter().any(|one| one.hazard == Hazard::Unproven && one.subjects == ["its steps were edited since it was proven"]));
}

fn complaints(text: &str) -> Vec<String> {
    let error = read(Path::new("plans/x.kdl"), text).expect_err("must be refused");
    error.list().iter().map(|one| format!("{}: {}", one.place().unwrap_or("-"), one.message())).collect()
}

#[test]
fn what_is_wrong_is_said_at_its_place() {
    assert_eq!(complaints(""), ["-: plans/x.kdl holds no plan"]);
    assert_eq!(complaints("plan a format=2 { nonsense; }"), ["plans/x.kdl:1:15: plans of format 2 are not known to this version"]);
    let text = "plan a format=1 {\n    hazard drop-colum subject=x\n    assumes \"table a.b\"\n    stage switch { step 2 t { sql \"a;\"; }; }\n    \
                stage expand { step 1 t { lok a; }; }\n    relies-on nothing b3\n}\n";
    insta::assert_snapshot!(complaints(text).join("\n"));
}

#[test]
fn approvals() {
    let path = Path::new("plans/x.approvals.kdl");
    let one = Approval { plan: Fingerprint::of_bytes(b"x"), by: "Ann \"A\" <ann@example.org>".into(), at: "2026-01-02T03:04:05Z".into() };
    let text = format!("// kept\n{}{}", write_approval(&one), write_approval(&one));
    assert_eq!(read_approvals(path, &text).expect("valid"), [one.clone(), one]);
    assert!(read_approvals(path, "approval plan=x by=y\nother\n").is_err_and(|error| error.list().len() == 2));
}

/// Any text: what is hard to quote more often than chance would have it.
fn text() -> impl Strategy<Value = String> {
    let hard = select(vec![
        "\"\"\"", "\"#", "\\", "\n", "\r\n", "\n    ", "  \n", ";", "'", "\u{feff}", "\u{200e}", "\t", "--", "/*", "\u{7f}", "\u{2028}",
    ]);
    prop_oneof![
        "[a-z ]{0,12}",
        any::<String>(),
        vec(prop_oneof![hard.prop_map(str::to_owned), "[ -~]{0,6}"], 0..8).prop_map(|parts| parts.concat()),
    ]
}

fn ident() -> impl Strategy<Value = Ident> {
    prop_oneof!["[a-z_]{1,8}", text()].prop_map(Ident::from)
}

fn id() -> impl Strategy<Value = Id> {
    ("[a-z-]{1,10}", vec(ident(), 1..4)).prop_map(|(kind, path)| Id::new(&kind, path))
}

fn print() -> impl Strategy<Value = Fingerprint> {
    prop_oneof![Just(Fingerprint::default()), any::<u64>().prop_map(|n| Fingerprint::of_bytes(&n.to_be_bytes()))]
}

fn ids() -> impl Strategy<Value = Vec<Id>> {
    vec(id(), 0..3)
}

fn texts() -> impl Strategy<Value = Vec<String>> {
    vec(text(), 0..3)
}

fn work() -> impl Strategy<Value = Work> {
    let backfill = (id(), vec(ident(), 0..3), text(), text(), vec((text(), text()), 0..2), option::of(any::<u64>()));
    let copying = (id(), vec(ident(), 1..3), vec(ident(), 0..3), vec(ident(), 1..3))
        .prop_map(|(into, columns, from, unique)| Box::new(Copying { into, columns, from, unique }));
    let backfill = (backfill, option::of(copying));
    prop_oneof![
        texts().prop_map(Work::Sql),
        backfill.prop_map(|((table, key, set, filter, settings, rows), copy)| {
            let set = if copy.is_some() { String::new() } else { set };
            Work::Backfill(Backfill { table, key, set, filter, settings, rows, copy })
        }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let lock = (text(), select(LockMode::ALL.to_vec()), select(Cost::ALL.to_vec())).prop_map(|(relation, mode, cost)| Lock {
        relation,
        mode,
        cost,
    });
    let undo = prop_oneof![Just(Undo::Nothing), Just(Undo::Impossible), texts().prop_map(Undo::Sql)];
    let probe = option::of((text(), texts()).prop_map(|(sql, cleanup)| Probe { sql, cleanup }));
    let verify = vec((text(), text()).prop_map(|(sql, expect)| Verify { sql, expect }), 0..2);
    let transaction = select(vec![Transaction::Inside, Transaction::Outside, Transaction::CommitAfter]);
    let preflight = (text(), text(), text(), texts(), option::of(any::<u32>())).prop_map(|(title, rows, help, setup, after)| Preflight {
        title,
        rows,
        help,
        setup,
        after,
    });
    let checks = (probe, verify, vec(preflight, 0..2));
    ((text(), text(), work(), transaction), (vec(lock, 0..2), undo, texts()), (ids(), ids()), checks).prop_map(
        |((title, recipe, work, transaction), (locks, undo, loses), (makes, takes), (probe, verify, preflight))| Step {
            number: 0,
            title,
            recipe,
            work,
            transaction,
            locks,
            undo,
            loses,
            makes,
            takes,
            probe,
            verify,
            preflight,
        },
    )
}

fn stages() -> impl Strategy<Value = Vec<Stage>> {
    let names = proptest::sample::subsequence(StageName::ALL.to_vec(), 0..=4);
    (names, vec((text(), vec(step(), 0..3)), 4)).prop_map(|(names, contents)| {
        let mut number = 0;
        let stages = names.into_iter().zip(contents).map(|(name, (note, steps))| Stage { name, note, steps });
        let mut stages: Vec<Stage> = stages.collect();
        for step in stages.iter_mut().flat_map(|stage| &mut stage.steps) {
            number += 1;
            step.number = number;
        }
        stages
    })
}

fn summary() -> impl Strategy<Value = Summary> {
    let lines = vec((any::<char>(), text()), 0..3);
    (text(), any::<char>(), option::of(any::<u64>()), option::of(any::<u64>()), lines)
        .prop_map(|(subject, sign, rows, bytes, lines)| Summary { subject, sign, rows, bytes, lines })
}

fn plan() -> impl Strategy<Value = Plan> {
    let hazard = || select(Hazard::ALL.to_vec());
    let reliance = (id(), print(), vec((id(), print()), 0..3)).prop_map(|(id, fingerprint, parts)| Reliance { id, fingerprint, parts });
    let bound = prop_oneof![any::<u64>().prop_map(RowsBound::AtMost), any::<u64>().prop_map(RowsBound::Over)];
    let assumption = (id(), bound).prop_map(|(table, rows)| Assumption { table, rows });
    let note = (hazard(), text()).prop_map(|(hazard, subject)| HazardNote { hazard, subject });
    let allowance = (hazard(), option::of(text())).prop_map(|(hazard, reason)| Allowance { hazard, reason });
    let proof = prop_oneof![Just(Proof::Skipped), text().prop_map(Proof::Proven), text().prop_map(Proof::Impossible)];
    (
        (text(), text(), text(), print(), print()),
        (vec(reliance, 0..3), vec(assumption, 0..2), vec(note, 0..3), vec(allowance, 0..2)),
        (vec(summary(), 0..3), stages(), proof),
    )
        .prop_map(|((name, made_by, elaborated_on, from, to), (relies_on, assumes, hazards, allowances), (summary, stages, proof))| {
            // It stands in the contract stage.
            let gate = stages.iter().any(|stage: &Stage| stage.name == StageName::Contract).then(|| Gate {
                clients: Some(name.clone()),
                user: (!made_by.is_empty()).then(|| made_by.clone()),
                idle: std::time::Duration::from_secs(name.len() as u64),
                statements: made_by.is_empty(),
            });
            Plan { name, made_by, elaborated_on, from, to, relies_on, assumes, hazards, allowances, summary, stages, proof, gate }
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_plan_holds_reads_back(plan in plan()) {
        prop_assert_eq!(reread(&plan), plan);
    }
}
