//! Being asked to stop: SIGINT, SIGTERM, and SIGHUP, which a closed terminal sends.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::signal::unix::{SignalKind, signal};

use super::Out;
use crate::error::Code;

/// The first signal lets a batch or a build finish, and cancels what leaves nothing; the second waits for neither. Before anything is begun, the first one
/// ends the program.
pub(super) struct Signals {
    stop: Arc<AtomicBool>,
    /// The command that goes on, once something may have been begun.
    begun: Arc<Mutex<Option<String>>>,
}

impl Signals {
    /// From here on signals are listened to.
    pub(super) fn listen(out: &Out) -> Self {
        let signals = Self { stop: Arc::default(), begun: Arc::default() };
        for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
            // Under nohup a closed terminal is to change nothing.
            if kind == SignalKind::hangup() && is_ignored(kind) {
                continue;
            }
            let Ok(mut arrives) = signal(kind) else { continue };
            let (stop, begun, out) = (Arc::clone(&signals.stop), Arc::clone(&signals.begun), out.clone());
            tokio::spawn(async move {
                while arrives.recv().await.is_some() {
                    let command = begun.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    let Some(command) = command else {
                        out.notice("Stopped before anything was begun.");
                        std::process::exit(Code::Interrupted as i32);
                    };
                    let again = stop.swap(true, Ordering::Relaxed);
                    // A terminal that closes may say so twice: to the shell, which passes it on, and to its group.
                    if again && kind == SignalKind::hangup() {
                        continue;
                    }
                    if again {
                        // The server rolls the open transaction back; the ledger knows what is committed.
                        out.notice(&format!("Stopped at once; what is committed stays. Go on with: {command}"));
                        std::process::exit(Code::Interrupted as i32);
                    }
                    out.notice("Stopping: a batch, or an index that is built, ends first; what leaves nothing is cancelled. Once more to stop at once.");
                }
            });
        }
        signals
    }

    /// From here on something may be begun: what a signal sets. `command` goes on with it.
    pub(super) fn begin(&self, command: &str) -> Arc<AtomicBool> {
        *self.begun.lock().unwrap_or_else(PoisonError::into_inner) = Some(command.to_owned());
        Arc::clone(&self.stop)
    }
}

/// Whether the program was started with this signal ignored. Where that cannot be seen, it counts as ignored.
fn is_ignored(kind: SignalKind) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    let bit = u32::try_from(kind.as_raw_value() - 1).unwrap_or_default();
    mask.is_none_or(|mask| mask >> bit & 1 == 1)
}
