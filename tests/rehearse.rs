//! Every case of `tests/cases`, rehearsed: its pinned plan runs step by step on a scratch clone with rows, and takes no
//! lock, scan, build or rewrite that it does not claim; undone from every stage it gives the exact start.
//!
//! What was measured is the table in `docs/locks.md`: `UPDATE_SNAPSHOTS=1 cargo test --test rehearse` writes it.
//! `SCHEMA_CASE=name` (a part of a name) rehearses only those, and shows what was measured.

#[path = "support/case.rs"]
#[allow(dead_code, reason = "other harnesses ask for more")]
mod case;

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

use case::Case;
use schema::catalog::Catalog;
use schema::engine::Workbench;
use schema::kind::Object;
use schema::kind::not_null::settle;
use schema::pg::introspect::Managed;
use schema::plan::plan::{Plan, Undo};
use schema::plan::rehearsal::{Finding, Rehearsal, Seen};
use schema::plan::{Cost, Input, LockMode};
use schema::rehearse::queries::{Queries, split};
use schema::rehearse::{Request, Source, rehearse};

/// Cases whose way back is not exact yet; one that is must be taken from here.
const UNDO_PENDING: &[&str] = &[];

/// Made-up rows in each table.
const ROWS: u64 = 300;

/// Servers at a time.
const BENCHES: usize = 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[allow(clippy::print_stdout, reason = "what was measured, when it is asked for")]
async fn every_case_does_what_its_plan_says() {
    let only = std::env::var("SCHEMA_CASE").ok();
    // A plan for a newer server has statements that the one here does not know.
    let here = schema::pg::find(None).expect("PostgreSQL is installed").major;
    let known = |name: &String| Case::read(name).is_ok_and(|case| case.facts.server / 10_000 <= here);
    let meant = |name: &String| only.as_ref().is_none_or(|only| name.contains(only.as_str()));
    let names: VecDeque<String> = case::names().into_iter().filter(|name| meant(name) && known(name)).collect();
    let queue = Arc::new(Mutex::new(names));
    let workers: Vec<_> = (0..BENCHES).map(|_| tokio::spawn(work(Arc::clone(&queue)))).collect();
    let mut results = Vec::new();
    for worker in workers {
        results.extend(worker.await.expect("no panic"));
    }
    results.sort_by(|a, b| a.0.cmp(&b.0));
    let mut failures = String::new();
    for (name, result) in &results {
        match result {
            Err(error) => {
                let _ = writeln!(failures, "{name}: {error}");
            }
            Ok((plan, rehearsal)) => {
                let pending = UNDO_PENDING.contains(&name.as_str());
                let undone = |finding: &&Finding| finding.wrong && finding.text.starts_with("undone from");
                if pending && !rehearsal.findings.iter().any(|finding| undone(&finding)) {
                    let _ = writeln!(failures, "{name}: its way back is exact: take it from UNDO_PENDING");
                }
                let counts = |finding: &&Finding| (finding.wrong && !(pending && undone(finding))) || only.is_some();
                for finding in rehearsal.findings.iter().filter(counts) {
                    let sort = if finding.wrong { "" } else { "note: " };
                    let _ = writeln!(failures, "{name} step {}: {sort}{}", finding.step, finding.text);
                }
                if only.is_some() {
                    println!("{}", row(name, plan, rehearsal));
                }
            }
        }
    }
    if std::env::var_os("SCHEMA_NOTES").is_some() {
        for (name, result) in &results {
            let findings = result.iter().flat_map(|(_, rehearsal)| &rehearsal.findings).filter(|finding| !finding.wrong);
            findings.for_each(|finding| println!("note: {name} step {}: {}", finding.step, finding.text));
        }
    }
    if only.is_none() {
        let table = table(&results);
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/locks.md");
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
            std::fs::write(&path, with_missed(&table, &expected)).expect("written");
        } else {
            let version = |text: &str| text.lines().find(|line| line.starts_with("Measured on PostgreSQL ")).map(str::to_owned);
            // Another major version may measure something else; what a plan claims must hold there too.
            if steady(&expected) != steady(&table) && version(&expected) == version(&table) {
                let _ = writeln!(
                    failures,
                    "docs/locks.md is not what was measured (UPDATE_SNAPSHOTS=1 writes it):\n{}",
                    differing(&steady(&expected), &steady(&table))
                );
            }
        }
    }
    assert!(failures.is_empty(), "\n{failures}");
}

/// The table without what one run may miss: what runs CONCURRENTLY cannot be held open, so its locks are looked for over
/// and over while they last.
fn steady(table: &str) -> String {
    let row = |line: &str| match line.split('|').collect::<Vec<_>>()[..] {
        ["", case, step, what, _, read, built, rewritten, ""] if what.contains("concurrently") => {
            ["", case, step, what, " (polled) ", read, built, rewritten, ""].join("|")
        }
        _ => line.to_owned(),
    };
    table.lines().map(row).collect::<Vec<_>>().join("\n")
}

/// The table with the locks that this run missed and an earlier one saw.
fn with_missed(table: &str, earlier: &str) -> String {
    let missed = |line: &str| match line.split('|').collect::<Vec<_>>()[..] {
        ["", case, step, what, locks, ..] if what.contains("concurrently") && locks.trim().is_empty() => {
            let same = format!("|{case}|{step}|{what}|");
            earlier.lines().find(|line| line.starts_with(&same)).unwrap_or(line).to_owned()
        }
        _ => line.to_owned(),
    };
    table.lines().map(|line| missed(line) + "\n").collect()
}

/// A plan is rehearsed on a server like the one that it is for, unless the case is about an older one.
fn on_this_server(mut case: Case) -> Result<Case, String> {
    let here = schema::pg::find(None).map_err(|error| error.to_string())?.major * 10_000;
    let Case { before, after, facts, .. } = &mut case;
    if facts.server >= 150_000 && here > facts.server {
        facts.server = here;
        settle(&Catalog::default(), &mut before.catalog, &before.hints, here);
        settle(&before.catalog, &mut after.catalog, &after.hints, here);
    }
    Ok(case)
}

/// The pinned plan of a case, and its start; on a newer server than 15, the plan that is made there.
fn planned(name: &str) -> (Plan, Catalog) {
    let Case { before, after, facts, policy, .. } = on_this_server(Case::read(name).expect("reads")).expect("PostgreSQL is installed");
    let input = Input { live: &before.catalog, desired: &after.catalog, hints: &after.hints, facts: &facts, policy: &policy };
    (schema::plan::plan(&input).expect("plans"), before.catalog)
}

async fn rehearsed(plan: &Plan, start: Catalog, rows: Source<'_>, queries: Queries, bench: &mut Workbench) -> Rehearsal {
    let request = Request { plan, start, server: None, managed: Managed::default(), rows, queries };
    rehearse(request, bench).await.unwrap_or_else(|error| panic!("{error}"))
}

fn wrong(rehearsal: &Rehearsal) -> Vec<String> {
    let wrong = rehearsal.findings.iter().filter(|finding| finding.wrong);
    wrong.map(|finding| finding.text.lines().next().unwrap_or_default().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_plan_does_not_say_is_found() {
    let mut bench = Workbench::new();
    let (mut plan, start) = planned("column_type_rewrite_small");
    for step in plan.stages.iter_mut().flat_map(|stage| &mut stage.steps) {
        step.locks.clear();
    }
    let found = wrong(&rehearsed(&plan, start, Source::Generated(50), Queries::default(), &mut bench).await);
    assert!(found.contains(&"it takes ACCESS EXCLUSIVE on public.orders; the plan names no lock on it".to_owned()), "{found:?}");
    assert!(found.contains(&"it rewrites public.orders under ACCESS EXCLUSIVE; the plan says an instant".to_owned()), "{found:?}");

    // A build that is said to be an instant, and a way back that leads elsewhere.
    let (mut plan, start) = planned("index_create_small");
    let step = &mut plan.stages[0].steps[0];
    step.locks[0].cost = Cost::Instant;
    step.undo = Undo::Sql(vec!["SELECT 1".to_owned()]);
    let found = wrong(&rehearsed(&plan, start, Source::Generated(50), Queries::default(), &mut bench).await);
    let lines = [
        "undone from the end of expand, index public.orders.orders_note_idx is left over",
        "it builds an index of public.orders under SHARE; the plan says an instant",
    ];
    assert_eq!(found, lines);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_of_clients_prepare_as_long_as_they_live() {
    let mut bench = Workbench::new();
    let (plan, start) = planned("column_drop_not_null_column");
    let old = "SELECT note FROM public.orders; INSERT INTO public.orders (note) VALUES ($1);\nSELECT nothing FROM public.orders";
    let new = "INSERT INTO public.orders DEFAULT VALUES;\nUPDATE public.orders SET note = 'x'";
    let queries = Queries { old: split("old.sql", old), new: split("new.sql", new) };
    let rehearsal = rehearsed(&plan, start, Source::Generated(10), queries, &mut bench).await;
    assert_eq!(rehearsal.queries, 5);
    assert_eq!(
        wrong(&rehearsal),
        [
            "old.sql:2 does not prepare at the start: column \"nothing\" does not exist (SQLSTATE 42703)",
            "new.sql:2 does not prepare in contract, behind step 2: column \"note\" of relation \"orders\" does not exist (SQLSTATE 42703)",
        ]
    );
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sampled_rows_bring_those_that_they_refer_to() {
    let mut bench = Workbench::new();
    let (plan, start) = planned("fk_validate");
    bench.start(None).await.expect("a server");
    let (_, live) = bench.database("live").await.expect("a database");
    assert!(schema::engine::fill::fill(&live, &start, |_| true).await.expect("fills").is_empty());
    // The first orders refer to the last customers.
    let rows = "RESET ALL; INSERT INTO public.customers OVERRIDING SYSTEM VALUE SELECT i FROM generate_series(1, 1000) i;
        INSERT INTO public.orders (id, customer) OVERRIDING SYSTEM VALUE SELECT i, 1001 - i FROM generate_series(1, 1000) i";
    live.client().batch_execute(rows).await.expect("inserts");
    let rehearsal = rehearsed(&plan, start, Source::Sampled(&live, 20), Queries::default(), &mut bench).await;
    assert_eq!(rehearsal.tables, [("public.customers".to_owned(), 40), ("public.orders".to_owned(), 20)]);
    live.close().await;
    bench.stop().await;
}

type Outcome = (String, Result<(Plan, Rehearsal), String>);

async fn work(queue: Arc<Mutex<VecDeque<String>>>) -> Vec<Outcome> {
    let mut bench = Workbench::new();
    let mut results = Vec::new();
    loop {
        let Some(name) = queue.lock().expect("no panic").pop_front() else { break };
        let result = one(&name, &mut bench).await;
        bench.clear().await;
        results.push((name, result));
    }
    bench.stop().await;
    results
}

async fn one(name: &str, bench: &mut Workbench) -> Result<(Plan, Rehearsal), String> {
    let case = on_this_server(Case::read(name)?)?;
    let Case { before, after, facts, policy, .. } = &case;
    let input = Input { live: &before.catalog, desired: &after.catalog, hints: &after.hints, facts, policy };
    let plan = schema::plan::plan(&input).map_err(|error| error.to_string())?;
    let says = |kind: &str| after.catalog.objects.keys().any(|id| id.kind == kind);
    let rows = match std::fs::read_to_string(case.folder.join("seed.sql")) {
        Ok(sql) => Source::Script(sql),
        Err(_) => Source::Generated(ROWS),
    };
    let request = Request {
        plan: &plan,
        start: before.catalog.clone(),
        server: None,
        managed: Managed { owners: says("owner"), grants: says("grant") },
        rows,
        queries: Queries::default(),
    };
    let rehearsal = rehearse(request, bench).await.map_err(|error| error.to_string())?;
    // A rehearsal without rows measures nothing, unless the case is about that, or says itself which rows there are.
    let empty = facts.tables.values().any(|facts| facts.rows == 0) || case.folder.join("seed.sql").exists();
    let unseen = |object: &Object| matches!(object, Object::Table(_)) && rehearsal.tables.iter().all(|(_, rows)| *rows == 0);
    if !empty && !plan.is_empty() && !rehearsal.tables.is_empty() && before.catalog.objects.values().any(unseen) {
        return Err(format!("no table holds rows: {:?}", rehearsal.findings));
    }
    Ok((plan, rehearsal))
}

fn table(results: &[Outcome]) -> String {
    let measured: Vec<_> = results.iter().filter_map(|(name, result)| Some((name, result.as_ref().ok()?))).collect();
    let server =
        measured.iter().find_map(|(_, (_, rehearsal))| rehearsal.server.strip_prefix("PostgreSQL ")?.split('.').next().map(str::to_owned));
    let mut out = format!(
        "# What each change locks\n\n\
         Every plan of `tests/cases` was run step by step on a scratch server with rows (`schema rehearse`), and watched:\n\
         locks from a second connection, rewrites by the relations' files, scans and builds by what the server says at\n\
         DEBUG1. This page is written by a test (`cargo test --test rehearse`), which fails where a plan claims less than it\n\
         does. Locks up to ROW EXCLUSIVE are those of any client; relations that the plan itself makes are left out.\n\n\
         Measured on PostgreSQL {}.\n\n\
         | case | step | what it does | locks | read | built | rewritten |\n|---|--:|---|---|---|---|---|\n",
        server.unwrap_or_default()
    );
    for (name, (plan, rehearsal)) in measured {
        out.push_str(&row(name, plan, rehearsal));
    }
    out
}

fn row(name: &str, plan: &Plan, rehearsal: &Rehearsal) -> String {
    let mut out = String::new();
    for ((stage, step), measured) in plan.steps().zip(&rehearsal.steps) {
        let list = |text: &dyn Fn(&Seen) -> Option<String>| measured.seen.iter().filter_map(text).collect::<Vec<_>>().join("<br>");
        let locks = list(&|seen| {
            seen.mode.filter(|mode| *mode > LockMode::AccessShare).map(|mode| format!("{} on {}", mode.name(), seen.relation))
        });
        let work = |cost: Cost| list(&|seen| seen.works().any(|(work, _)| work == cost).then(|| seen.relation.clone()));
        let _ = writeln!(
            out,
            "| {name} | {} {} | {} | {locks} | {} | {} | {} |",
            step.number,
            stage.name(),
            step.title.replace('|', "\\|"),
            work(Cost::Scan),
            work(Cost::Build),
            work(Cost::Rewrite)
        );
    }
    out
}

fn differing(expected: &str, found: &str) -> String {
    let missing = expected.lines().filter(|line| !found.lines().any(|other| other == *line)).map(|line| format!("- {line}"));
    let extra = found.lines().filter(|line| !expected.lines().any(|other| other == *line)).map(|line| format!("+ {line}"));
    missing.chain(extra).collect::<Vec<_>>().join("\n")
}
