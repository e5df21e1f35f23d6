//! What is kept after its drop, whatever becomes of the plan, of its table and of what it stands on, on a private server.

#[allow(dead_code, reason = "shared with the tests for operators")]
#[path = "support/shop.rs"]
mod shop;

use shop::Shop;

const ALL: &str = "apply --all --confirm old-clients-gone --yes";
const CONFIG: &str = "quarantine \"7d\"\nsmall-table rows=1\nhazards { allow all; }\n";

async fn shop(before: &str) -> Shop {
    let shop = Shop::start(&format!("{before}; ANALYZE")).await;
    std::fs::write(shop.file("schema.kdl"), CONFIG).expect("is written");
    shop
}

fn orders(name: &str, inner: &str) -> String {
    format!("    table {name} {{\n        column id bigint\n{inner}        primary-key id\n    }}\n")
}

const NOTE: &str = "        column note text not-null\n        check note_given \"note <> ''\"\n        index note\n";
const ORDERS: &str = "CREATE TABLE orders (id bigint PRIMARY KEY, note text NOT NULL CONSTRAINT note_given CHECK (note <> '')); \
     CREATE INDEX orders_note_idx ON orders (note); INSERT INTO orders SELECT n, 'note ' || n FROM generate_series(1, 50) n";
/// What stands on the column: NOT NULL, its check, its index; and its values.
const STANDING: &str = "SELECT concat_ws(' ', (SELECT count(*) FROM pg_indexes WHERE tablename = 'orders'), \
     (SELECT count(*) FROM pg_constraint WHERE conrelid = 'orders'::regclass AND contype = 'c'), \
     (SELECT attnotnull FROM pg_attribute WHERE attrelid = 'orders'::regclass AND attname = 'note'), (SELECT count(note) FROM orders))";

/// Plans and applies to the end.
fn becomes(shop: &Shop, tables: &str, name: &str) {
    shop.wants(tables);
    shop.ends(0, &format!("plan --name {name}"));
    shop.ends(0, ALL);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_finds_what_was_set_aside() {
    let shop = shop(ORDERS).await;
    becomes(&shop, &orders("orders", ""), "drop");
    // It is back already, with what stood on it.
    shop.ends(0, "undrop note");
    shop.ends(0, "rollback --yes");
    assert_eq!(shop.value(STANDING).await, "2 1 t 50");
    shop.ends(0, "apply 1 --again --all --confirm old-clients-gone --yes");
    // It is still kept.
    shop.ends(0, "rollback --yes");
    assert_eq!(shop.value(STANDING).await, "2 1 t 50");
    shop.ends(0, "apply 1 --again --all --confirm old-clients-gone --yes");
    // It is gone for good.
    shop.ends(0, "purge note --yes");
    let refused = shop.ends(3, "rollback --yes");
    assert!(
        refused.contains("nothing was touched") && refused.contains("was purged since") && refused.contains("column public.orders.note"),
        "{refused}"
    );
    assert!(shop.ends(0, "status").contains("0001-drop done"), "it is as it was");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_finds_a_table_that_was_set_aside() {
    let shop = shop(
        "CREATE TABLE customers (id bigint PRIMARY KEY); INSERT INTO customers VALUES (1); \
         CREATE TABLE orders (id bigint PRIMARY KEY, customer bigint REFERENCES customers); INSERT INTO orders VALUES (7, 1)",
    )
    .await;
    becomes(&shop, &orders("customers", ""), "drop");
    shop.ends(0, "undrop orders");
    shop.ends(0, "rollback --yes");
    assert_eq!(
        shop.value("SELECT concat_ws(' ', (SELECT count(*) FROM orders), (SELECT count(*) FROM pg_constraint WHERE conrelid = 'orders'::regclass AND contype = 'f'))").await,
        "1 1"
    );
    shop.ends(0, "apply 1 --again --all --confirm old-clients-gone --yes");
    shop.ends(0, "purge orders --yes");
    assert!(shop.ends(3, "rollback --yes").contains("table public.orders"));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_of_one_name_go_back_in_turn() {
    let shop = shop("CREATE TABLE orders (id bigint PRIMARY KEY, note text); INSERT INTO orders VALUES (1, 'first')").await;
    let note = "        column note text\n";
    becomes(&shop, &orders("orders", ""), "drop");
    becomes(&shop, &orders("orders", note), "add");
    shop.session.client().batch_execute("UPDATE orders SET note = 'second'").await.expect("updates");
    becomes(&shop, &orders("orders", ""), "drop-again");
    assert!(shop.ends(0, "status").contains("column public.orders.note#2,"));
    shop.ends(0, "rollback 3 --yes");
    assert_eq!(shop.value("SELECT note FROM orders").await, "second");
    shop.ends(0, "rollback 2 --yes");
    shop.ends(0, "rollback 1 --yes");
    assert_eq!(shop.value("SELECT note FROM orders").await, "first");
    assert!(!shop.ends(0, "status").contains("Kept after"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_renamed_over_what_is_kept() {
    let shop = shop(ORDERS).await;
    becomes(&shop, &orders("orders", ""), "drop");
    becomes(&shop, &orders("sales", "").replace("table sales {", "table sales was=orders {"), "rename");
    assert!(shop.ends(0, "status").contains("column public.orders.note (now in public.sales)"));
    shop.ends(0, "undrop public.sales.note");
    assert_eq!(shop.value(&STANDING.replace("orders'", "sales'").replace("FROM orders", "FROM sales")).await, "2 1 t 50");
    // Kept once more, with one of the name that it had in the other table.
    becomes(&shop, &orders("sales", ""), "drop-again");
    shop.ends(0, "purge --all --yes");
    let left = "SELECT count(*)::text FROM pg_attribute WHERE attrelid = 'sales'::regclass AND attname LIKE 'schema_q%'";
    assert_eq!(shop.value(left).await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_meet_when_tables_are_renamed() {
    let shop = shop("CREATE TABLE orders (id bigint PRIMARY KEY, note text); INSERT INTO orders VALUES (1, 'first')").await;
    let note = "        column note text\n";
    becomes(&shop, &orders("orders", ""), "drop");
    let renamed = |inner: &str| orders("sales", inner).replace("table sales {", "table sales was=orders {");
    becomes(&shop, &renamed(note), "rename");
    shop.session.client().batch_execute("UPDATE sales SET note = 'second'").await.expect("updates");
    becomes(&shop, &renamed(""), "drop-again");
    shop.ends(0, "undrop public.orders.note");
    assert_eq!(shop.value("SELECT note FROM sales").await, "first");
    shop.session.client().batch_execute("ALTER TABLE sales RENAME note TO first").await.expect("renames");
    shop.ends(0, "undrop public.sales.note");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_dropped_by_hand_is_not_said_to_be_purged() {
    let shop = shop(ORDERS).await;
    becomes(&shop, &orders("orders", ""), "drop");
    shop.session.client().batch_execute("ALTER TABLE orders DROP COLUMN \"schema_quarantine.note\"").await.expect("drops");
    assert!(shop.ends(0, "status").contains("is not there any more"));
    assert!(shop.ends(1, "undrop note").contains("was dropped since"));
    assert!(shop.ends(1, "purge note --yes").contains("not found, and so not dropped here: column public.orders.note"));
    assert!(shop.ends(1, "purge note --yes").contains("no `note` is kept"));
}
