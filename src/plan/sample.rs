//! The plan that the tests of this room look at: a renamed column on a large table.

use std::time::Duration;

use super::op::{Cost, Hazard, Lock, LockMode, Probe, Transaction, Verify};
use super::plan::{
    Allowance, Assumption, Backfill, Gate, HazardNote, Plan, Preflight, Proof, Reliance, RowsBound, Stage, StageName, Step, Summary, Undo,
    Work,
};
use super::rehearsal::{Finding, Measured, Rehearsal, Rows, Seen, UndoResult, Undone};
use crate::catalog::{Fingerprint, Id, Ident};

fn step(number: u32, title: &str, recipe: &str, sql: &[&str]) -> Step {
    Step {
        number,
        title: title.into(),
        recipe: recipe.into(),
        work: Work::Sql(sql.iter().map(ToString::to_string).collect()),
        transaction: Transaction::Inside,
        locks: Vec::new(),
        undo: Undo::Nothing,
        loses: Vec::new(),
        makes: Vec::new(),
        takes: Vec::new(),
        probe: None,
        verify: Vec::new(),
        preflight: Vec::new(),
    }
}

/// `severity` becomes `severity_level` on `public.model_states`, twelve million rows.
pub fn severity_level() -> Plan {
    let table = Id::new("table", ["public", "model_states"]);
    let column = |name: &str| table.child("column", name);
    let lock = |mode, cost| vec![Lock { relation: "public.model_states".into(), mode, cost }];
    let instant = lock(LockMode::AccessExclusive, Cost::Instant);
    let print = |text: &str| Fingerprint::of_bytes(text.as_bytes());
    let index = Id::new("index", ["public", "model_states", "model_states_severity"]);
    let expand = Step {
        locks: instant.clone(),
        undo: Undo::Sql(vec![
            "DROP TRIGGER schema_sync_severity ON public.model_states".into(),
            "DROP FUNCTION public.schema_sync_severity()".into(),
            "ALTER TABLE public.model_states DROP COLUMN severity_level".into(),
        ]),
        makes: vec![
            column("severity_level"),
            Id::new("function", ["public", "schema_sync_severity", ""]),
            table.child("trigger", "schema_sync_severity"),
        ],
        ..step(
            1,
            "Add public.model_states.severity_level and keep it in step with severity",
            "rename-column",
            &[
                "ALTER TABLE public.model_states ADD COLUMN severity_level varchar(16)",
                "CREATE FUNCTION public.schema_sync_severity() RETURNS trigger LANGUAGE plpgsql AS $$\nBEGIN\n    \
                 NEW.severity_level := NEW.severity; -- \"old\" clients' rows\n    RETURN NEW;\nEND\n$$",
                "CREATE TRIGGER schema_sync_severity BEFORE INSERT OR UPDATE ON public.model_states\n    \
                 FOR EACH ROW EXECUTE FUNCTION public.schema_sync_severity()",
            ],
        )
    };
    let backfill = Step {
        work: Work::Backfill(Backfill {
            table: table.clone(),
            key: vec![Ident::new("model_id"), Ident::new("time")],
            set: "severity_level = severity".into(),
            filter: "severity_level IS DISTINCT FROM severity".into(),
            copy: None,
            settings: vec![("schema.backfill".into(), "on".into())],
            rows: Some(12_000_000),
        }),
        locks: lock(LockMode::RowExclusive, Cost::Instant),
        verify: vec![Verify {
            sql: "SELECT count(*) FROM public.model_states WHERE severity_level IS DISTINCT FROM severity".into(),
            expect: "0".into(),
        }],
        ..step(2, "Backfill severity_level", "rename-column", &[])
    };
    let build = Step {
        transaction: Transaction::Outside,
        locks: lock(LockMode::ShareUpdateExclusive, Cost::Build),
        undo: Undo::Sql(vec!["DROP INDEX CONCURRENTLY public.model_states_severity".into()]),
        makes: vec![index],
        probe: Some(Probe {
            sql: "SELECT coalesce((SELECT CASE WHEN indisvalid THEN 'done' ELSE 'leftover' END\n    FROM pg_index\n    \
                  WHERE indexrelid = to_regclass('public.model_states_severity')), 'absent')"
                .into(),
            cleanup: vec!["DROP INDEX CONCURRENTLY public.model_states_severity".into()],
        }),
        ..step(
            3,
            "Build index model_states_severity concurrently",
            "index-concurrently",
            &["CREATE INDEX CONCURRENTLY model_states_severity ON public.model_states (severity_level)"],
        )
    };
    let prove = Step {
        locks: lock(LockMode::ShareUpdateExclusive, Cost::Scan),
        makes: vec![table.child("check", "severity_level_proof")],
        undo: Undo::Sql(vec!["ALTER TABLE public.model_states DROP CONSTRAINT severity_level_proof".into()]),
        preflight: vec![Preflight {
            title: "rows of table public.model_states hold NULL in severity, which becomes NOT NULL".into(),
            rows: "SELECT model_id, \"time\" FROM public.model_states WHERE severity IS NULL".into(),
            help: "give them a value".into(),
            setup: Vec::new(),
            after: None,
        }],
        ..step(
            4,
            "Prove severity_level NOT NULL",
            "set-not-null",
            &["ALTER TABLE public.model_states VALIDATE CONSTRAINT severity_level_proof"],
        )
    };
    let switch = Step {
        locks: instant.clone(),
        makes: vec![column("severity_level")],
        takes: vec![table.child("check", "severity_level_proof")],
        undo: Undo::Sql(vec!["ALTER TABLE public.model_states ALTER COLUMN severity_level DROP NOT NULL".into()]),
        ..step(
            5,
            "Set severity_level NOT NULL",
            "set-not-null",
            &[
                "ALTER TABLE public.model_states ALTER COLUMN severity_level SET NOT NULL",
                "ALTER TABLE public.model_states DROP CONSTRAINT severity_level_proof",
            ],
        )
    };
    let contract = Step {
        locks: instant,
        undo: Undo::Impossible,
        loses: vec!["column public.model_states.severity".into()],
        takes: vec![column("severity"), table.child("trigger", "schema_sync_severity")],
        ..step(
            6,
            "Drop public.model_states.severity",
            "rename-column",
            &[
                "DROP TRIGGER schema_sync_severity ON public.model_states",
                "DROP FUNCTION public.schema_sync_severity()",
                "ALTER TABLE public.model_states DROP COLUMN severity",
            ],
        )
    };
    let stage = |name, note: &str, steps| Stage { name, note: note.into(), steps };
    Plan {
        name: "0007-severity-level".into(),
        made_by: "schema 0.1.0".into(),
        elaborated_on: "PostgreSQL 15.18, local".into(),
        from: print("from"),
        to: print("to"),
        relies_on: vec![Reliance {
            id: table.clone(),
            fingerprint: print("table"),
            parts: vec![(table.clone(), print("itself")), (column("severity"), print("column"))],
        }],
        assumes: vec![Assumption { table, rows: RowsBound::Over(10_000) }],
        hazards: vec![
            HazardNote { hazard: Hazard::DropColumn, subject: "column public.model_states.severity".into() },
            HazardNote { hazard: Hazard::RowShape, subject: "table public.model_states".into() },
        ],
        allowances: vec![Allowance { hazard: Hazard::RowShape, reason: Some("nothing uses COPY since 2.4".into()) }],
        summary: vec![Summary {
            subject: "table public.model_states".into(),
            sign: '~',
            rows: Some(12_000_000),
            bytes: Some(1_503_238_553),
            lines: vec![
                ('~', "severity -> severity_level    renamed, varchar(16), now NOT NULL".into()),
                ('+', "index model_states_severity".into()),
            ],
        }],
        stages: vec![
            stage(StageName::Expand, "Old clients go on", vec![expand]),
            stage(StageName::Backfill, "Old clients go on", vec![backfill, build, prove]),
            stage(StageName::Switch, "Old clients go on, new clients can start", vec![switch]),
            stage(StageName::Contract, "When no client of the old release is left", vec![contract]),
        ],
        proof: Proof::Proven("PostgreSQL 15.18, local".into()),
        gate: Some(Gate { clients: Some("app/1.*".into()), user: None, idle: Duration::from_hours(24), statements: false }),
    }
}

/// What a rehearsal of [`severity_level`] could measure.
pub fn rehearsal() -> Rehearsal {
    use LockMode::{AccessExclusive, RowExclusive, ShareUpdateExclusive};
    let plan = severity_level();
    let seen = |mode, scan, build| Seen {
        relation: "public.model_states".into(),
        also: vec!["public.other".into()],
        mode: Some(mode),
        scan,
        build,
        rewrite: None,
        indexes: build.map(|_| "model_states_severity_level".to_owned()).into_iter().collect(),
    };
    let steps = plan
        .steps()
        .map(|(_, step)| Measured {
            step: step.number,
            millis: u64::from(step.number) * 4,
            rows: if matches!(step.work, Work::Backfill(_)) { 10_000 } else { 0 },
            seen: vec![match (&step.work, step.transaction) {
                (Work::Backfill(_), _) => seen(RowExclusive, Some(RowExclusive), None),
                (_, Transaction::Outside) => seen(ShareUpdateExclusive, None, Some(ShareUpdateExclusive)),
                _ => seen(AccessExclusive, None, None),
            }],
        })
        .collect();
    Rehearsal {
        plan: super::file::hash(&plan),
        server: "PostgreSQL 15.18, local".into(),
        rows: Rows::Generated,
        tables: vec![("public.model_states".into(), 10_000)],
        steps,
        undone: vec![
            Undone { stage: StageName::Expand, result: UndoResult::Exact },
            Undone { stage: StageName::Backfill, result: UndoResult::Filled(vec!["public.model_states.severity".into()]) },
            Undone { stage: StageName::Switch, result: UndoResult::Impossible(5) },
        ],
        queries: 12,
        findings: vec![
            Finding { step: 1, wrong: true, text: "it takes ACCESS EXCLUSIVE on public.models; the plan names no lock on it".into() },
            Finding { step: 3, wrong: false, text: "it has no scan of public.model_states, which the plan names".into() },
        ],
    }
}
