//! A plan as a script for psql: the same steps, for those who run them by hand.

use std::fmt::Write;

use crate::catalog::id::{literal, quote, quoted_list};
use crate::plan::op::{Cost, Transaction};
use crate::plan::plan::{Backfill, Plan, StageName, Step, Undo, Work};

/// How long a statement of the script waits for a lock, as `apply` does by default.
const LOCK_TIMEOUT: &str = "2s";
/// How long a statement may take that only changes the catalog, its wait for the lock included.
const INSTANT_TIMEOUT: &str = "10s";
/// Rows in a batch of a keyed backfill, and pages in one without a key.
const BATCH_ROWS: u32 = 5000;
const BATCH_PAGES: u32 = 128;

/// The plan as a psql script. It stops at the first error; every step stands by itself, so that
/// the rest can be run again once the cause is gone.
#[must_use]
pub fn sql(plan: &Plan) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "-- Plan {}, made by {}.", plan.name, plan.made_by);
    out.push_str("-- For psql; `schema apply` does the same with retries, checks and a ledger.\n");
    for note in &plan.hazards {
        let _ = writeln!(out, "-- Hazard: {} {}", note.hazard, one_line(&note.subject));
    }
    out.push_str("\\set ON_ERROR_STOP on\nSET check_function_bodies = off;\n");
    for (index, stage) in plan.stages.iter().enumerate() {
        if stage.name == StageName::Contract && index > 0 {
            out.push_str("\n-- ==== By hand: deploy the new release, and go on only when no client of the\n");
            out.push_str("-- ==== old release is left. Remove this line to run what follows:\n\\quit\n");
        }
        let _ = writeln!(out, "\n-- == {}: {} ==", stage.name.name().to_uppercase(), one_line(&stage.note));
        if let Some(gate) = plan.gate.as_ref().filter(|_| stage.name == StageName::Contract) {
            let _ = writeln!(out, "-- {}", one_line(&super::words::gate(gate)));
        }
        for step in &stage.steps {
            write_step(&mut out, step);
        }
    }
    out
}

fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

fn write_step(out: &mut String, step: &Step) {
    let _ = writeln!(out, "\n-- {}. {}", step.number, one_line(&step.title));
    for lock in &step.locks {
        let _ = writeln!(out, "--    {}", super::words::lock(lock));
    }
    for what in &step.loses {
        let _ = writeln!(out, "--    Loses {}.", one_line(what));
    }
    for preflight in &step.preflight {
        let _ = writeln!(out, "-- {}: {}. None may be found:", super::words::preflight_moment(preflight), one_line(&preflight.title));
        for line in preflight.setup.iter().chain([&preflight.rows]).flat_map(|statement| statement.lines()) {
            let _ = writeln!(out, "{}", format!("--   {line}").trim_end());
        }
    }
    match (&step.work, step.transaction) {
        (Work::Backfill(backfill), _) => write_backfill(out, backfill),
        (Work::Sql(statements), Transaction::Outside) => {
            // Such statements wait for old transactions as for locks: a timeout would leave half of them.
            out.push_str("-- Outside a transaction. It waits for transactions that are older than itself; a timeout\n");
            out.push_str("-- of the role would leave half of it.\n");
            out.push_str("SET lock_timeout = 0;\nSET statement_timeout = 0;\n");
            write_statements(out, statements);
        }
        (Work::Sql(statements), Transaction::Inside | Transaction::CommitAfter) => {
            // As `apply` does: what is an instant has a deadline; a scan, a build or a rewrite takes its time.
            let instant = !step.locks.is_empty() && step.locks.iter().all(|lock| lock.cost == Cost::Instant);
            let timeout = if instant { INSTANT_TIMEOUT } else { "0" };
            let _ = writeln!(out, "BEGIN;\nSET LOCAL lock_timeout = '{LOCK_TIMEOUT}';\nSET LOCAL statement_timeout = '{timeout}';");
            write_statements(out, statements);
            out.push_str("COMMIT;\n");
        }
    }
    for verify in &step.verify {
        let check = format!(
            "DO $do$\nBEGIN\n    IF (\n{}\n    )::text IS DISTINCT FROM {} THEN\n        RAISE EXCEPTION 'step {} did not reach its aim';\n    \
             END IF;\nEND\n$do$;",
            verify.sql,
            literal(&verify.expect),
            step.number
        );
        let _ = writeln!(out, "{}", check.replace("$do$", &delimiter(&verify.sql)));
    }
    match &step.undo {
        Undo::Nothing => {}
        Undo::Impossible => out.push_str("-- Cannot be undone.\n"),
        Undo::Sql(statements) => {
            out.push_str("-- Undo:\n");
            for line in statements.iter().flat_map(|statement| format!("{statement};").lines().map(str::to_owned).collect::<Vec<_>>()) {
                let _ = writeln!(out, "{}", format!("--   {line}").trim_end());
            }
        }
    }
}

fn write_statements(out: &mut String, statements: &[String]) {
    for statement in statements {
        let _ = writeln!(out, "{statement};");
    }
}

/// A dollar quote that does not occur in `body`.
fn delimiter(body: &str) -> String {
    let mut tag = "do".to_owned();
    while body.contains(&format!("${tag}$")) {
        tag.push('_');
    }
    format!("${tag}$")
}

/// A DO block that commits batch by batch, so that no row stays locked for long. It must not run
/// inside a transaction (manual, 41.8).
fn write_backfill(out: &mut String, backfill: &Backfill) {
    out.push_str("-- Commits batch by batch; do not wrap it in a transaction.\n");
    let mut settings = String::new();
    for (name, value) in &backfill.settings {
        let _ = writeln!(settings, "        PERFORM set_config({}, {}, true);", literal(name), literal(value));
    }
    let body = if backfill.key.is_empty() { by_pages(backfill, &settings) } else { by_key(backfill, &settings) };
    let quote = delimiter(&body);
    let _ = writeln!(out, "DO {quote}\n{body}{quote};");
}

/// Walks the key: a batch is from one key up to, without it, the key some rows further on.
fn by_key(backfill: &Backfill, settings: &str) -> String {
    let table = backfill.table.sql();
    let keys = quoted_list(&backfill.key);
    let variables = |prefix: &str| (1..=backfill.key.len()).map(|n| format!("{prefix}_{n}")).collect::<Vec<_>>().join(", ");
    let (from, next) = (variables("batch_from"), variables("batch_next"));
    let mut declare = String::new();
    for prefix in ["batch_from", "batch_next"] {
        for (index, column) in backfill.key.iter().enumerate() {
            let _ = writeln!(declare, "    {prefix}_{} {table}.{}%TYPE;", index + 1, quote(column));
        }
    }
    let mut assign = String::new();
    for n in 1..=backfill.key.len() {
        let _ = writeln!(assign, "        batch_from_{n} := batch_next_{n};");
    }
    let filter = &backfill.filter;
    let inner = backfill.statement(&table, &format!("({keys}) >= ({from}) AND ({keys}) < ({next}) AND ({filter})"));
    let last = backfill.statement(&table, &format!("({keys}) >= ({from}) AND ({filter})"));
    format!(
        "DECLARE\n{declare}    more boolean;\nBEGIN\n    SELECT {keys} INTO {from} FROM {table} ORDER BY {keys} LIMIT 1;\n    more := FOUND;\n    \
         WHILE more LOOP\n{settings}        SELECT {keys} INTO {next} FROM {table}\n            WHERE ({keys}) >= ({from}) ORDER BY {keys} \
         OFFSET {BATCH_ROWS} LIMIT 1;\n        more := FOUND;\n        IF more THEN\n            \
         {inner};\n        ELSE\n            {last};\n        END IF;\n        COMMIT;\n{assign}    \
         END LOOP;\nEND\n"
    )
}

/// Walks the pages of the table: TID range scans (PostgreSQL 14) read only those.
fn by_pages(backfill: &Backfill, settings: &str) -> String {
    let table = backfill.table.sql();
    let filter = &backfill.filter;
    let batch = backfill.statement(
        &table,
        &format!("ctid >= format('(%s,0)', page)::tid AND ctid < format('(%s,0)', page + {BATCH_PAGES})::tid\n            AND ({filter})"),
    );
    format!(
        "DECLARE\n    page bigint := 0;\n    pages bigint := pg_relation_size({}::regclass) / current_setting('block_size')::bigint;\nBEGIN\n    \
         WHILE page <= pages LOOP\n{settings}        {batch};\n        COMMIT;\n        page := page + {BATCH_PAGES};\n    \
         END LOOP;\nEND\n",
        literal(&table)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::sample;

    #[test]
    fn for_psql() {
        insta::assert_snapshot!(sql(&sample::severity_level()));
    }

    #[test]
    fn without_a_key() {
        let mut plan = sample::severity_level();
        if let Work::Backfill(backfill) = &mut plan.stages[1].steps[0].work {
            backfill.key.clear();
        }
        plan.stages.retain(|stage| stage.name == StageName::Backfill);
        plan.stages[0].steps.truncate(1);
        insta::assert_snapshot!(sql(&plan));
    }

    #[test]
    fn dollar_quotes_do_not_end_early() {
        assert_eq!(delimiter("$do$ $do_$"), "$do__$");
    }
}
