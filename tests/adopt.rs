//! `schema init --url`: what is read of a live database, what is left alone, and that a plan follows of nothing.

#[allow(dead_code, reason = "others use all of it")]
#[path = "support/shop.rs"]
mod shop;

use shop::Shop;

/// What a table inherits is changed by its parent: it is left alone as a whole, and its parent is not.
#[tokio::test]
async fn a_table_that_inherits() {
    let shop = Shop::start("CREATE TABLE parent (a int); CREATE TABLE child (b int) INHERITS (parent); CREATE TABLE other (c int)").await;
    let url = shop.url();
    let adopted = shop.command("init --url").arg(&url).output().expect("runs");
    let (code, said) = shop::said(&adopted);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("1 ignored"), "{said}");
    let config = std::fs::read_to_string(shop.file("schema.kdl")).expect("written");
    assert!(config.contains("ignore table=public.child"), "{config}");
    let tables = shop.file("schema/public/tables");
    assert!(tables.join("parent.kdl").exists() && tables.join("other.kdl").exists() && !tables.join("child.kdl").exists());
    assert!(shop.ends(0, "plan --exit-code").contains("Nothing to do"));
}
