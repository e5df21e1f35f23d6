use clap::{CommandFactory, Parser};

use super::*;

#[test]
fn the_definitions_are_sound() {
    Cli::command().debug_assert();
}

#[test]
fn help_fits_80_columns_and_ends_in_examples() {
    let mut command = Cli::command();
    command.build();
    let top = command.render_help().to_string();
    insta::assert_snapshot!(top);
    for one in command.get_subcommands_mut() {
        let long = one.render_long_help().to_string();
        for line in long.lines().chain(top.lines()) {
            assert!(line.chars().count() <= 80, "{}: {line}", one.get_name());
        }
        let about = one.get_about().map(ToString::to_string).unwrap_or_default();
        assert!(!about.is_empty() && about.len() <= 50, "{}: {about}", one.get_name());
        if !matches!(one.get_name(), "status" | "history") {
            assert!(long.contains("Examples:"), "{}", one.get_name());
        }
    }
}

#[test]
fn help_of_apply() {
    let mut command = Cli::command();
    command.build();
    let apply = command.find_subcommand_mut("apply").expect("apply");
    insta::assert_snapshot!(apply.render_long_help());
}

#[test]
fn arguments() {
    let ok = |line: &str| Cli::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{line}: {error}"));
    let bad = |line: &str| Cli::try_parse_from(line.split(' ')).is_err();
    let Command::Apply(apply) =
        ok("schema apply 7 --through contract --confirm old-clients-gone --max-time 45m -y --env production").command
    else {
        panic!("apply")
    };
    assert_eq!(apply.through, Some(crate::plan::plan::StageName::Contract));
    assert_eq!(apply.max_time, Some(std::time::Duration::from_mins(45)));
    let Command::Plan(plan) = ok("schema plan --allow drop-column,rewrite --because x -v").command else { panic!("plan") };
    assert_eq!(plan.allow.len(), 2);
    assert!(matches!(ok("schema check --base git:main").command, Command::Check(_)));
    for line in [
        "schema",
        "schema aply",
        "schema apply --through sometime",
        "schema apply --all --through expand",
        "schema apply --confirm yes",
        "schema apply --direct 7",
        "schema plan --allow drop-colum",
        "schema plan --because x",
        "schema plan -q -v",
    ] {
        assert!(bad(line), "{line}");
    }
}
