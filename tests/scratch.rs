//! Scratch servers: that they work, and that nothing of them stays behind.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use schema::pg::{DatabaseOptions, Scratch, ScratchOptions, SessionError, Target, connect, find, pin_deparse_settings};

async fn start() -> Scratch {
    let installation = find(None).expect("PostgreSQL is installed");
    Scratch::start(&installation, ScratchOptions::default()).await.expect("starts")
}

async fn value(session: &schema::pg::Session, sql: &str) -> String {
    session.client().query_one(sql, &[]).await.expect(sql).get(0)
}

/// Waits for what happens in another process.
fn eventually(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(20), "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether a process runs; one that ended and waits for its parent to notice does not.
fn runs(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z'))
}

/// Killed with all its processes, it comes back with what was committed.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_is_recovered_from() {
    let mut scratch = start().await;
    let session = scratch.connect("postgres").await.expect("connects");
    session.client().batch_execute("SET synchronous_commit = on; CREATE TABLE t AS SELECT 7 AS a").await.expect("writes");
    let before = scratch.pid();
    scratch.crash().await.expect("starts again");
    assert_ne!(scratch.pid(), before);
    assert!(session.client().batch_execute("SELECT").await.is_err());
    let again = scratch.connect("postgres").await.expect("connects");
    let row = again.client().query_one("SELECT a FROM t", &[]).await.expect("reads");
    assert_eq!(row.get::<_, i32>(0), 7);
    let folder = scratch.socket_dir().to_owned();
    scratch.stop().await.expect("stops");
    assert!(!folder.exists());
}

#[tokio::test]
async fn a_server_works_and_leaves_nothing() {
    let scratch = start().await;
    let (dir, pid) = (scratch.socket_dir().to_owned(), scratch.pid());
    let session = scratch.connect("postgres").await.expect("connects");
    assert_eq!(session.server_version / 10_000, scratch.installation().major);
    assert!(session.is_superuser && session.backend_pid > 0 && !session.is_closed());
    assert_eq!(value(&session, "SHOW fsync").await, "off");
    assert_eq!(value(&session, "SHOW listen_addresses").await, "");
    assert_eq!(value(&session, "SHOW server_encoding").await, "UTF8");
    assert_eq!(value(&session, "SHOW application_name").await, "schema");
    assert_eq!(scratch.command_env_line("a b"), format!("psql -h {} -U postgres 'a b'", dir.display()));
    assert!(scratch.installation().pg_dump_version().is_some());
    // A prepared statement is closed after its answer. What is under way when the server goes would be told instead of why it went.
    session.client().batch_execute("SELECT").await.expect("answers");
    scratch.stop().await.expect("stops");
    let why = session.closed().await;
    assert!(why.contains("terminating connection"), "{why}");
    assert!(session.is_closed());
    assert!(!dir.exists() && !runs(pid));
}

#[tokio::test]
async fn dropping_stops_it() {
    let scratch = start().await;
    let (dir, pid) = (scratch.socket_dir().to_owned(), scratch.pid());
    drop(scratch);
    assert!(!dir.exists() && !runs(pid));
}

#[tokio::test]
async fn databases_with_options() {
    let scratch = start().await;
    let options = DatabaseOptions {
        encoding: Some("LATIN1".to_owned()),
        collate: Some("C".to_owned()),
        ctype: Some("C".to_owned()),
        ..DatabaseOptions::default()
    };
    scratch.create_database("old \"one\"", &options).await.expect("made");
    let session = scratch.connect("old \"one\"").await.expect("connects");
    assert_eq!(value(&session, "SHOW server_encoding").await, "LATIN1");
    let again = scratch.create_database("old \"one\"", &options).await.expect_err("it is there");
    assert!(again.to_string().contains("42P04"), "{again}");
    scratch.drop_database("old \"one\"").await.expect("dropped with a session in it");
    scratch.drop_database("old \"one\"").await.expect("nothing to drop");
    let gone = scratch.connect("old \"one\"").await.expect_err("it is gone");
    assert!(gone.is_unreachable(), "{gone}");
    assert!(gone.to_string().contains("does not exist (SQLSTATE 3D000)"), "{gone}");
}

#[tokio::test]
async fn settings_and_data_that_are_kept() {
    let installation = find(None).expect("PostgreSQL is installed");
    // Below /tmp, where the user that runs the server for root may go.
    let keep = tempfile::tempdir_in("/tmp").expect("a folder");
    open(keep.path());
    let options = ScratchOptions {
        settings: vec![("wal_level".to_owned(), "logical".to_owned()), ("max_wal_senders".to_owned(), "4".to_owned())],
        keep: Some(keep.path().join("data")),
        ..ScratchOptions::default()
    };
    let scratch = Scratch::start(&installation, options.clone()).await.expect("starts");
    let session = scratch.connect("postgres").await.expect("connects");
    assert_eq!(value(&session, "SHOW wal_level").await, "logical");
    session.client().batch_execute("CREATE TABLE t AS SELECT 'kept'::text AS v").await.expect("made");
    session.close().await;
    scratch.stop().await.expect("stops");
    let scratch = Scratch::start(&installation, options).await.expect("starts again");
    let session = scratch.connect("postgres").await.expect("connects");
    assert_eq!(value(&session, "SELECT v FROM t").await, "kept");
}

fn open(dir: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755)).expect("set");
}

#[tokio::test]
async fn a_server_that_cannot_start_shows_its_log() {
    let installation = find(None).expect("PostgreSQL is installed");
    let options = ScratchOptions { settings: vec![("shared_buffers".to_owned(), "lots".to_owned())], ..ScratchOptions::default() };
    let error = Scratch::start(&installation, options).await.expect_err("a wrong setting").to_string();
    assert!(error.contains("did not start"), "{error}");
    assert!(error.contains("invalid value for parameter \"shared_buffers\": \"lots\""), "{error}");
}

/// The example, built beside this test.
fn example() -> PathBuf {
    let exe = std::env::current_exe().expect("a path");
    let folder = exe.parent().and_then(Path::parent).expect("target/debug/deps/scratch");
    folder.join("examples/scratch_server")
}

/// Starts the example: its process, the folder and the number of its server.
fn start_example(cache: Option<&Path>) -> (std::process::Child, PathBuf, u32) {
    let mut command = Command::new(example());
    if let Some(cache) = cache {
        command.env("SCHEMA_CACHE_DIR", cache);
    }
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("runs");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut after = |word: &str| {
        let line = lines.find_map(|line| line.expect("text").strip_prefix(word).map(str::to_owned));
        line.unwrap_or_else(|| panic!("the example did not print {word}"))
    };
    let dir = PathBuf::from(after("folder "));
    let pid = after("process ").parse().expect("a number");
    // Its last line: closing the pipe before that would end it.
    after("psql ");
    (child, dir, pid)
}

#[test]
fn a_killed_process_leaves_no_server_and_no_folder() {
    let (mut child, dir, pid) = start_example(None);
    assert!(dir.is_dir() && runs(pid));
    child.kill().expect("SIGKILL");
    child.wait().expect("ended");
    eventually("the server is stopped", || !runs(pid));
    eventually("the folder is removed", || !dir.exists());
}

#[test]
fn two_at_once_with_a_cold_cache() {
    let cache = tempfile::tempdir().expect("a folder");
    let both = [0, 1].map(|_| {
        let cache = cache.path().to_owned();
        std::thread::spawn(move || start_example(Some(&cache)))
    });
    for (mut child, dir, pid) in both.map(|thread| thread.join().expect("starts")) {
        assert!(runs(pid));
        // Its input ends, and it stops.
        drop(child.stdin.take());
        assert!(child.wait().expect("ended").success());
        assert!(!dir.exists() && !runs(pid));
    }
    let templates: Vec<_> = std::fs::read_dir(cache.path().join("templates")).expect("made").collect();
    assert_eq!(templates.len(), 1, "one template, and no half-made one: {templates:?}");
}

#[tokio::test]
async fn notices_cancelling_and_pinned_settings() {
    let scratch = start().await;
    let session = scratch.connect("postgres").await.expect("connects");
    let (sender, mut notices) = tokio::sync::mpsc::unbounded_channel();
    session.on_notice(move |notice| {
        let _ = sender.send(notice);
    });
    session.client().batch_execute("DO $$BEGIN RAISE WARNING 'careful'; END$$").await.expect("runs");
    assert_eq!(notices.recv().await.expect("a notice").message, "careful");

    let cancel = session.cancel_handle();
    let sleep = session.client().batch_execute("SELECT pg_sleep(60)");
    let stop = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        cancel.cancel().await.expect("sent");
    };
    let (slept, ()) = tokio::join!(sleep, stop);
    let error = SessionError::from(slept.expect_err("cancelled"));
    assert!(error.to_string().contains("57014") && !error.is_connection_lost(), "{error}");

    pin_deparse_settings(&session).await.expect("pinned");
    assert_eq!(value(&session, "SHOW search_path").await, "");
    assert_eq!(
        value(&session, "SELECT ('2024-01-31 12:00+00'::timestamptz)::text || ('1 day 1 hour'::interval)::text").await,
        "2024-01-31 12:00:00+001 day 01:00:00"
    );
    let own = format!("SELECT pg_terminate_backend({})", session.backend_pid);
    let error = SessionError::from(session.client().batch_execute(&own).await.expect_err("ended"));
    assert!(error.is_connection_lost(), "{error}");
}

#[tokio::test]
async fn an_unreachable_server_says_what_to_do() {
    // Port 1 is reserved and served by nobody.
    let target = Target::parse("postgres://me:s3cret@127.0.0.1:1/db").expect("parses");
    let error = connect(&target).await.expect_err("nobody there");
    assert!(error.is_unreachable());
    let text = error.to_string();
    assert!(text.starts_with("cannot reach db at 127.0.0.1:1: error connecting to server: "), "{text}");
    assert!(text.contains("pg_isready -h 127.0.0.1 -p 1") && !text.contains("s3cret"), "{text}");
}
