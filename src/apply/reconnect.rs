//! A connection that ends under way (a failover, a restart, somebody's `pg_terminate_backend`) is no end of the run:
//! the ledger knows where it stood.

use std::time::Duration;

use super::context::Context;
use super::error::ApplyError;
use super::event::Event;
use super::halt::Halt;
use super::retry::Tries;
use crate::pg::{Session, SessionError, connect};

/// So often the connection may be lost in one place. A statement that ends its server process may restart the whole
/// server, every client's session with it: it is not tried for as long as there is patience.
const IN_ONE_PLACE: u32 = 3;

/// Where and how often the connection was lost without anything done in between.
#[derive(Debug, Default)]
pub(super) struct Losses {
    /// Steps and batches that this process has committed.
    place: (u64, u64),
    /// Before a step of the plan was begun again, and within one. A server that is restarted twice ends the run on its way
    /// back to a step, which is not to blame for it.
    times: [u32; 2],
}

impl Losses {
    /// Counts one, and how often it was so; whether to go on.
    fn count(&mut self, place: (u64, u64), within: bool) -> (bool, u32) {
        if self.place != place {
            *self = Self { place, times: [0, 0] };
        }
        let times = &mut self.times[usize::from(within)];
        *times += 1;
        (*times <= IN_ONE_PLACE, *times)
    }
}

/// Connects again after `lost`, within the retry budget. The run then begins anew from the ledger: with its lock taken
/// again, as another applier may have come in between, and with a new epoch.
///
/// # Errors
/// `lost`, with what came of trying; an interruption.
pub(super) async fn reconnect(context: &mut Context<'_>, losses: &mut Losses, lost: ApplyError) -> Result<(), Halt> {
    let ApplyError::Lost { doing, cause, command } = lost else { return Err(lost.into()) };
    let give_up =
        |more: String| Halt::Failed(ApplyError::Lost { doing: doing.clone(), cause: format!("{cause}{more}"), command: command.clone() });
    if !context.options.ledger {
        // Nothing tells which statements were committed.
        return Err(give_up(String::new()));
    }
    let within = std::mem::take(&mut context.in_step);
    let (go_on, times) = losses.count((context.finished, context.batches), within);
    if !go_on {
        return Err(give_up(format!("\nThat is the {times}. time in the same place, so it is not tried again.")));
    }
    let mut tries = Tries::new(context.options.lock_timeout, context.options.retry_for);
    context.emit(Event::ConnectionLost { doing: doing.clone(), cause: cause.clone(), next_try: Duration::ZERO });
    loop {
        context.check_stop()?;
        let error = match both(context).await {
            Ok((session, watching)) => {
                context.replace(session, watching);
                context.emit(Event::Reconnected { after: tries.elapsed() });
                return Ok(());
            }
            Err(error) => error,
        };
        if !(error.is_unreachable() || error.is_connection_lost()) {
            return Err(give_up(format!("\nConnecting again failed: {error}")));
        }
        let Some(next_try) = tries.again(&mut context.jitter) else {
            let waited = tries.elapsed().as_secs();
            return Err(give_up(format!("\nConnecting again failed {} times over {waited} s; at last: {error}", tries.failed)));
        };
        context.emit(Event::ConnectionLost { doing: doing.clone(), cause: error.to_string(), next_try });
        context.sleep(next_try).await?;
    }
}

async fn both(context: &Context<'_>) -> Result<(Session, Session), SessionError> {
    let session = connect(context.target).await?;
    // In a failover the one that is to become the primary may answer before it is.
    let row = session.client().query_one("SELECT pg_catalog.pg_is_in_recovery()", &[]).await?;
    if row.try_get(0)? {
        let (target, cause) = (session.target().describe(), "it is a standby, or still recovering".to_owned());
        return Err(SessionError::Unreachable { target, cause, hint: "It is waited for until it can be written to.".to_owned() });
    }
    Ok((session, connect(context.target).await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_bounded_where_nothing_moves() {
        let mut losses = Losses::default();
        assert!((0..IN_ONE_PLACE).all(|_| losses.count((4, 0), true).0));
        // On the way back to the step it is another matter, bounded likewise.
        assert!((0..IN_ONE_PLACE).all(|_| losses.count((4, 0), false).0));
        assert_eq!(losses.count((4, 0), true), (false, IN_ONE_PLACE + 1));
        assert!(!losses.count((4, 0), false).0);
        // A batch more, and it starts again.
        assert_eq!(losses.count((4, 1), true), (true, 1));
    }
}
