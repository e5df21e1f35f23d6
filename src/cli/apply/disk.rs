//! Whether the disk will do: what the plans need, against what is free where that can be known.

use crate::cli::{Out, time};
use crate::error::CliError;
use crate::pg::Session;
use crate::pg::target::Host;
use crate::plan::forecast::Need;
use crate::plan::render::bytes;

/// Needs below this are not spoken of.
pub(crate) const LITTLE: u64 = 100 << 20;

/// Tells what is needed, and refuses where it is known not to be there. `configured` is `disk-free` of the environment.
///
/// # Errors
/// The disk would not do.
pub(super) async fn check(session: &Session, need: Need, configured: Option<u64>, out: &Out) -> Result<(), CliError> {
    if need.disk < LITTLE {
        return Ok(());
    }
    out.notice(&format!("Forecast: {}.", words(need)));
    let free = match configured {
        Some(free) => Some(free),
        None => local(session).await,
    };
    match free {
        None => out.notice(
            "How much disk is free there cannot be seen through SQL: `disk-free \"40GB\"` in the environment says it, and apply refuses what does not fit.",
        ),
        Some(free) if free < need.disk => {
            return Err(CliError::refused(
                format!("the disk would not do: about {} are needed, {} are free; nothing was done", bytes(need.disk), bytes(free)),
                "make room, or if you know better: --no-disk-check",
            ));
        }
        Some(_) => {}
    }
    Ok(())
}

/// `about 1.4 GB more disk, 2.5 GB of WAL, 20 min of backfills at 10,000 rows/s`.
pub(crate) fn words(need: Need) -> String {
    let time = match need.rows {
        0 => String::new(),
        _ => format!(
            ", {} of backfills at {} rows/s",
            time::span(need.time()),
            crate::plan::render::number(crate::plan::forecast::ROWS_PER_SECOND)
        ),
    };
    format!("about {} more disk, {} of WAL{time}", bytes(need.disk), bytes(need.wal))
}

/// Free bytes where the server keeps its data: only on this machine, over a Unix socket, and where the role may ask.
async fn local(session: &Session) -> Option<u64> {
    let socket = session.target().endpoints.iter().all(|endpoint| matches!(endpoint.host, Host::Unix(_)));
    if !socket {
        return None;
    }
    let row = session.client().query_one("SELECT pg_catalog.current_setting('data_directory')", &[]).await.ok()?;
    let stat = rustix::fs::statvfs(std::path::Path::new(row.try_get::<_, &str>(0).ok()?)).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}
