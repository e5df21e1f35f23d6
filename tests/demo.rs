//! `schema demo`: it shows what it promises, and nothing stays behind.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Starts the demo with a temporary folder of its own, in which its server has its folder.
fn demo(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_schema"));
    command.arg("demo").args(arguments).env("TMPDIR", folder).env("NO_COLOR", "1").current_dir(folder);
    command
}

/// A folder that the server's user may enter, with a name short enough for a socket.
fn folder() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::Builder::new().prefix("d").tempdir_in("/tmp").expect("a folder");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).expect("ours");
    folder
}

/// Processes whose command line names the folder: servers in it and whoever watches them.
fn processes_in(folder: &Path) -> Vec<String> {
    let name = folder.display().to_string();
    let Ok(all) = std::fs::read_dir("/proc") else { return Vec::new() };
    let lines = all.filter_map(Result::ok).filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " ")).filter(|line| line.contains(&name)).collect()
}

fn nothing_is_left(folder: &Path) {
    let begun = Instant::now();
    loop {
        let files: Vec<_> = std::fs::read_dir(folder).expect("readable").filter_map(Result::ok).map(|entry| entry.path()).collect();
        let processes = processes_in(folder);
        if files.is_empty() && processes.is_empty() {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "left behind: {files:?} {processes:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn texts(output: &Output) -> (String, String) {
    (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn it_shows_what_it_promises() {
    let folder = folder();
    let output = demo(folder.path(), &["--rows", "20000"]).output().expect("runs");
    let (out, err) = texts(&output);
    assert_eq!(output.status.code(), Some(0), "{out}{err}");
    for promise in
        ["20,000 before", ", 0 failed", "wrong in 0 rows", "live schema = desired schema", "pg_dump of it = pg_dump of the desired state"]
    {
        assert!(out.contains(promise), "{promise}:\n{out}{err}");
    }
    assert!(!out.contains("WRONG"), "{out}");
    // The plan as `schema plan` gives it: the renamed column in all its stages, the fill trigger.
    // From 18 on NOT NULL is validated by itself, and nothing is left to switch.
    let by_itself = schema::pg::find(None).expect("PostgreSQL is installed").major >= 18;
    let switch = if by_itself { "Validate that" } else { "SWITCH" };
    for part in ["EXPAND", "BACKFILL", switch, "CONTRACT", "keep it in step with temp", "let it be filled", "Proven on PostgreSQL"] {
        assert!(out.contains(part), "{part}:\n{out}");
    }
    assert!(err.contains("3 clients of the old release"), "{err}");
    nothing_is_left(folder.path());
}

#[test]
fn ctrl_c_and_kill_leave_nothing() {
    for signal in ["-INT", "-KILL"] {
        let folder = folder();
        let mut child =
            demo(folder.path(), &["--rows", "2000", "--keep"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("runs");
        let begun = Instant::now();
        while processes_in(folder.path()).is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(30), "no server was started");
            std::thread::sleep(Duration::from_millis(20));
        }
        std::thread::sleep(Duration::from_millis(700));
        let killed = Command::new("kill").args([signal, &child.id().to_string()]).status().expect("kill runs");
        assert!(killed.success());
        let status = child.wait().expect("ended");
        if signal == "-INT" {
            assert_eq!(status.code(), Some(5));
        }
        nothing_is_left(folder.path());
    }
}
