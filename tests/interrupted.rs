//! Commands that are cut off, raced or made to wait, each by the program itself, on a private server.

#[allow(dead_code, reason = "shared with the tests for operators")]
#[path = "support/shop.rs"]
mod shop;

use std::process::Child;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use shop::{Shop, ended};

const ORDERS: &str =
    "CREATE TABLE orders (id bigint PRIMARY KEY, note text); INSERT INTO orders SELECT n, 'note ' || n FROM generate_series(1, 50) n";

fn table(name: &str, inner: &str) -> String {
    format!("    table {name} {{\n        column id bigint\n{inner}        primary-key id\n    }}\n")
}

fn orders(inner: &str) -> String {
    table("orders", inner)
}

fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no `{part}` in: {text}");
    }
}

fn signal(child: &Child, signal: Signal) {
    kill_process(i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a number"), signal).expect("is there");
}

/// Of several plans each is looked at when its turn comes, not only the first.
#[tokio::test(flavor = "multi_thread")]
async fn a_later_plan_that_is_stale_is_refused() {
    let shop = Shop::start(&format!("{ORDERS}; CREATE TABLE lines (id bigint PRIMARY KEY)")).await;
    let note = "        column note text\n";
    shop.wants(&format!("{}{}", orders(&format!("{note}        column size int\n")), table("lines", "")));
    shop.ends(0, "plan --name size");
    shop.ends(0, "apply --yes");
    shop.wants(&format!("{}{}", orders(&format!("{note}        column size int\n")), table("lines", "        column place int\n")));
    shop.ends(0, "plan --name place");
    // As a database where neither was applied.
    shop.session
        .client()
        .batch_execute("DROP SCHEMA schema_ledger CASCADE; ALTER TABLE orders DROP COLUMN size; ALTER TABLE lines ADD COLUMN by_hand int")
        .await
        .expect("is made");
    let told = shop.ends(3, "apply --yes");
    says(
        &told,
        &["0001-size is done", "0002-place no longer fits this database, nothing was touched", "column public.lines.by_hand is new"],
    );
    let columns = "SELECT string_agg(attrelid::regclass || '.' || attname, ',' ORDER BY attrelid, attnum) FROM pg_attribute WHERE attrelid IN ('orders'::regclass, 'lines'::regclass) AND attnum > 1 AND NOT attisdropped";
    assert_eq!(shop.value(columns).await, "orders.note,orders.size,lines.by_hand");
    shop.session.client().batch_execute("ALTER TABLE lines DROP COLUMN by_hand").await.expect("is dropped");
    shop.ends(0, "apply --yes");
    assert_eq!(shop.value(columns).await, "orders.note,orders.size,lines.place");
}

/// Killed when all is undone and that is not yet recorded, or before: it goes on to the stage that was meant, said again
/// or not, or further back, and to none before which more is undone.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_to_a_stage_is_ended() {
    let shop = Shop::start(ORDERS).await;
    std::fs::write(shop.file("schema.kdl"), "small-table rows=10\n").expect("is written");
    // On every version there is something to switch: from 18 on, NOT NULL alone has nothing.
    shop.wants(&orders("        column remark text not-null was=note\n        unique remark\n"));
    shop.session
        .client()
        .batch_execute("UPDATE orders SET note = '' WHERE note IS NULL; ALTER TABLE orders ALTER note SET NOT NULL, ADD UNIQUE (note)")
        .await
        .expect("is made");
    shop.ends(0, "plan --name remark --allow all");
    shop.ends(0, "apply --yes");
    let first = "SELECT min(number)::text FROM schema_ledger.steps WHERE stage IN ('backfill', 'switch') AND state = 'done'";
    let step = shop.value(first).await;
    let output = shop.command("rollback --to expand --yes").env("SCHEMA_CRASH_AT", format!("step:{step}:after")).output().expect("runs");
    assert_eq!(output.status.code(), None, "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(shop.value("SELECT state FROM schema_ledger.plans").await, "rolling-back");
    says(&shop.ends(3, "apply --yes"), &["is being rolled back", "schema rollback 0001-remark"]);
    says(&shop.ends(0, "status"), &["rolled back in part to the end of expand, 0 steps are left"]);
    says(&shop.ends(3, "rollback --to switch --yes"), &["to the end of expand: it cannot stop at the end of switch"]);
    says(&shop.ends(0, "rollback --yes"), &["to the end of expand:", "back at the end of expand"]);
    assert_eq!(shop.value("SELECT state FROM schema_ledger.plans").await, "waiting");
    // Killed before anything is undone; then as it was said, and further back.
    shop.ends(0, "apply --yes");
    let kill = |words: &str, at: &str| {
        let output = shop.command(words).env("SCHEMA_CRASH_AT", at).output().expect("runs");
        assert_eq!(output.status.code(), None, "{}", String::from_utf8_lossy(&output.stderr));
    };
    let last = shop.value("SELECT max(number)::text FROM schema_ledger.steps WHERE stage = 'switch' AND state = 'done'").await;
    kill("rollback --to backfill --yes", &format!("step:{last}:before"));
    says(&shop.ends(0, "rollback --to backfill --yes"), &["back at the end of backfill"]);
    shop.ends(0, "apply --yes");
    kill("rollback --to backfill --yes", &format!("step:{last}:after"));
    kill("rollback --to expand --yes", &format!("step:{step}:before"));
    says(&shop.ends(0, "rollback --yes"), &["back at the end of expand"]);
    shop.ends(0, "apply --yes");
    kill("rollback --yes", &format!("step:{last}:before"));
    says(&shop.ends(3, "rollback --to expand --yes"), &["to where it began: it cannot stop at the end of expand"]);
    says(&shop.ends(0, "rollback --yes"), &["is rolled back"]);
    shop.ends(0, "apply 1 --again --yes");
    shop.ends(0, "apply --all --confirm old-clients-gone --yes");
    assert_eq!(shop.value("SELECT count(remark)::text FROM orders").await, "50");
}

/// Killed between bringing a column back and making again what stood on it: that is not forgotten.
#[tokio::test(flavor = "multi_thread")]
async fn an_undrop_that_was_killed_goes_on() {
    let shop = Shop::start("CREATE TABLE orders (id bigint PRIMARY KEY, note text NOT NULL CHECK (note <> '')); CREATE INDEX orders_note_idx ON orders (note); INSERT INTO orders VALUES (1, 'a')").await;
    std::fs::write(shop.file("schema.kdl"), "quarantine \"7d\"\n").expect("is written");
    shop.wants(&orders(""));
    shop.ends(0, "plan --name away --allow all");
    shop.ends(0, "apply --all --confirm old-clients-gone --yes");
    let output = shop.command("undrop note").env("SCHEMA_CRASH_AT", "record:1:after").output().expect("runs");
    assert_eq!(output.status.code(), None, "{}", String::from_utf8_lossy(&output.stderr));
    let standing = "SELECT concat_ws(' ', (SELECT count(*) FROM pg_indexes WHERE tablename = 'orders'), (SELECT count(*) FROM pg_constraint WHERE conrelid = 'orders'::regclass AND contype = 'c'), (SELECT attnotnull FROM pg_attribute WHERE attrelid = 'orders'::regclass AND attname = 'note'))";
    assert_ne!(shop.value(standing).await, "2 1 t");
    says(&shop.ends(0, "status"), &["column public.orders.note is back, but not all that stood on it"]);
    says(&shop.ends(0, "purge --all --yes"), &["Nothing to purge"]);
    says(&shop.ends(0, "undrop note"), &["is back already"]);
    assert_eq!(shop.value(standing).await, "2 1 t");
    says(&shop.ends(1, "undrop note"), &["no `note` is kept"]);
    // The same column may go once more.
    shop.ends(0, "plan --name again --allow all");
    shop.ends(0, "apply --all --confirm old-clients-gone --yes");
    shop.ends(0, "undrop note");
    assert_eq!(shop.value(standing).await, "2 1 t");
}

/// SIGTERM and SIGHUP, while a build waits for an old transaction, and before anything is begun.
#[tokio::test(flavor = "multi_thread")]
async fn signals_end_what_waits() {
    let shop = Shop::start(&format!("{ORDERS}; CREATE VIEW seen AS SELECT note FROM orders; ANALYZE orders")).await;
    std::fs::write(shop.file("schema.kdl"), "small-table rows=10\nenv test {\n    url (env)DATABASE_URL\n}\n").expect("is written");
    shop.wants(&format!(
        "{}    view seen {{\n        sql \"SELECT note FROM public.orders\"\n    }}\n",
        orders("        column note text\n        index note\n")
    ));
    shop.ends(0, "plan --env test --name index");
    let other = shop.scratch.connect("shop").await.expect("connects");
    // Reading the catalog waits for whoever holds a view's table; so named, and stopped, with nothing begun.
    other.client().batch_execute("BEGIN; LOCK TABLE orders").await.expect("locks");
    let child = shop.spawn("apply --env test --yes");
    tokio::time::sleep(Duration::from_secs(8)).await;
    signal(&child, Signal::TERM);
    let (code, told) = ended(child);
    assert_eq!(code, 5, "{told}");
    says(&told, &[&format!("held by pid {}", other.backend_pid), "Stopped before anything was begun"]);
    let child = shop.spawn("plan --env test --out -");
    tokio::time::sleep(Duration::from_secs(8)).await;
    other.client().batch_execute("ROLLBACK; BEGIN; UPDATE orders SET note = note WHERE id = 1").await.expect("writes");
    let (code, told) = ended(child);
    assert_eq!(code, 0, "{told}");
    says(&told, &[&format!("held by pid {}", other.backend_pid), "CONCURRENTLY"]);
    for stop in [Signal::HUP, Signal::TERM] {
        let child = shop.spawn("apply --env test --yes");
        shop.until("SELECT (count(*) > 0)::text FROM pg_stat_activity WHERE query LIKE '% INDEX CONCURRENTLY%' AND pid <> pg_backend_pid() AND wait_event_type = 'Lock'", "true").await;
        let begun = Instant::now();
        signal(&child, stop);
        let (code, told) = ended(child);
        assert_eq!(code, 5, "{told}");
        says(&told, &["asked to stop", "go on with: schema apply --env test 0001-index"]);
        assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    }
    other.client().batch_execute("COMMIT").await.expect("ends");
    shop.ends(0, "apply --env test --yes");
    assert_eq!(
        shop.value("SELECT count(*) FILTER (WHERE NOT indisvalid) || ' ' || count(*) FROM pg_index WHERE indrelid = 'orders'::regclass")
            .await,
        "0 2"
    );
}

/// Whatever reads a live database waits for whoever holds a view's table exclusively, or one whose rows are counted; so named.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_reads_says_whom_it_waits_for() {
    let shop = Shop::start(&format!("{ORDERS}; CREATE VIEW seen AS SELECT note FROM orders; ANALYZE orders")).await;
    std::fs::write(shop.file("schema.kdl"), "default-env test\nenv test {\n    url (env)DATABASE_URL\n}\n").expect("is written");
    shop.wants(&format!(
        "{}    view seen {{\n        sql \"SELECT note FROM public.orders\"\n    }}\n",
        orders("        column note text\n        index note\n")
    ));
    shop.ends(0, "plan --name index");
    let empty = tempfile::tempdir().expect("a folder");
    let other = shop.scratch.connect("shop").await.expect("connects");
    other.client().batch_execute("SET application_name = 'night job'").await.expect("is named");
    other.client().batch_execute("BEGIN; LOCK TABLE orders").await.expect("locks");
    let words = [
        ("diff test schema", 0),
        ("check --env test", 0),
        ("inspect --env test", 0),
        ("rehearse 1", 0),
        ("plan --out -", 0),
        ("mark 1 done --yes", 3),
        ("clean --yes", 0),
    ];
    let mut readers: Vec<_> = words.into_iter().map(|(words, code)| (words, code, shop.spawn(words))).collect();
    let url = std::ffi::OsString::from(shop.url());
    let adopt = shop.command("init").args([std::ffi::OsStr::new("--url"), &url]).current_dir(empty.path()).spawn().expect("starts");
    readers.push(("init", 0, adopt));
    tokio::time::sleep(Duration::from_secs(8)).await;
    other.client().batch_execute("ROLLBACK").await.expect("ends");
    for (words, expected, child) in readers {
        let (code, told) = ended(child);
        assert_eq!(code, expected, "schema {words}: {told}");
        let held =
            format!("Reading the database waits for a lock, held by pid {}, user postgres, application night job", other.backend_pid);
        for part in [held.as_str(), "idle in transaction, transaction open for", "LOCK TABLE orders", "pg_terminate_backend("] {
            assert!(told.contains(part), "schema {words}: no `{part}` in: {told}");
        }
    }
    // A table without a view is read only where its rows are counted.
    shop.session.client().batch_execute("DROP VIEW seen").await.expect("are dropped");
    shop.wants(&orders("        column note text\n        index note\n"));
    other.client().batch_execute("BEGIN; LOCK TABLE orders").await.expect("locks");
    let readers = [shop.spawn("diff test schema"), shop.spawn("apply --direct --yes")];
    tokio::time::sleep(Duration::from_secs(7)).await;
    other.client().batch_execute("ROLLBACK").await.expect("ends");
    for child in readers {
        let (code, told) = ended(child);
        assert_eq!(code, 0, "{told}");
        says(&told, &["Reading the database waits for a lock", "application night job"]);
    }
    // Nobody waits for ever.
    let config = "lock-timeout \"200ms\" retry-for=\"3s\"\ndefault-env test\nenv test {\n    url (env)DATABASE_URL\n}\n";
    std::fs::write(shop.file("schema.kdl"), config).expect("is written");
    shop.wants(&orders("        column note text\n"));
    other.client().batch_execute("BEGIN; LOCK TABLE orders").await.expect("locks");
    says(&shop.ends(1, "diff test schema"), &["could not be read within 3 s: a lock is held by pid", "nothing was touched"]);
    let waiting = "SELECT count(*)::text FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
    assert_eq!(shop.value(waiting).await, "0");
}

/// A proof that reads for long leaves nothing: it is not waited for, neither on a signal nor when the time is over.
#[tokio::test(flavor = "multi_thread")]
async fn a_proof_is_cancelled() {
    let slow =
        "CREATE FUNCTION slow(id bigint) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS 'BEGIN PERFORM pg_sleep(1); RETURN true; END'";
    let shop = Shop::start(&format!("{slow}; {ORDERS}; ANALYZE orders")).await;
    std::fs::write(shop.file("schema.kdl"), "small-table rows=10\n").expect("is written");
    let function = "    function slow returns=boolean language=plpgsql immutable {\n        arg id bigint\n        \
                    body \"BEGIN PERFORM pg_sleep(1); RETURN true; END\"\n    }\n";
    shop.wants(&format!("{function}{}", orders("        column note text\n        check \"public.slow(id)\" name=holds\n")));
    shop.ends(0, "plan --name slow --no-proof");
    let validating = "SELECT count(*)::text FROM pg_stat_activity WHERE query LIKE '%VALIDATE CONSTRAINT%' AND state = 'active' AND pid <> pg_backend_pid()";
    let stands = "SELECT concat_ws(' ', (SELECT convalidated FROM pg_constraint WHERE conname = 'holds'), (SELECT state FROM schema_ledger.steps WHERE number = 2))";
    let child = shop.spawn("apply --yes --no-preflight");
    shop.until(validating, "1").await;
    let begun = Instant::now();
    signal(&child, Signal::TERM);
    let (code, told) = ended(child);
    assert_eq!(code, 5, "{told}");
    says(
        &told,
        &[
            "what is running is cancelled",
            "What ran was cancelled and left nothing; it begins anew",
            "schema apply --no-preflight 0001-slow",
        ],
    );
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(shop.value(validating).await, "0");
    assert_eq!(shop.value(stands).await, "f running");
    let told = shop.ends(5, "apply --yes --no-preflight --max-time 3s");
    says(&told, &["the time that it was given is over", "What ran was cancelled and left nothing"]);
    shop.session
        .client()
        .batch_execute("CREATE OR REPLACE FUNCTION slow(id bigint) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN true; END'")
        .await
        .expect("is quick");
    shop.ends(0, "apply --yes --no-preflight");
    assert_eq!(shop.value(stands).await, "t done");
}

/// Without a gate nothing tells when the clients of the old release are gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_is_not_there_is_not_met() {
    let shop = Shop::start(ORDERS).await;
    shop.wants(&orders("        column note text\n        column size int\n"));
    shop.ends(0, "plan --name size");
    shop.ends(0, "apply --yes --through expand");
    says(&shop.ends(3, "wait 1 --for gate --timeout 1s"), &["has no gate"]);
    says(&shop.ends(1, "apply --format json"), &["no format json"]);
}

/// A server that is restarted ends no waiting.
#[tokio::test(flavor = "multi_thread")]
async fn a_wait_survives_its_connection() {
    let shop = Shop::start(ORDERS).await;
    shop.wants(&orders("        column note text\n        column size int\n"));
    shop.ends(0, "plan --name size");
    let waits = shop.spawn("wait 1 --timeout 60s");
    let waiting = "SELECT count(pg_terminate_backend(pid))::text FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = 'shop' AND query LIKE '%schema_ledger%'";
    shop.until(waiting, "1").await;
    shop.ends(0, "apply --yes");
    let (code, told) = ended(waits);
    assert_eq!(code, 0, "{told}");
}

/// A schema beside which no plan stands any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_stood_beside_is_cleaned() {
    let shop = Shop::start(ORDERS).await;
    let left = "CREATE SCHEMA schema_beside_public_orders_old; SET search_path = schema_beside_public_orders_old; \
                CREATE TABLE orders (id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY, up bigint REFERENCES orders) PARTITION BY RANGE (id); CREATE TABLE part PARTITION OF orders FOR VALUES FROM (1) TO (9); \
                CREATE TABLE other (id bigint REFERENCES orders); CREATE VIEW v AS SELECT * FROM other; CREATE SEQUENCE s; INSERT INTO orders (up) VALUES (NULL); ANALYZE; \
                CREATE FUNCTION f(a int) RETURNS int LANGUAGE sql AS 'SELECT 1'";
    let made = shop.session.client().batch_execute(left).await;
    made.expect("is left behind");
    let asked = shop.ends(3, "clean");
    says(&asked, &["say --yes in scripts"]);
    let cleaned = shop.ends(0, "clean --yes");
    says(&cleaned, &["schema schema_beside_public_orders_old ! with its data: 2 tables, about 1 rows"]);
    assert_eq!(shop.value("SELECT count(*)::text FROM pg_namespace WHERE nspname LIKE 'schema_beside%'").await, "0");
    says(&shop.ends(0, "clean --yes"), &["Nothing to clean"]);
    assert_eq!(shop.value("SELECT count(*)::text FROM public.orders").await, "50");
}

/// Line ends are not what a plan says: a check-out that writes them otherwise changes nothing.
#[test]
fn a_plan_with_other_line_ends_is_the_same() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("plans");
    let mut plans = 0;
    for entry in std::fs::read_dir(folder).expect("is there") {
        let path = entry.expect("is read").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let parts: Vec<&str> = name.split('.').collect();
        if parts.len() != 2 || parts[1] != "kdl" {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("is text");
        let hash = |text: &str| schema::plan::file::hash(&schema::plan::file::read(&path, text).expect("is a plan"));
        assert_eq!(hash(&text), hash(&text.replace('\n', "\r\n")), "{name}");
        plans += 1;
    }
    assert!(plans > 0);
}
