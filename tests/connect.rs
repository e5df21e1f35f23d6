//! TLS modes, passwords and several hosts, against a scratch server that listens on a loopback address.
//!
//! `tests/tls` holds a self-signed certificate for `localhost` with its key, and one of a stranger.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;

use schema::pg::{Scratch, ScratchOptions, Session, SessionError, Target, connect, find};

/// A server with TLS that asks for passwords over TCP, and the address it listens on.
async fn server(last_byte: u8) -> (Scratch, String) {
    // All of 127/8 is this machine: no other server's port is in the way.
    let address = format!("127.83.67.{last_byte}");
    let installation = find(None).expect("PostgreSQL is installed");
    let options = ScratchOptions { settings: vec![("listen_addresses".to_owned(), address.clone())], ..ScratchOptions::default() };
    let scratch = Scratch::start(&installation, options).await.expect("starts");
    let owner = std::fs::metadata(scratch.data_dir()).expect("there").uid();
    for (name, text) in [
        ("server.crt", include_str!("tls/server.crt")),
        ("server.key", include_str!("tls/server.key")),
        ("pg_hba.conf", "local all all trust\nhostssl all tls_only all trust\nhost all me all scram-sha-256\n"),
    ] {
        let file = scratch.data_dir().join(name);
        std::fs::write(&file, text).expect("written");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("set");
        chown(&file, Some(owner), None).expect("given");
    }
    let session = scratch.connect("postgres").await.expect("connects");
    let setup = "CREATE ROLE me LOGIN PASSWORD 'correct horse'; CREATE ROLE tls_only LOGIN";
    session.client().batch_execute(setup).await.expect("made");
    session.client().batch_execute("ALTER SYSTEM SET ssl = on").await.expect("set");
    session.client().batch_execute("SELECT pg_reload_conf()").await.expect("reloaded");
    session.close().await;
    // A reload happens soon, not at once.
    let probe = format!("host=localhost hostaddr={address} user=tls_only dbname=postgres sslmode=require");
    for _ in 0..200 {
        if connect(&target(&probe)).await.is_ok() {
            return (scratch, address);
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("TLS does not come up: {}", scratch.log_tail(20));
}

/// A target that the environment of whoever runs the tests does not change.
fn target(text: &str) -> Target {
    Target::resolve(text, &|_| None).expect("parses")
}

async fn encrypted(session: &Session) -> bool {
    let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    session.client().query_one(sql, &[]).await.expect(sql).get(0)
}

fn file(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls").join(name).display().to_string()
}

#[tokio::test]
async fn what_each_sslmode_demands() {
    let (_scratch, address) = server(1).await;
    let (own, stranger) = (file("server.crt"), file("stranger.crt"));
    let localhost = format!("host=localhost hostaddr={address}");
    let by_number = format!("host={address}");
    // Host, the rest, and whether the connection is encrypted; `None` where it must not come about.
    let cases = [
        (&localhost, "sslmode=disable".to_owned(), Some(false)),
        (&localhost, "sslmode=allow".to_owned(), Some(false)),
        (&localhost, "sslmode=allow user=tls_only".to_owned(), Some(true)),
        (&localhost, "sslmode=prefer".to_owned(), Some(true)),
        (&by_number, "sslmode=require".to_owned(), Some(true)),
        (&by_number, format!("sslmode=require sslrootcert={own}"), Some(true)),
        (&by_number, format!("sslmode=require sslrootcert={stranger}"), None),
        (&by_number, format!("sslmode=verify-ca sslrootcert={own}"), Some(true)),
        (&localhost, format!("sslmode=verify-ca sslrootcert={stranger}"), None),
        (&localhost, format!("sslmode=verify-full sslrootcert={own}"), Some(true)),
        (&by_number, format!("sslmode=verify-full sslrootcert={own}"), None),
        (&localhost, format!("sslmode=verify-full sslrootcert={stranger}"), None),
        (&localhost, "sslmode=verify-full sslrootcert=/absent.crt".to_owned(), None),
    ];
    for (host, rest, expected) in cases {
        let text = format!("{host} user=me password='correct horse' dbname=postgres {rest}");
        match (connect(&target(&text)).await, expected) {
            (Ok(session), Some(expected)) => {
                assert_eq!(encrypted(&session).await, expected, "{text}");
            }
            (Err(SessionError::Tls { .. }), None) => {}
            (result, _) => panic!("{text}: {result:?}"),
        }
    }
}

#[tokio::test]
async fn passwords_and_hosts() {
    let (_scratch, address) = server(2).await;
    let base = format!("host=localhost hostaddr={address} user=me dbname=postgres");
    let folder = tempfile::tempdir().expect("a folder");
    let passfile = folder.path().join("pass");
    std::fs::write(&passfile, "localhost:5432:*:me:correct horse\n").expect("written");
    let mut from_file = target(&base);
    from_file.passfile = Some(passfile.clone());

    std::fs::set_permissions(&passfile, std::fs::Permissions::from_mode(0o644)).expect("set");
    let error = connect(&from_file).await.expect_err("no password");
    assert!(matches!(error, SessionError::Auth { .. }), "{error}");
    assert!(error.to_string().contains("chmod 0600"), "{error}");
    std::fs::set_permissions(&passfile, std::fs::Permissions::from_mode(0o600)).expect("set");
    connect(&from_file).await.expect("the file has the password");

    let wrong = connect(&target(&format!("{base} password=wrong"))).await.expect_err("refused");
    assert!(matches!(wrong, SessionError::Auth { .. }) && !wrong.is_unreachable(), "{wrong}");
    assert!(wrong.to_string().contains("28P01"), "{wrong}");

    // Nobody serves port 1: the second host answers.
    let two = format!("host={address},{address} port=1,5432 user=me password='correct horse' dbname=postgres");
    let session = connect(&target(&two)).await.expect("the second answers");
    assert_eq!(session.target().describe(), format!("postgres at {address}:5432"));
    let none = format!("host={address},{address} port=1,2 user=me dbname=postgres");
    let error = connect(&target(&none)).await.expect_err("nobody answers");
    assert!(error.is_unreachable(), "{error}");
    assert!(error.to_string().contains(&format!("\n  {address}:2: ")), "{error}");
    let standby = format!("{base} password='correct horse' target_session_attrs=standby");
    assert!(connect(&target(&standby)).await.expect_err("a primary").is_unreachable());
    let prefer = format!("{base} password='correct horse' target_session_attrs=prefer-standby");
    connect(&target(&prefer)).await.expect("a primary will do");
}

/// Behind a pooler in transaction mode the server's session goes on to an application.
#[tokio::test]
async fn reading_a_database_leaves_no_settings_behind() {
    let scratch = Scratch::start(&find(None).expect("PostgreSQL is installed"), ScratchOptions::default()).await.expect("starts");
    let session = scratch.connect("postgres").await.expect("connects");
    let settings = "SELECT string_agg(name || '=' || setting, ' ' ORDER BY name) FROM pg_settings";
    let said = async || session.client().query_one(settings, &[]).await.expect("it answers").get::<_, String>(0);
    let before = said().await;
    schema::pg::introspect::introspect_live(&session, schema::pg::introspect::Managed::default(), &schema::pg::Waits::default())
        .await
        .expect("it reads");
    assert_eq!(before, said().await);
    session.close().await;
}
