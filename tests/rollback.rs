//! `schema rollback`, `mark`, `clean`, `undrop` and `purge`, as a person uses them, on a private server.

#[allow(dead_code, reason = "shared with the tests for operators")]
#[path = "support/shop.rs"]
mod shop;

use std::process::Command;

use shop::Shop;

fn orders(inner: &str) -> String {
    format!("    table orders {{\n        column id bigint\n{inner}        primary-key id\n    }}\n")
}

const ORDERS: &str =
    "CREATE TABLE orders (id bigint PRIMARY KEY, note text); INSERT INTO orders SELECT n, 'note ' || n FROM generate_series(1, 50) n";
const COLUMNS: &str = "SELECT string_agg(attname, ',' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'orders'::regclass AND attnum > 0 AND NOT attisdropped";

#[tokio::test(flavor = "multi_thread")]
async fn there_and_back() {
    let shop = Shop::start(ORDERS).await;
    shop.wants(&orders("        column note text\n        index note\n"));
    shop.ends(0, "plan --name index");
    shop.ends(0, "apply --yes");
    shop.wants(&orders("        column note text\n        column size int\n        index note\n"));
    shop.ends(0, "plan --name size");
    shop.ends(0, "apply --yes");
    assert_eq!(shop.value(COLUMNS).await, "id,note,size");

    let asked = shop.ends(3, "rollback");
    assert!(asked.contains("say --yes in scripts"), "{asked}");
    let shared = shop.ends(3, "rollback 1 --yes");
    assert!(shared.contains("0001-index stays: 0002-size, which came later, shares table public.orders"), "{shared}");
    assert!(shared.contains("schema rollback 0002-size"), "{shared}");
    let back = shop.ends(0, "rollback --yes");
    assert!(back.contains("0002-size is rolled back"), "{back}");
    assert_eq!(shop.value(COLUMNS).await, "id,note");
    assert!(shop.ends(0, "status").contains("rolled-back"));
    assert!(shop.ends(0, "history").contains("rolled-back"));

    // Not by itself, but when told to.
    shop.ends(0, "apply --yes");
    assert_eq!(shop.value(COLUMNS).await, "id,note");
    shop.ends(0, "apply 2 --again --yes");
    assert_eq!(shop.value(COLUMNS).await, "id,note,size");
    // From the ledger alone.
    std::fs::remove_dir_all(shop.file("plans")).expect("removed");
    shop.ends(0, "rollback size --yes");
    shop.ends(0, "rollback 1 --yes");
    assert_eq!(shop.value("SELECT count(*)::text FROM pg_indexes WHERE tablename = 'orders'").await, "1");
    assert!(shop.ends(0, "rollback --yes").contains("Nothing to roll back"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_come_back_is_said() {
    let shop = Shop::start(ORDERS).await;
    shop.wants(&orders(""));
    shop.ends(0, "plan --name drop --allow drop-column");
    shop.ends(0, "apply --all --confirm old-clients-gone --yes");
    let refused = shop.ends(3, "rollback --yes");
    assert!(refused.contains("nothing was touched") && refused.contains("it lost column public.orders.note"), "{refused}");
    assert_eq!(shop.value(COLUMNS).await, "id");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_that_fails_goes_on() {
    let shop = Shop::start("CREATE TABLE orders (id bigint PRIMARY KEY, note text NOT NULL)").await;
    shop.wants(&orders("        column size int\n"));
    shop.ends(0, "plan --name drop --allow drop-column");
    shop.ends(0, "apply --yes");
    // A new client leaves the column out that the old release needs.
    shop.session.client().batch_execute("INSERT INTO orders (id) VALUES (1)").await.expect("inserts");
    let failed = shop.ends(1, "rollback --yes");
    assert!(failed.contains("null values") && failed.contains("schema rollback"), "{failed}");
    assert!(shop.ends(0, "status").contains("go on with: schema rollback"), "{}", shop.ends(0, "status"));
    let refused = shop.ends(3, "apply --yes");
    assert!(refused.contains("being rolled back"), "{refused}");
    shop.session.client().batch_execute("UPDATE orders SET note = ''").await.expect("updates");
    shop.ends(0, "rollback --yes");
    assert_eq!(shop.value(COLUMNS).await, "id,note");
    assert_eq!(
        shop.value("SELECT attnotnull::text FROM pg_attribute WHERE attrelid = 'orders'::regclass AND attname = 'note'").await,
        "true"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn done_by_hand() {
    let shop = Shop::start(ORDERS).await;
    shop.wants(&orders("        column note text\n        column size int\n        index note\n"));
    shop.ends(0, "plan --name both");
    let refused = shop.ends(3, "mark 1 done --yes");
    assert!(refused.contains("column public.orders.size is not there"), "{refused}");
    shop.session
        .client()
        .batch_execute("ALTER TABLE orders ADD size int; CREATE INDEX orders_note_idx ON orders (note)")
        .await
        .expect("by hand");
    shop.ends(0, "mark 1 done --yes");
    assert!(shop.ends(0, "apply --yes").contains("Nothing to do"));
    assert!(shop.ends(0, "status").contains("done"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_plan_left_behind() {
    let shop = Shop::start(ORDERS).await;
    shop.wants(&orders("        column remark text was=note\n"));
    shop.ends(0, "plan --name remark --allow all");
    shop.ends(0, "apply --yes");
    assert!(shop.ends(0, "clean --yes").contains("Nothing to clean"), "an unfinished plan owns its helpers");
    shop.ends(0, "apply --all --confirm old-clients-gone --yes");
    assert!(shop.ends(0, "clean --yes").contains("Nothing to clean"));
    let helper = "CREATE FUNCTION orders_remark_sync_first() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; \
                  CREATE TRIGGER \"!orders_remark_sync_first\" BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION orders_remark_sync_first()";
    shop.session.client().batch_execute(helper).await.expect("left behind");
    let asked = shop.ends(3, "clean");
    assert!(asked.contains("say --yes in scripts"), "{asked}");
    let cleaned = shop.ends(0, "clean --yes");
    assert!(
        cleaned.contains("trigger public.orders.!orders_remark_sync_first") && cleaned.contains("function public.orders_remark_sync_first"),
        "{cleaned}"
    );
    assert_eq!(shop.value("SELECT count(*)::text FROM pg_proc WHERE proname LIKE 'orders_remark%'").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_and_kept() {
    let shop = Shop::start(
        "CREATE TABLE customers (id bigint PRIMARY KEY); INSERT INTO customers VALUES (1); \
         CREATE TABLE orders (id bigint PRIMARY KEY, note text NOT NULL CHECK (note <> ''), size int DEFAULT 3); \
         CREATE INDEX orders_note_idx ON orders (note); COMMENT ON COLUMN orders.note IS 'kept as well'; \
         INSERT INTO orders SELECT n, 'note ' || n FROM generate_series(1, 50) n; \
         CREATE TABLE lines (id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY, customer bigint REFERENCES customers); \
         CREATE INDEX lines_customer_idx ON lines (customer); INSERT INTO lines (customer) SELECT 1 FROM generate_series(1, 7)",
    )
    .await;
    let dump = || {
        let output = Command::new(shop.scratch.installation().program("pg_dump"))
            .args(["-N", "schema_ledger", "-N", "schema_quarantine", "-U", "postgres", "-d", "shop", "-h"])
            .arg(shop.scratch.socket_dir())
            .output()
            .expect("runs");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        text.lines().filter(|line| !line.starts_with('\\')).collect::<Vec<_>>().join("\n")
    };
    let start = dump();
    std::fs::write(shop.file("schema.kdl"), "quarantine \"7d\"\n").expect("written");
    let customers = "    table customers {\n        column id bigint\n        primary-key id\n    }\n";
    shop.wants(&format!("{customers}{}", orders("        column size int default=3\n")));
    shop.ends(0, "plan --name away --allow all");
    shop.ends(0, "apply --all --confirm old-clients-gone --yes");
    assert_eq!(
        shop.value("SELECT (to_regclass('lines') IS NULL AND to_regclass('schema_quarantine_public_lines.lines') IS NOT NULL)::text").await,
        "true"
    );
    assert!(shop.ends(0, "plan --name nothing").contains("Nothing to do"));
    let status = shop.ends(0, "status");
    assert!(status.contains("column public.orders.note, until") && status.contains("table public.lines, until"), "{status}");
    assert!(shop.ends(0, "purge --yes").contains("Nothing to purge"));

    shop.ends(0, "undrop lines");
    shop.ends(0, "undrop public.orders.note");
    assert_eq!(dump(), start);

    // The contract stage can be undone as well: what is dropped comes back with the plan.
    shop.ends(0, "plan --name again --allow all");
    shop.ends(0, "apply --all --confirm old-clients-gone --yes");
    shop.session.client().batch_execute("INSERT INTO orders (id) VALUES (51)").await.expect("a new client inserts");
    let incomplete = shop.ends(1, "undrop note");
    assert!(incomplete.contains("is back with its data, but not all") && incomplete.contains("null values"), "{incomplete}");
    assert_eq!(shop.value("SELECT count(note)::text FROM orders").await, "50");

    assert!(shop.ends(3, "purge lines").contains("say --yes"));
    shop.ends(0, "purge lines --yes");
    assert_eq!(shop.value("SELECT count(*)::text FROM pg_namespace WHERE nspname = 'schema_quarantine_public_lines'").await, "0");
    assert!(shop.ends(1, "undrop lines").contains("no `lines` is kept"));
}

/// What is dropped, made anew and dropped once more is kept twice; the newest comes back by its name, the others by their
/// number.
#[tokio::test(flavor = "multi_thread")]
async fn dropped_twice_and_kept() {
    let shop = Shop::start(ORDERS).await;
    std::fs::write(shop.file("schema.kdl"), "quarantine \"7d\"\n").expect("written");
    let lines = "    table lines {\n        column id bigint\n        primary-key id\n    }\n";
    let with = format!("{lines}{}", orders("        column note text\n"));
    for turn in ["first", "second", "third"] {
        shop.wants(&with);
        let made = shop.ends(0, "plan --name make");
        if !made.contains("Nothing to do") {
            shop.ends(0, "apply --yes");
        }
        let marks = format!("UPDATE orders SET note = '{turn}'; ALTER TABLE lines ADD COLUMN {turn} int");
        shop.session.client().batch_execute(&marks).await.expect("is marked");
        shop.wants(&orders(""));
        shop.ends(0, "plan --name away --allow all");
        shop.ends(0, "apply --all --confirm old-clients-gone --yes");
    }
    let status = shop.ends(0, "status");
    for what in ["column public.orders.note,", "column public.orders.note#2,", "table public.lines,", "table public.lines#3,"] {
        assert!(status.contains(what), "no {what} in {status}");
    }
    let note = "SELECT min(note) FROM orders";
    let line = "SELECT string_agg(attname, ',' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'lines'::regclass AND attnum > 1";
    shop.ends(0, "undrop note");
    assert_eq!(shop.value(note).await, "third");
    shop.ends(0, "undrop public.lines");
    assert_eq!(shop.value(line).await, "third");
    let taken = shop.ends(1, "undrop public.orders.note#2");
    assert!(taken.contains("already exists"), "{taken}");
    shop.session.client().batch_execute("ALTER TABLE orders DROP COLUMN note; DROP TABLE lines").await.expect("is dropped");
    shop.ends(0, "undrop public.orders.note#2");
    assert_eq!(shop.value(note).await, "first");
    shop.ends(0, "purge lines#2 --yes");
    shop.ends(0, "undrop lines#3");
    assert_eq!(shop.value(line).await, "second");
    // What is left is the second note; a rollback of a further drop takes the newest back.
    shop.ends(0, "plan --name once-more --allow all");
    shop.ends(0, "apply --all --confirm old-clients-gone --yes");
    shop.ends(0, "rollback --yes");
    assert_eq!(shop.value(note).await, "first");
    shop.ends(0, "purge --all --yes");
    let left =
        "SELECT count(*)::text FROM pg_attribute WHERE attrelid = 'orders'::regclass AND attname LIKE 'schema_q%' AND NOT attisdropped";
    assert_eq!(shop.value(left).await, "0");
}
