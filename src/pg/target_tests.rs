use super::*;

fn with(text: &str, env: &[(&str, &str)]) -> Result<Target, SessionError> {
    Target::resolve(text, &|name| env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
}

fn target(text: &str) -> Target {
    with(text, &[]).expect("parses")
}

#[test]
fn describes_without_password() {
    let target = target("postgresql://me:s3cret@db1/digital_twin");
    assert_eq!(target.describe(), "digital_twin at db1:5432");
    assert_eq!(target.to_string(), target.describe());
    assert!(!format!("{target:?}").contains("s3cret"));
    assert_eq!(target.password.as_ref().map(Secret::expose), Some("s3cret"));
    assert_eq!(target.with_database("other").describe(), "other at db1:5432");
}

#[test]
fn several_hosts_share_or_have_their_ports() {
    assert_eq!(target("host=a,b port=6 user=u").describe(), "u at a:6,b:6");
    assert_eq!(target("host=a,::1 port=6, user=u").describe(), "u at a:6,[::1]:5432");
    assert_eq!(target("postgres://u@a:1,b/d").describe(), "d at a:1,b:5432");
    assert!(with("host=a,b,c port=1,2 user=u", &[]).is_err());
    let hidden = target("host=a hostaddr=10.0.0.1 user=u");
    assert_eq!(hidden.endpoints[0].address, Some("10.0.0.1".parse().expect("an address")));
}

#[test]
fn the_string_wins_over_the_environment_over_the_defaults() {
    let env = [
        ("PGHOST", "/srv/pg"),
        ("PGPORT", "6543"),
        ("PGUSER", "eve"),
        ("PGDATABASE", "db"),
        ("PGPASSWORD", "x"),
        ("PGSSLMODE", "verify-full"),
        ("PGSSLROOTCERT", "/ca.pem"),
        ("PGPASSFILE", "/pass"),
        ("PGOPTIONS", "-c geqo=off"),
        ("PGCONNECT_TIMEOUT", "7"),
        ("PGAPPNAME", "app"),
    ];
    let all = with("", &env).expect("parses");
    assert_eq!(all.describe(), "db at /srv/pg:6543");
    assert_eq!(all.user, "eve");
    assert_eq!(all.sslmode, SslMode::VerifyFull);
    assert_eq!(all.sslrootcert.as_deref(), Some(Path::new("/ca.pem")));
    assert_eq!(all.passfile.as_deref(), Some(Path::new("/pass")));
    assert_eq!(all.options.as_deref(), Some("-c geqo=off"));
    assert_eq!(all.connect_timeout, Some(Duration::from_secs(7)));
    assert_eq!(all.application_name.as_deref(), Some("app"));
    let some = with("postgres://adam@h/other?connect_timeout=0", &env).expect("parses");
    assert_eq!(some.describe(), "other at h:6543");
    assert_eq!((some.user.as_str(), some.connect_timeout), ("adam", None));
    assert_eq!(target("host=h user=u").connect_timeout, Some(DEFAULT_CONNECT_TIMEOUT));
}

#[test]
fn sslmodes() {
    let mode = |text: &str| target(&format!("host=h user=u {text}")).sslmode;
    assert_eq!(mode(""), SslMode::Prefer);
    assert_eq!(mode("sslmode=disable"), SslMode::Disable);
    assert_eq!(mode("sslmode=allow"), SslMode::Allow);
    assert_eq!(mode("sslmode=require"), SslMode::Require);
    assert_eq!(mode("sslmode=verify-ca"), SslMode::VerifyCa);
    assert_eq!(mode("sslrootcert=system"), SslMode::VerifyFull);
    assert!(with("host=h user=u sslmode=require sslrootcert=system", &[]).is_err());
}

#[test]
fn wrong_values_are_named() {
    for (text, part) in [
        ("host=h user=u sslmode=maybe", "sslmode"),
        ("host=h user=u port=70000", "70000"),
        ("host=h user=u colour=red", "colour"),
        ("host=h user=u connect_timeout=soon", "connect_timeout"),
        ("host=h user=u target_session_attrs=best", "target_session_attrs"),
        ("host=h user=u hostaddr=here", "hostaddr"),
    ] {
        let message = with(text, &[]).expect_err(text).to_string();
        assert!(message.contains(part), "{message}");
    }
}
