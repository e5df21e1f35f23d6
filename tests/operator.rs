//! What an operator does while plans run: waiting for a stage, pausing a backfill, minding the disk, rehearsing with the
//! rows and statements of the live database; each by the program itself, on a private server.

#[path = "support/shop.rs"]
mod shop;

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use shop::{Shop, ended};

fn orders(inner: &str) -> String {
    format!("    table orders {{\n        column id bigint\n{inner}        primary-key id\n    }}\n")
}

const ORDERS: &str =
    "CREATE TABLE orders (id bigint PRIMARY KEY, note text); INSERT INTO orders SELECT n, 'note ' || n FROM generate_series(1, 50) n";

fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no `{part}` in: {text}");
    }
}

/// A plan that needs more disk than there is, as configured or as this machine's own server has it, is refused with
/// nothing done.
#[tokio::test(flavor = "multi_thread")]
async fn the_disk_must_do() {
    let shop = Shop::start(ORDERS).await;
    // Sizes are read from the catalog: so many rows are 4 GB of index.
    let pretend = |rows: &str| format!("UPDATE pg_class SET reltuples = {rows}, relpages = 1000000 WHERE relname = 'orders'");
    shop.session.client().batch_execute(&pretend("1e8")).await.expect("pretends");
    shop.wants(&orders("        column note text\n        index note\n"));
    let config = |free: &str| {
        let text = format!("small-table rows=10\nenv test {{\n    url (env)DATABASE_URL\n    {free}\n}}\n");
        std::fs::write(shop.file("schema.kdl"), text).expect("is written");
    };
    config("disk-free \"1GB\"");
    says(&shop.ends(0, "plan --env test"), &["Forecast: about 3.7 GB more disk"]);
    let told = shop.ends(3, "apply --env test --yes");
    says(&told, &["the disk would not do: about 3.7 GB are needed, 1.0 GB are free; nothing was done", "--no-disk-check"]);
    let touched = "SELECT concat(to_regnamespace('schema_ledger'), (SELECT count(*) FROM pg_indexes WHERE tablename = 'orders'))";
    assert_eq!(shop.value(touched).await, "1");
    // More than any disk has: seen without being told, over a socket.
    config("");
    shop.session.client().batch_execute(&pretend("1e14")).await.expect("pretends");
    std::fs::remove_dir_all(shop.file("plans")).expect("is removed");
    shop.ends(0, "plan --env test");
    says(&shop.ends(3, "apply --env test --yes"), &["the disk would not do: about", "nothing was done"]);
    assert_eq!(shop.value(touched).await, "1");
    // Whoever knows better goes on, also when it is resumed.
    let brief = shop.ends(5, "apply --env test --yes --no-disk-check --max-time 1ms");
    says(&brief, &["schema apply --env test --no-disk-check 0001-"]);
    shop.ends(0, "apply --env test --yes --no-disk-check");
    assert_eq!(shop.value("SELECT count(*)::text FROM pg_indexes WHERE tablename = 'orders'").await, "2");
    // What is done needs no disk any more.
    says(&shop.ends(0, "apply --env test --yes"), &["Nothing to do"]);
}

/// From another process: while apply is at work, when it has come so far, when it failed, when it was rolled back.
#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_waits_for_a_stage() {
    let shop = Shop::start(ORDERS).await;
    let renamed = "        column remark text was=note\n";
    shop.wants(&orders(renamed));
    std::fs::write(shop.file("schema.kdl"), "small-table rows=10\n").expect("is written");
    shop.ends(0, "plan --name rename --allow all");
    let begun = Instant::now();
    let told = shop.ends(3, "wait 1 --for expand --timeout 1s");
    says(&told, &["nothing of it was applied yet", "did not come so far within 1s"]);
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
    // Suspended behind its first step.
    let child =
        shop.command("apply --yes").env("SCHEMA_CRASH_AT", "step:2:before").env("SCHEMA_CRASH_HOW", "stop").spawn().expect("starts");
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a number");
    let status = waitpid(Some(pid), WaitOptions::UNTRACED).expect("waits");
    assert!(status.is_some_and(|(_, status)| status.stopped()), "{status:?}");
    shop.ends(0, "wait 1 --for expand --timeout 1s");
    says(&shop.ends(3, "wait rename --for switch --timeout 1s"), &["step 2 of"]);
    let waits = shop.spawn("wait 0001-rename --for switch --timeout 60s");
    kill_process(pid, Signal::CONT).expect("goes on");
    assert_eq!(ended(child).0, 0);
    assert_eq!(ended(waits).0, 0);
    // Contract waits for people: the plan is not done, and its gate has nothing to wait for.
    shop.ends(3, "wait 1 --timeout 1s");
    shop.ends(0, "rollback 1 --yes");
    says(&shop.ends(3, "wait 1 --for switch --timeout 1s"), &["was rolled back", "schema apply 0001-rename --again"]);
    // A step fails; what came before it is reached all the same.
    shop.session.client().batch_execute("CREATE FUNCTION refused() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''not today''; END'; CREATE EVENT TRIGGER refused ON ddl_command_start WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION refused()").await.expect("is made");
    let (code, told) = shop.schema("apply 1 --again --yes");
    assert_eq!(code, 1, "{told}");
    says(&shop.ends(1, "wait 1 --for expand --timeout 1s"), &["0001-rename failed at step 1", "not today"]);
}

/// Pause, resume and stop, from another terminal.
#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_is_paused_resumed_and_stopped() {
    // Each row takes a while.
    let slow = "CREATE TABLE orders (id bigint PRIMARY KEY, note text); INSERT INTO orders SELECT n, 'note ' || n FROM generate_series(1, 1500) n; ANALYZE orders;
                CREATE FUNCTION slowly(text) RETURNS text LANGUAGE plpgsql VOLATILE AS 'BEGIN PERFORM pg_sleep(0.001); RETURN upper($1); END'";
    let shop = Shop::start(slow).await;
    std::fs::write(shop.file("schema.kdl"), "small-table rows=100\nbackfill batch=\"50ms\" rows=20\n").expect("is written");
    shop.wants(
        "    function slowly returns=text language=plpgsql {\n        arg text\n        body \"BEGIN PERFORM pg_sleep(0.001); RETURN upper($1); END\"\n    }\n    table orders {\n        column id bigint\n        column note text\n        column loud text not-null backfill=\"slowly(note)\"\n        primary-key id\n    }",
    );
    shop.ends(0, "plan --name loud");
    says(&shop.ends(1, "backfill pause"), &["no backfill is under way on shop"]);
    // The look whether it fills every row would take as long as the backfill.
    let child = shop.spawn("apply --yes --no-preflight");
    shop.until("SELECT (to_regclass('schema_ledger.backfills') IS NOT NULL)::text", "true").await;
    shop.until("SELECT (coalesce(max(rows_done), 0) > 0)::text FROM schema_ledger.backfills", "true").await;
    let told = shop.ends(0, "backfill pause");
    says(&told, &["0001-loud, step", "of 1,500 rows; it holds behind the running batch. To go on: schema backfill resume 0001-loud"]);
    let filled = "SELECT count(loud)::text FROM orders";
    tokio::time::sleep(Duration::from_millis(500)).await;
    let held = shop.value(filled).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(shop.value(filled).await, held);
    says(&shop.ends(0, "status"), &["rows (pause)"]);
    says(&shop.ends(0, "backfill resume 1"), &["it goes on"]);
    shop.until(&format!("SELECT (count(loud) > {held})::text FROM orders"), "true").await;
    says(&shop.ends(0, "backfill stop loud"), &["apply ends behind the running batch. To go on: schema apply 0001-loud"]);
    let (code, said) = ended(child);
    assert_eq!(code, 5, "{said}");
    says(
        &said,
        &[
            "paused; to go on: schema backfill resume 0001-loud",
            "it was stopped from another terminal",
            "go on with: schema apply --no-preflight 0001-loud",
        ],
    );
    // What is stopped goes on with the next apply; what is paused stays so.
    says(&shop.ends(0, "backfill pause"), &["nobody is at work, and it holds when apply comes"]);
    let at = shop.value(filled).await;
    says(&shop.ends(5, "apply --yes --no-preflight --max-time 2s"), &["paused; to go on"]);
    assert_eq!(shop.value(filled).await, at);
    says(&shop.ends(0, "backfill resume"), &["nobody is at work: schema apply 0001-loud"]);
    shop.ends(0, "apply --yes --no-preflight");
    assert_eq!(shop.value("SELECT count(*) || ' ' || count(*) FILTER (WHERE loud = upper(note)) FROM orders").await, "1500 1500");
    says(&shop.ends(1, "backfill stop 1"), &["no backfill of 1 is under way"]);
}

/// Rows come from the live database, statements from its `pg_stat_statements`.
#[tokio::test(flavor = "multi_thread")]
async fn a_rehearsal_with_what_is_there() {
    let before = "CREATE EXTENSION pg_stat_statements; CREATE TABLE customers (id bigint PRIMARY KEY, name text);
                  CREATE TABLE orders (id bigint PRIMARY KEY, customer bigint REFERENCES customers, note text);
                  INSERT INTO customers SELECT n, 'c' || n FROM generate_series(1, 1000) n;
                  INSERT INTO orders SELECT n, 1001 - n, 'note ' || n FROM generate_series(1, 1000) n; ANALYZE;
                  CREATE ROLE app LOGIN; GRANT ALL ON ALL TABLES IN SCHEMA public TO app";
    let shop = Shop::with(&[("shared_preload_libraries", "pg_stat_statements")], before).await;
    let wanted = |note: &str| {
        format!(
            "    table customers {{\n        column id bigint\n        column name text\n        primary-key id\n    }}\n    table orders {{\n        column id bigint\n        column customer bigint\n{note}        primary-key id\n        foreign-key customer references=customers\n    }}\n"
        )
    };
    let config = "extension pg_stat_statements\n";
    shop.wants(&wanted("        column remark text was=note rename=in-place\n"));
    std::fs::write(shop.file("schema/extensions.kdl"), config).expect("is written");
    shop.ends(0, "plan --name remark --allow all");
    let sampled = shop.ends(0, "rehearse 1 --sample --rows 20");
    says(&sampled, &["sampled"]);
    // What clients do: with a comment before it, on a table that the plan does not touch, as what it is kept as does not parse.
    for sql in ["SELECT date '2026-01-01'", "SELECT name FROM customers WHERE id = 7", "/* app */ SELECT id FROM orders WHERE note = 'x'"] {
        shop.session.client().batch_execute(sql).await.expect("runs");
    }
    let told = shop.ends(1, "rehearse 1 -v --rows 20 --queries-from-stats");
    says(
        &told,
        &[
            "does not prepare in expand, behind step 1: column \"note\" does not exist",
            // Since 18 it keeps no comment before a statement.
            "SELECT id FROM orders WHERE note = $1",
            "statements of pg_stat_statements do not prepare as it keeps them and are left out",
        ],
    );
    assert!(!told.contains("does not prepare at the start"), "{told}");
    // A role that may not see the statements of others is told so.
    let url = shop
        .command("x")
        .get_envs()
        .find(|(name, _)| *name == "DATABASE_URL")
        .and_then(|(_, url)| url)
        .expect("is set")
        .to_string_lossy()
        .replace("user=postgres", "user=app");
    let output = shop.command("rehearse 1 --queries-from-stats").env("DATABASE_URL", url).output().expect("runs");
    let (code, text) = shop::said(&output);
    assert_eq!(code, 1, "{text}");
    says(&text, &["statements of other roles are hidden from this one", "GRANT pg_read_all_stats"]);
    shop.session.client().batch_execute("DROP EXTENSION pg_stat_statements").await.expect("is dropped");
}
