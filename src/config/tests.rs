use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use miette::{GraphicalReportHandler, GraphicalTheme};

use super::*;
use crate::plan::op::Hazard;
use crate::plan::policy::Rule;

const EXAMPLE: &str = r#"source "db"
plans "db/plans"
default-env dev
env dev { url (env)DATABASE_URL; direct; }
env production {
    url (env)PRODUCTION_URL
    approvals 1
    hazards { allow drop-index; forbid all; ask breaking rewrite; }
    gate clients="app/1.*" idle="24h"
}
hazards { ask drop-column drop-table; forbid lossy-cast; }
small-table rows=500
lock-timeout "500ms" retry-for="5m" concurrently="2h"
quarantine "7d"
manage grants=#false owners=#true
ignore schema="audit_*"
ignore table="public.events_p*" reason="pg_partman makes these"
scratch (env)SCRATCH_URL
"#;

fn config(text: &str) -> Config {
    Config::parse(Path::new("/p/schema.kdl"), text).unwrap_or_else(|error| panic!("{}", shown(&error)))
}

fn shown(error: &ConfigError) -> String {
    let mut out = String::new();
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme::none()).with_width(80);
    handler.render_report(&mut out, error).expect("a String takes everything");
    let mut trimmed = String::new();
    for line in out.lines() {
        let _ = writeln!(trimmed, "{}", line.trim_end());
    }
    trimmed
}

fn vars<'v>(set: &'v [(&'v str, &'v str)]) -> impl Fn(&str) -> Option<String> + 'v {
    move |name| set.iter().find(|(one, _)| *one == name).map(|(_, value)| (*value).to_owned())
}

#[test]
fn all_that_may_stand_there() {
    let config = config(EXAMPLE);
    assert_eq!((config.source.as_path(), config.plans.as_path()), (Path::new("/p/db"), Path::new("/p/db/plans")));
    assert_eq!(config.small_table_rows, 500);
    assert_eq!((config.lock_timeout, config.retry_for), (Duration::from_millis(500), Duration::from_mins(5)));
    assert_eq!(config.concurrently, Duration::from_hours(2));
    assert_eq!(config.quarantine, Some(Duration::from_hours(7 * 24)));
    assert_eq!(config.manage, Manage { grants: false, owners: true });
    assert_eq!(config.ignore[1].reason.as_deref(), Some("pg_partman makes these"));
    assert_eq!(config.policy.rule(Hazard::LossyCast), Rule::Forbid);
    assert_eq!(config.policy.rule(Hazard::DropIndex), Rule::Allow);
    let production = &config.environments["production"];
    assert_eq!(production.approvals, 1);
    assert_eq!(production.gate, Some(Gate { clients: Some("app/1.*".into()), idle: Duration::from_hours(24), ..Gate::default() }));
    assert_eq!(production.policy.rule(Hazard::DropIndex), Rule::Allow);
    assert_eq!(production.policy.rule(Hazard::Rewrite), Rule::Ask);
    assert_eq!(production.policy.rule(Hazard::DropTable), Rule::Forbid);
    assert!(config.environments["dev"].direct);
    assert_eq!(config.scratch_url(&vars(&[("SCRATCH_URL", "x")])).expect("set"), Some("x".into()));
}

#[test]
fn nothing_is_needed() {
    let config = config("");
    assert_eq!((config.source.as_path(), config.plans.as_path()), (Path::new("/p/schema"), Path::new("/p/plans")));
    assert!(config.environments.is_empty());
}

#[test]
fn urls_are_not_shown() {
    let config = config("env a { url \"postgres://u:secret@h/d\"; }");
    assert!(!format!("{:?}", config.environments).contains("secret"));
}

#[test]
fn which_database() {
    let example = config(EXAMPLE);
    let set = [("DATABASE_URL", "postgres://dev"), ("PRODUCTION_URL", "postgres://prod"), ("PGHOST", "h")];
    let place = |config: &Config, env: Option<&str>, url: Option<&str>| {
        config
            .place(env, url, &vars(&set))
            .map(|place| (place.environment.map(|env| env.name.clone()), place.address))
            .map_err(|error| error.to_string())
    };
    let url = |text: &str| Address::Url(text.to_owned());
    assert_eq!(place(&example, None, None), Ok((Some("dev".into()), url("postgres://dev"))));
    assert_eq!(place(&example, Some("production"), None), Ok((Some("production".into()), url("postgres://prod"))));
    assert_eq!(place(&example, None, Some("postgres://else")), Ok((None, url("postgres://else"))));
    // Spelling the URL of an environment out does not go around its rules.
    assert_eq!(place(&example, None, Some("postgres://prod")), Ok((Some("production".into()), url("postgres://prod"))));
    // Nor does another way to spell it.
    let spelled = "host=prod application_name=x sslmode=require";
    assert_eq!(place(&example, None, Some(spelled)), Ok((Some("production".into()), url(spelled))));
    let bare = config("");
    assert_eq!(place(&bare, None, None), Ok((None, url("postgres://dev"))));
    let only = |set: &[(&str, &str)]| bare.place(None, None, &vars(set)).map(|place| place.address).map_err(|error| error.to_string());
    assert_eq!(only(&[("PGDATABASE", "d"), ("DATABASE_URL", "")]), Ok(Address::Variables));
    assert!(only(&[]).is_err());
}

#[test]
fn what_is_wrong_is_shown_at_its_place() {
    let cases = [
        ("unknown node", "sorce \"schema\""),
        ("unknown child", "env dev { uri (env)X; }"),
        ("unknown property", "small-table row=3"),
        ("wrong type", "small-table rows=many"),
        ("a flag that is none", "manage grants=yes"),
        ("unknown hazard", "hazards { ask drop-colum; }"),
        ("unknown rule", "hazards { deny drop-column; }"),
        ("two rules for one", "hazards { ask rewrite; forbid rewrite; }"),
        ("bad duration", "lock-timeout \"2 seconds\""),
        ("duplicate environment", "env a { url x; }\nenv a { url y; }"),
        ("duplicate node", "plans a\nplans b"),
        ("undefined default-env", "default-env prod\nenv production { url (env)P; }\nenv dev { url (env)D; }"),
        ("a variable without (env)", "env dev { url DATABASE_URL; }"),
        ("direct with approvals", "env dev { url (env)D; direct; approvals 1; }"),
        ("half a gate", "env dev { url (env)D; gate idle=\"24h\"; }"),
        ("nothing to ignore", "ignore reason=\"because\""),
        ("a slip in a kind", "ignore tabel=\"public.x\""),
        ("missing argument", "source"),
        ("no KDL", "env dev {"),
        ("several", "plan x\nquarantine soon"),
    ];
    let mut out = String::new();
    for (name, text) in cases {
        let error = Config::parse(Path::new("schema.kdl"), text).expect_err(name);
        let _ = writeln!(out, "== {name}\n{}", shown(&error));
    }
    let example = config(EXAMPLE);
    for (name, config, env) in [
        ("unset variable", &example, None),
        ("no such environment", &example, Some("prodction")),
        ("no default", &config("env a { url (env)A; }\nenv b { url (env)B; }"), None),
        ("no url", &config("env a { direct; }"), Some("a")),
        ("nothing at all", &config(""), None),
    ] {
        let error = config.place(env, None, &vars(&[])).expect_err(name);
        let _ = writeln!(out, "== {name}\n{}", shown(&error));
    }
    insta::assert_snapshot!(out);
}
