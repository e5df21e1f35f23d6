//! What somebody does by hand while a plan is under way, to rows and to the plan's own triggers, on a private server.

#[allow(dead_code, reason = "shared with the tests for operators")]
#[path = "support/shop.rs"]
mod shop;

use shop::Shop;

const CONTRACT: &str = "apply --all --confirm old-clients-gone --yes";
const TRIGGER: &str = "SELECT quote_ident(tgname) FROM pg_trigger WHERE tgrelid = 'orders'::regclass AND tgname LIKE '!%'";

fn orders(inner: &str) -> String {
    format!("    table orders {{\n        column id bigint\n{inner}        primary-key id\n    }}\n")
}

/// A plan that waits before contract.
async fn waiting(note: &str, desired: &str) -> Shop {
    let before = format!(
        "CREATE TABLE orders (id bigint PRIMARY KEY, note {note}); INSERT INTO orders SELECT n, n FROM generate_series(1, 50) n; ANALYZE"
    );
    let shop = Shop::start(&before).await;
    std::fs::write(shop.file("schema.kdl"), "small-table rows=1\nhazards { allow all; }\n").expect("is written");
    shop.wants(&orders(desired));
    shop.ends(0, "plan --name change");
    shop.ends(0, "apply --yes");
    shop
}

async fn does(shop: &Shop, sql: &str) {
    shop.session.client().batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// A load of data past the triggers is not lost with the old column.
#[tokio::test(flavor = "multi_thread")]
async fn values_past_the_triggers_stop_the_contract() {
    for (note, desired) in [
        ("text NOT NULL", "        column remark text not-null was=note\n"),
        ("int", "        column remark bigint was=note\n"),
        ("text", "        column remark text was=note { backfill \"'none'\"; }\n"),
    ] {
        let shop = waiting(note, desired).await;
        does(&shop, "INSERT INTO orders (id, note) VALUES (51, '7'); INSERT INTO orders (id, remark) VALUES (52, '8')").await;
        does(
            &shop,
            "ALTER TABLE orders DISABLE TRIGGER ALL; UPDATE orders SET note = '77' WHERE id < 4; ALTER TABLE orders ENABLE TRIGGER ALL",
        )
        .await;
        let stopped = shop.ends(1, CONTRACT);
        assert!(stopped.contains("rows of table public.orders in which remark and note differ: 3"), "{stopped}");
        does(&shop, "UPDATE orders SET remark = note WHERE id < 4").await;
        shop.ends(0, CONTRACT);
        assert_eq!(shop.value("SELECT count(*)::text FROM orders WHERE remark::text = '77'").await, "3");
    }
}

/// Nothing is compared that may differ: a NULL of an old client, which is filled in the new column alone.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_step_is_not_stopped() {
    let shop = waiting("text", "        column remark text was=note { backfill \"'none'\"; }\n").await;
    does(&shop, "INSERT INTO orders (id) VALUES (51); UPDATE orders SET note = NULL WHERE id = 1").await;
    shop.ends(0, CONTRACT);
    assert_eq!(shop.value("SELECT count(*)::text FROM orders WHERE remark = 'none'").await, "2");
    let shop = waiting("numeric(8,2)", "        column remark \"numeric(10,1)\" was=note\n").await;
    does(&shop, "INSERT INTO orders (id, note) VALUES (51, 7.25); INSERT INTO orders (id, remark) VALUES (52, 7.5)").await;
    shop.ends(0, CONTRACT);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trigger_that_somebody_dropped_does_not_stop_the_way_back() {
    for desired in [
        "        column remark text was=note\n",
        "        column note text\n        column size int not-null { backfill \"length(note)\"; }\n",
        "        column first text { backfill \"left(note, 1)\"; }\n        column rest text { backfill \"substr(note, 2)\"; revert \"first || rest\" of=note; }\n",
    ] {
        let shop = waiting("text", desired).await;
        let all = "SELECT string_agg(format('DROP TRIGGER %I ON orders; DROP FUNCTION %s', tgname, tgfoid::regprocedure), '; ') FROM pg_trigger WHERE tgrelid = 'orders'::regclass AND NOT tgisinternal";
        let drops = shop.value(all).await;
        does(&shop, &drops).await;
        shop.ends(0, "rollback --yes");
        let columns = "SELECT string_agg(attname, ',' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'orders'::regclass AND attnum > 0 AND NOT attisdropped";
        assert_eq!(shop.value(columns).await, "id,note");
        assert!(shop.ends(0, "status").contains("rolled-back"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trigger_that_somebody_dropped_stops_the_way_forward() {
    let shop = waiting("text", "        column remark text was=note\n").await;
    let trigger = shop.value(TRIGGER).await;
    does(&shop, &format!("DROP TRIGGER {trigger} ON orders; UPDATE orders SET note = 'lost' WHERE id = 1")).await;
    assert!(shop.ends(1, CONTRACT).contains("rows of table public.orders in which remark and note differ: 1;"));
    does(&shop, "UPDATE orders SET remark = note WHERE id = 1").await;
    assert!(shop.ends(1, CONTRACT).contains("does not exist"));
    shop.ends(0, "rollback --yes");
    assert_eq!(shop.value("SELECT note FROM orders WHERE id = 1").await, "lost");
}

/// Not by hand, but beside a plan that waits: a comparison with the source is about the rest.
#[tokio::test(flavor = "multi_thread")]
async fn a_comparison_looks_past_a_plan_that_waits() {
    let desired = "        column remark text was=note\n";
    let shop = waiting("text", desired).await;
    std::fs::write(shop.file("schema.kdl"), "small-table rows=1\nhazards { allow all; }\nenv dev {\n    url (env)DATABASE_URL\n}\n")
        .expect("is written");
    for words in ["diff dev schema --exit-code", "diff schema dev --exit-code", "plan --from dev"] {
        let said = shop.ends(0, words);
        assert!(said.contains("0001-change is under way on") || words.starts_with("plan"), "{said}");
        assert!(said.contains("No difference") || said.contains("Nothing"), "{said}");
    }
    shop.wants(&(orders(desired) + "    table lines {\n        column id bigint\n        primary-key id\n    }\n"));
    let said = shop.ends(2, "diff dev schema --exit-code");
    assert!(
        said.contains("+ table public.lines") && said.contains("what it touches is not compared") && !said.contains("remark"),
        "{said}"
    );
    assert!(shop.ends(0, "diff dev empty").contains("what it made for the time being counts"));
}
