//! The process that cleans up when ours is killed.
//!
//! A SIGKILL runs no destructor, and `PR_SET_PDEATHSIG` needs unsafe code. So a shell in a process group of its own
//! (Ctrl-C does not reach it) reads a pipe whose other end only we hold. When we die the pipe ends, and the shell
//! stops the server and removes its folder.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use super::server::ServerError;

/// `$1` is the folder to remove, `$2` the server's data folder. SIGQUIT is PostgreSQL's immediate shutdown, which
/// frees its shared memory; only when that takes longer than five seconds, it is killed. When the server's number
/// did not reach us, its pid file has it.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
pid=
while read -r word value; do
    case $word in
        pid) pid=$value ;;
        done) exit 0 ;;
    esac
done
if [ -z "$pid" ]; then
    sleep 1
    pid=$(head -n 1 "$2/postmaster.pid" 2>/dev/null)
fi
if [ -n "$pid" ] && kill -QUIT "$pid"; then
    tries=0
    while [ "$tries" -lt 100 ] && [ -e "$2/postmaster.pid" ] && kill -0 "$pid"; do
        sleep 0.05
        tries=$((tries + 1))
    done
    [ "$tries" -lt 100 ] || kill -KILL "$pid"
fi
rm -rf -- "$1"
# A backend that was still writing may have put a file back.
[ ! -e "$1" ] || { sleep 1; rm -rf -- "$1"; }
"#;

/// The running watchdog.
#[derive(Debug)]
pub struct Watchdog {
    child: Child,
    /// Closed when we die. Rust marks it close-on-exec, so the server does not hold it open.
    pipe: Option<ChildStdin>,
}

impl Watchdog {
    /// Watches over the folder `dir`, in which (or beside which) a server will use `data`.
    pub fn start(dir: &Path, data: &Path) -> Result<Self, ServerError> {
        let failed = |error: std::io::Error| ServerError::Program { program: "/bin/sh".to_owned(), reason: error.to_string() };
        let mut child = Command::new("/bin/sh")
            .arg("-c")
            .arg(SCRIPT)
            .arg("schema-watchdog")
            .args([dir, data])
            // Not in the folder that it removes, nor in one that somebody may want to unmount.
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            // Our output may be a pipe that somebody reads to its end.
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?;
        let pipe = child.stdin.take();
        Ok(Self { child, pipe })
    }

    /// Tells it which process to stop.
    pub fn watch(&mut self, pid: u32) {
        self.send(&format!("pid {pid}\n"));
    }

    /// Lets it go without doing anything: the server is stopped and its folder removed.
    pub fn dismiss(&mut self) {
        self.send("done\n");
        self.pipe = None;
        // It has nothing left to do but exit; waiting leaves no zombie.
        let _ = self.child.wait();
    }

    fn send(&mut self, line: &str) {
        if let Some(pipe) = &mut self.pipe {
            // It fails only when the watchdog was killed, and then there is nobody to tell.
            let _ = pipe.write_all(line.as_bytes());
        }
    }
}
