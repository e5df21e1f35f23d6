//! Whether clients of the old release are gone, as far as the server can tell.

use std::time::{Duration, SystemTime};

use crate::cli::time;
use crate::config::{Gate, duration, ignore::glob};
use crate::error::CliError;
use crate::pg::Session;
use crate::plan::Plan;

/// Other sessions of this database: name, process, and for how many seconds each has been idle
/// (nothing while it is at work, or where the role may not see it; manual, 28.2.3).
const SESSIONS: &str = "
SELECT application_name, pid,
       CASE WHEN state = 'idle' THEN greatest(0, extract(epoch FROM now() - state_change))::float8 END
FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
ORDER BY backend_start, pid";

/// Refuses to go on while a client that matches is connected and was at work within the time of
/// the gate, or while the switch is not that long ago (a client that is gone may come back).
///
/// # Errors
/// The gate is not met, or the query failed.
pub(super) async fn check(session: &Session, gate: &Gate, plan: &Plan, switched: Option<SystemTime>) -> Result<(), CliError> {
    let mut seen = Vec::new();
    for row in session.client().query(SESSIONS, &[]).await? {
        let idle: Option<f64> = row.try_get(2)?;
        seen.push((row.try_get(0)?, row.try_get(1)?, idle.map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))));
    }
    let since = switched.map(|at| SystemTime::now().duration_since(at).unwrap_or_default());
    match unmet(gate, &seen, since) {
        None => Ok(()),
        Some(why) => Err(CliError::refused(
            format!("the gate of {} is not met: {why}", plan.name),
            "wait, or if you know better: --confirm old-clients-gone",
        )),
    }
}

/// Why the gate is not met.
fn unmet(gate: &Gate, seen: &[(String, i32, Option<Duration>)], since_switch: Option<Duration>) -> Option<String> {
    let busy = seen.iter().find(|(name, _, idle)| glob(&gate.clients, name) && idle.is_none_or(|idle| idle < gate.idle));
    if let Some((name, pid, idle)) = busy {
        let last = idle.map_or("is at work".to_owned(), |idle| format!("was at work {} ago", time::span(idle)));
        return Some(format!("{name} (session {pid}) {last}, and idle={} is asked for", duration::format(gate.idle)));
    }
    let since = since_switch.filter(|since| *since < gate.idle)?;
    Some(format!("the switch was {} ago, and idle={} is asked for", time::span(since), duration::format(gate.idle)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_idle_gone() {
        let gate = Gate { clients: "app/1.*".into(), idle: Duration::from_hours(1) };
        let session = |name: &str, idle: Option<u64>| (name.to_owned(), 7, idle.map(Duration::from_secs));
        let hours = Duration::from_hours;
        assert_eq!(unmet(&gate, &[session("app/2.0", None), session("app/1.4", Some(4000))], Some(hours(2))), None);
        assert_eq!(
            unmet(&gate, &[session("app/1.4", Some(90))], Some(hours(2))).as_deref(),
            Some("app/1.4 (session 7) was at work 90 s ago, and idle=1h is asked for")
        );
        assert!(unmet(&gate, &[session("app/1.4", None)], None).is_some_and(|why| why.contains("is at work")));
        assert_eq!(unmet(&gate, &[], Some(Duration::from_mins(5))).as_deref(), Some("the switch was 5 min ago, and idle=1h is asked for"));
    }
}
