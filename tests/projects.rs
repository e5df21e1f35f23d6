//! The projects that this repository shows are valid, and their plans are what `schema plan` makes today.

use std::path::Path;
use std::process::Command;

fn schema(project: &str, arguments: &[&str]) -> (String, String, bool) {
    let output = Command::new(env!("CARGO_BIN_EXE_schema"))
        .args(arguments)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(project))
        .env_remove("DATABASE_URL")
        .env("NO_COLOR", "1")
        .output()
        .expect("runs");
    (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned(), output.status.success())
}

/// The plan without the version of the server that proved it.
fn without_version(plan: &str) -> String {
    let mut rest = plan;
    let mut out = String::new();
    while let Some((before, after)) = rest.split_once("\"PostgreSQL ") {
        out.push_str(before);
        rest = after.split_once('"').map_or("", |(_, rest)| rest);
    }
    out + rest
}

fn check(project: &str) {
    let (out, err, success) = schema(project, &["check"]);
    assert!(success && err.contains("nothing wrong") | out.contains("nothing wrong"), "{project}: {out}{err}");
    let (out, err, success) = schema(project, &["fmt", "--check"]);
    assert!(success, "{project}: {out}{err}");
}

fn plans_again(project: &str, plan: &str, arguments: &[&str]) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(project).join("plans").join(format!("{plan}.kdl"));
    let folder = tempfile::tempdir().expect("a folder");
    let out_file = folder.path().join(format!("{plan}.kdl"));
    let mut all = vec!["plan", "--out", out_file.to_str().expect("UTF-8")];
    all.extend(arguments);
    let (out, err, success) = schema(project, &all);
    assert!(success, "{project}: {out}{err}");
    let again = std::fs::read_to_string(&out_file).expect("it was written");
    let there = std::fs::read_to_string(&file).expect("it is there");
    assert_eq!(without_version(&there), without_version(&again), "{} is not what `schema {}` makes", file.display(), all.join(" "));
}

#[test]
fn the_digital_twin() {
    check(".");
    let because = "nothing reads temp when the old release is gone";
    plans_again(".", "0001-severity-level", &["--from", "src/demo/before.kdl", "--allow", "drop-column", "--because", because]);
}

#[test]
fn the_webshop() {
    check("examples/webshop");
    plans_again("examples/webshop", "0001-shop", &["--from", "empty"]);
}

/// Every construct of the language's page reads.
#[test]
fn the_page_about_the_language() {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/language.md")).expect("it is there");
    let blocks: Vec<&str> = page.split("```kdl\n").skip(1).filter_map(|rest| rest.split_once("```").map(|(block, _)| block)).collect();
    assert!(!blocks.is_empty());
    for block in blocks {
        if let Err(findings) = schema::source::read_text("docs/language.md", block) {
            panic!("{}", schema::cli::out::plain(&findings));
        }
    }
}
