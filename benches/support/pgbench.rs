//! pgbench beside what is measured. Paced clients (`RATE=200`, the default, transactions a second of all of them) feel the
//! server; with `RATE=0` they ask as fast as they are answered, and feel the whole machine.

#![allow(dead_code, reason = "each benchmark uses a part of it")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use schema::pg::Scratch;

/// Clients at once.
pub const CLIENTS: usize = 4;
/// Transactions in a second, of all of them, where nobody says another number.
const RATE: &str = "200";

/// A pgbench at work.
#[derive(Debug)]
pub struct Running {
    child: Child,
    folder: tempfile::TempDir,
}

/// What its clients felt.
#[derive(Debug, Default)]
pub struct Felt {
    /// Milliseconds, in order.
    latencies: Vec<f64>,
    /// What failed, in pgbench's words. A client whose statement fails ends.
    pub failed: Vec<String>,
}

/// The command for a database of `scratch`, without its last argument.
pub fn command(scratch: &Scratch) -> Command {
    let mut command = Command::new(scratch.installation().program("pgbench"));
    let port = scratch.target("postgres").endpoints[0].port.to_string();
    command.arg("-h").arg(scratch.socket_dir()).args(["-p", &port, "-U", "postgres"]).stdout(Stdio::null());
    command
}

impl Running {
    /// Starts it for so many seconds, with its own statements or those of `scripts`, one file each.
    pub fn start(scratch: &Scratch, database: &str, seconds: u64, scripts: &[PathBuf]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let errors = std::fs::File::create(folder.path().join("errors")).expect("a file");
        let prefix = format!("--log-prefix={}", folder.path().join("log").display());
        let mut command = command(scratch);
        command.args(["-c", &CLIENTS.to_string(), "-T", &seconds.to_string(), "-n", "-l", &prefix]).stderr(errors);
        let rate = std::env::var("RATE").unwrap_or_else(|_| RATE.to_owned());
        if rate != "0" {
            command.args(["-R", &rate]);
        }
        for script in scripts {
            command.arg("-f").arg(script);
        }
        Self { child: command.arg(database).spawn().expect("pgbench starts"), folder }
    }

    /// Waits until its time is over.
    pub fn end(mut self) -> Felt {
        self.child.wait().expect("it ends");
        felt(self.folder.path())
    }

    /// Ends it now.
    pub fn stop(self) -> Felt {
        let pid = rustix::process::Pid::from_child(&self.child);
        // It may have ended by itself.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        self.end()
    }
}

fn felt(folder: &Path) -> Felt {
    let mut felt = Felt::default();
    for entry in std::fs::read_dir(folder).expect("it is there") {
        let path = entry.expect("an entry").path();
        let text = std::fs::read_to_string(&path).expect("it reads");
        if path.ends_with("errors") {
            felt.failed = text.lines().filter(|line| line.contains("ERROR") || line.contains("aborted")).map(str::to_owned).collect();
        } else {
            // The third column of the log is the latency in microseconds.
            felt.latencies.extend(text.lines().filter_map(|line| Some(line.split(' ').nth(2)?.parse::<f64>().ok()? / 1000.0)));
        }
    }
    felt.latencies.sort_by(f64::total_cmp);
    felt
}

impl Felt {
    /// What is felt in another turn.
    pub fn add(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        self.latencies.sort_by(f64::total_cmp);
        self.failed.extend(other.failed);
    }

    /// The latency beneath which so many percent of the transactions stayed, in milliseconds.
    pub fn percentile(&self, percent: usize) -> f64 {
        let last = self.latencies.len().saturating_sub(1);
        self.latencies.get((self.latencies.len() * percent / 100).min(last)).copied().unwrap_or(f64::NAN)
    }

    /// The longest of them, in milliseconds.
    pub fn longest(&self) -> f64 {
        self.percentile(100)
    }

    /// How many transactions there were.
    pub fn count(&self) -> usize {
        self.latencies.len()
    }
}
