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

const DIVIDED: &str =
    "        partition-by hash id\n        partition t_0 modulus=2 remainder=0\n        partition t_1 modulus=2 remainder=1\n";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_is_in_the_way_of_another_division() {
    let shop = shop(ORDERS).await;
    becomes(&shop, &orders("orders", ""), "drop");
    let refused = |said: String| {
        assert!(said.contains("column public.orders.note is kept after its drop") && said.contains("divided otherwise"), "{said}");
        assert!(said.contains("schema purge public.orders.note"), "{said}");
    };
    let divided = orders("orders", DIVIDED);
    shop.wants(&divided);
    refused(shop.ends(1, "plan --name divide"));
    // With another name too.
    shop.wants(&divided.replace("table orders {", "table sales was=orders {"));
    refused(shop.ends(1, "plan --name divide"));
    // As a partition of its successor.
    let within = "        partition-by range id\n        partition orders_old was=orders from=minvalue to=1000 { primary-key id part-of=orders_pkey; }\n        partition orders_new from=1000 to=maxvalue\n";
    shop.wants(&orders("orders", within));
    refused(shop.ends(1, "plan --name divide"));
    // As one of another table.
    let other = within.replace("orders_old was=orders", "orders").replace("orders_", "all_");
    shop.wants(&orders("all_orders", &other).replace("part-of=all_pkey", "part-of=all_orders_pkey"));
    refused(shop.ends(1, "plan --name divide"));
    // A plan that was made where nothing is kept.
    shop.wants(&divided);
    shop.session.client().batch_execute("ALTER TABLE schema_quarantine.kept RENAME TO elsewhere").await.expect("renames");
    shop.ends(0, "plan --name divide");
    shop.session.client().batch_execute("ALTER TABLE schema_quarantine.elsewhere RENAME TO kept").await.expect("renames");
    let kept = shop.ends(3, "apply --yes");
    assert!(kept.contains("0002-divide cannot run here, nothing was touched: column public.orders.note is kept after its drop"), "{kept}");
    shop.ends(0, "purge note --yes");
    shop.ends(0, ALL);
    assert_eq!(shop.value("SELECT count(*)::text FROM orders").await, "50");
}

/// What tables stand on, each by itself, and two tables on them.
const FOOTING: [&str; 7] = [
    "    enum mood a b c\n",
    "    domain pos int\n",
    "    sequence counted\n",
    "    function tf returns=trigger language=plpgsql { body \"BEGIN RETURN NEW; END\"; }\n",
    "    function ok returns=boolean language=sql immutable { arg a int; body \"SELECT $1 > 0\"; }\n",
    "    collation german provider=icu locale=de\n",
    "    type pair { attribute a int; attribute b text; }\n",
];
const COLUMNS: &str = "        column m mood default=\"'a'\"\n        column s \"mood[]\"\n        column p pos\n        column n int default=\"nextval('counted')\"\n        column c text collation=\"public.german\"\n        column d pair\n";
const TABLE: &str = "    table k {\n        column id int\n        column p int\n        primary-key id\n        check \"ok(p)\" name=fine\n        trigger tr before insert execute=\"tf()\"\n    }\n";
const ROWS: &str = "INSERT INTO orders (id, m) SELECT n, 'b' FROM generate_series(1, 50) n; INSERT INTO k SELECT n, n FROM generate_series(1, 50) n; ANALYZE";

fn footing(without: &[&str]) -> String {
    let stays = FOOTING.iter().filter(|text| !without.iter().any(|word| text.trim_start().starts_with(word)));
    stays.copied().collect()
}

async fn on_footing() -> Shop {
    let shop = shop("SELECT").await;
    becomes(&shop, &format!("{}{}{TABLE}", footing(&[]), orders("orders", COLUMNS)), "make");
    shop.session.client().batch_execute(ROWS).await.expect("is filled");
    shop
}

/// Both in one plan: what would stand on what goes is not kept, and its hazard says so.
#[tokio::test(flavor = "multi_thread")]
async fn what_stands_on_what_goes_too_is_dropped() {
    let shop = on_footing().await;
    shop.wants(&orders("orders", ""));
    let planned = shop.ends(0, "plan --name both");
    for (what, on) in [
        ("column public.orders.m", "enum public.mood"),
        ("column public.orders.s", "enum public.mood"),
        ("column public.orders.p", "domain public.pos"),
        ("column public.orders.n", "sequence public.counted"),
        ("column public.orders.c", "collation public.german"),
        ("column public.orders.d", "type public.pair"),
        ("table public.k", "function public."),
    ] {
        let said = format!("{what}; it cannot be kept, for {on}");
        assert!(planned.contains(&said), "no {said} in {planned}");
    }
    shop.ends(0, ALL);
    assert!(!shop.ends(0, "status").contains("Kept after"));
    assert!(shop.ends(0, "plan --exit-code").contains("Nothing to do"));
}

/// One after the other: what is kept is said, and nothing runs.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_stands_on_what_goes_later() {
    let shop = on_footing().await;
    becomes(&shop, &format!("{}{}", footing(&[]), orders("orders", "")), "drop");
    for (word, kept) in [
        ("enum mood", "column public.orders.m"),
        ("domain pos", "column public.orders.p"),
        ("sequence counted", "column public.orders.n"),
        ("function tf", "table public.k"),
        ("function ok", "table public.k"),
        ("collation german", "column public.orders.c"),
        ("type pair", "column public.orders.d"),
    ] {
        shop.wants(&format!("{}{}", footing(&[word]), orders("orders", "")));
        let refused = shop.ends(1, "plan --name later");
        let (kind, name) = word.split_once(' ').expect("a kind and a name");
        assert!(refused.contains(&format!("{kept} is kept after its drop, and stands on {kind} public.{name}")), "{refused}");
        assert!(refused.contains("first schema purge public."), "{refused}");
        assert!(!refused.contains("defect of schema"), "{refused}");
    }
    // A value that goes, and one that comes, and a new name.
    let moods = |new: &str| footing(&[]).replace("enum mood a b c", new) + &orders("orders", "");
    shop.wants(&moods("enum mood a b"));
    assert!(shop.ends(1, "plan --name later").contains("column public.orders.m is kept"));
    becomes(&shop, &moods("enum feeling a b c d was=mood"), "more");
    shop.wants(&moods("enum feeling a b d was=mood"));
    assert!(shop.ends(1, "plan --name later").contains("column public.orders.m is kept"));
    // A body that changes is in nobody's way.
    becomes(&shop, &moods("enum feeling a b c d was=mood").replace("BEGIN RETURN NEW", "BEGIN NEW.id := 1; RETURN NEW"), "body");
    shop.ends(0, "purge --all --yes");
    becomes(&shop, &orders("orders", ""), "last");
}

#[tokio::test(flavor = "multi_thread")]
async fn sequences_and_extensions_of_what_is_kept() {
    let shop = shop(
        "CREATE EXTENSION citext; CREATE TABLE orders (id bigint PRIMARY KEY, n serial, c citext); INSERT INTO orders (id) VALUES (1)",
    )
    .await;
    std::fs::create_dir_all(shop.file("schema")).expect("a folder");
    let extension =
        |there: bool| std::fs::write(shop.file("schema/extension.kdl"), if there { "extension citext\n" } else { "" }).expect("is written");
    let columns = "        column n int not-null default=\"nextval('orders_n_seq')\"\n        column c citext\n";
    let with = "    sequence orders_n_seq as=integer owned-by=\"orders.n\"\n".to_owned() + &orders("orders", columns);
    extension(true);
    shop.wants(&with);
    assert!(shop.ends(0, "plan --name same").contains("Nothing to do"));
    // Both at once.
    extension(false);
    shop.wants(&orders("orders", ""));
    let said = shop.ends(0, "plan --name both");
    assert!(said.contains("column public.orders.c; it cannot be kept, for extension citext"), "{said}");
    shop.ends(0, ALL);
    let status = shop.ends(0, "status");
    assert!(status.contains("column public.orders.n,") && !status.contains("public.orders.c,"), "{status}");
    assert!(shop.ends(0, "plan --exit-code").contains("Nothing to do"));
    shop.ends(0, "undrop n");
    shop.wants(
        &("    sequence orders_n_seq as=integer owned-by=\"orders.n\"\n".to_owned() + &orders("orders", columns))
            .replace("        column c citext\n", ""),
    );
    assert!(shop.ends(0, "plan --exit-code").contains("Nothing to do"));
}
