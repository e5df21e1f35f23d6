//! What teams change in one release, from database to database: each folder of `tests/releases` holds two states and rows
//! as SQL. The second is read into files, and the first becomes it, on small tables and on large ones: applied up to
//! contract, rolled back (then it is what it was: `pg_dump`, rows, sequences), applied to the end (then `pg_dump` says what
//! it says of the second), and nothing is left to do.

#[allow(dead_code, reason = "others use all of it")]
#[path = "support/shop.rs"]
mod shop;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Failed, Trial};
use schema::pg::DatabaseOptions;
use shop::Shop;

/// Releases whose way back is refused, and why.
const NO_WAY_BACK: &[(&str, &str)] = &[
    ("plain_to_generated", "the column's own values go"),
    ("generated_to_plain", "the expression is gone"),
    ("generated_to_default_retyped", "the expression is gone"),
    ("generated_to_plain_retyped", "what was computed is written by clients from then on"),
    ("composite_in_composite_retyped", "a bigint need not be an int again"),
    ("domain_over_domain_retyped", "a varchar(9) need not fit into a varchar(5)"),
    ("enum_reordered_under_foreign_key", "large: what is written under the new key need not fit the old one"),
    ("trigger_of_renamed_and_retyped", "large: a bigint need not be an int again"),
    ("primary_key_named_otherwise_retyped", "large: a bigint need not be an int again"),
    ("renamed_and_retyped_key_of_itself", "large: a bigint need not be an int again"),
    ("renamed_and_retyped_key_of_others", "large: a bigint need not be an int again"),
    ("renamed_and_retyped_key_of_small_table", "large: a bigint need not be an int again"),
    ("renamed_and_retyped_key_under_small_table", "large: a bigint need not be an int again"),
    ("primary_key_named_otherwise_renamed_and_retyped", "large: a bigint need not be an int again"),
    ("excluded_over_retyped", "large: a bigint need not be an int again"),
    ("retype_without_cast_back", "there is no cast from a multirange to a range, and only a backfill for the other"),
    ("index_statistics_retyped", "large: a varchar(9) need not fit into a varchar(5)"),
    ("trigger_when_renamed_and_retyped", "large: a bigint need not be an int again"),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/releases")
}

fn main() -> ExitCode {
    let mut names: Vec<String> = std::fs::read_dir(folder())
        .expect("the folder")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    let sizes = [("small", "small-table rows=1000000\n"), ("large", "small-table rows=1\n")];
    let trials = names.iter().flat_map(|name| {
        sizes.map(|(size, configured)| {
            let name = name.clone();
            Trial::test(name.clone(), move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                runtime.block_on(release(&name, configured))
            })
            .with_kind(size)
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}

fn text(name: &str, file: &str) -> String {
    std::fs::read_to_string(folder().join(name).join(file)).unwrap_or_default()
}

async fn release(name: &str, configured: &str) -> Result<(), Failed> {
    let shop = Shop::start(&format!("{}\n{}; ANALYZE", text(name, "before.sql"), text(name, "rows.sql"))).await;
    shop.scratch.create_database("wanted", &DatabaseOptions::default()).await.expect("a database");
    let wanted = shop.scratch.connect("wanted").await.expect("connects");
    wanted.client().batch_execute(&text(name, "after.sql")).await.expect("builds");
    wanted.close().await;
    let managed = Some(text(name, "managed.kdl")).filter(|text| !text.is_empty());
    let managed = managed.as_deref().unwrap_or("manage grants=#true owners=#true");
    let configured = format!("plans \"plans\"\n{managed}\nhazards {{ allow all; }}\n{configured}");
    std::fs::write(shop.file("schema.kdl"), configured).expect("written");
    let address = shop.url().replace("dbname=shop", "dbname=wanted");
    let read = shop.command("inspect --out schema --url").arg(&address).output().expect("runs");
    let (code, said) = shop::said(&read);
    assert_eq!(code, 0, "{said}");
    for edit in text(name, "edits.txt").lines() {
        let (from, to) = edit.split_once(" -> ").expect("what stands there, and what is to");
        let found = edited(&shop.file("schema"), from, to);
        assert_ne!(found, 0, "{edit}");
    }
    let there = picture(&shop, "shop").await;
    does(&shop, "plan --name release")?;
    does(&shop, "apply --yes")?;
    let (code, said) = shop.schema("rollback --yes 1");
    let refused = NO_WAY_BACK.iter().any(|(other, _)| *other == name);
    // What has steps in contract alone has nothing to roll back.
    let nothing = said.contains("no plan `1` was applied");
    if !nothing && code != 0 && !refused {
        return Err(format!("the rollback ends with {code}: {said}").into());
    }
    if code == 0 {
        same("rolled back", &there, &picture(&shop, "shop").await)?;
    }
    does(&shop, "apply 1 --yes --again --all --confirm old-clients-gone")?;
    let dump = |picture: BTreeMap<String, Vec<String>>| BTreeMap::from([("pg_dump".to_owned(), picture["pg_dump"].clone())]);
    same("applied", &dump(picture(&shop, "wanted").await), &dump(picture(&shop, "shop").await))?;
    does(&shop, "plan --exit-code")?;
    let asked = text(name, "then.sql");
    if !asked.is_empty() {
        shop.session.client().batch_execute(&asked).await.map_err(|error| format!("then.sql: {}", schema::pg::explain(&error)))?;
    }
    Ok(())
}

/// Puts one text in the place of another in all files below a folder; in how many it stood.
fn edited(folder: &Path, from: &str, to: &str) -> usize {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries
        .map(|path| {
            if path.is_dir() {
                return edited(&path, from, to);
            }
            let text = std::fs::read_to_string(&path).expect("it reads");
            let found = text.matches(from).count();
            std::fs::write(&path, text.replace(from, to)).expect("written");
            found
        })
        .sum()
}

fn does(shop: &Shop, words: &str) -> Result<(), Failed> {
    match shop.schema(words) {
        (0, _) => Ok(()),
        (code, said) => Err(format!("schema {words} ends with {code}:\n{said}").into()),
    }
}

/// What `pg_dump` says of a database, in no order, the rows of its tables and where its sequences are.
async fn picture(shop: &Shop, database: &str) -> BTreeMap<String, Vec<String>> {
    let address = shop.url().replace("dbname=shop", &format!("dbname={database}"));
    let program = shop.scratch.installation().program("pg_dump");
    let output = Command::new(program).args(["-s", "--exclude-schema=schema_ledger", "-d", &address]).output().expect("pg_dump runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let dump = String::from_utf8(output.stdout).expect("UTF-8");
    let said = |line: &&str| !line.is_empty() && !line.starts_with("--") && !line.starts_with('\\');
    let mut lines: Vec<String> = dump.lines().filter(said).map(|line| line.trim_end_matches(',').to_owned()).collect();
    lines.sort();
    let mut all = BTreeMap::from([("pg_dump".to_owned(), lines)]);
    let session = shop.scratch.connect(database).await.expect("connects");
    let user = "NOT IN ('pg_catalog', 'information_schema', 'schema_ledger')";
    let tables = format!("SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname {user}");
    for row in session.client().query(&tables, &[]).await.expect("reads") {
        let table: String = row.get(0);
        let rows = format!("SELECT to_jsonb(t)::text FROM {table} t ORDER BY 1");
        let rows = session.client().query(&rows, &[]).await.expect("reads");
        all.insert(table, rows.iter().map(|row| row.get(0)).collect());
    }
    let sequences =
        format!("SELECT format('%I.%I %s', schemaname, sequencename, last_value) FROM pg_sequences WHERE schemaname {user} ORDER BY 1");
    let sequences = session.client().query(&sequences, &[]).await.expect("reads");
    all.insert("sequences".to_owned(), sequences.iter().map(|row| row.get(0)).collect());
    session.close().await;
    all
}

fn same(when: &str, expected: &BTreeMap<String, Vec<String>>, found: &BTreeMap<String, Vec<String>>) -> Result<(), Failed> {
    for (what, expected) in expected {
        let found = found.get(what).map_or(&[][..], Vec::as_slice);
        if expected != found {
            let missing: Vec<&String> = expected.iter().filter(|line| !found.contains(line)).take(5).collect();
            let besides: Vec<&String> = found.iter().filter(|line| !expected.contains(line)).take(5).collect();
            return Err(format!("{when}, {what} is not as it should be: missing {missing:#?}, besides {besides:#?}").into());
        }
    }
    Ok(())
}
