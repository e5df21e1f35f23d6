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
    /// The step, and the batches that were committed.
    place: (u32, u64),
    times: u32,
}

impl Losses {
    /// Counts one; whether to go on.
    fn count(&mut self, place: (u32, u64)) -> bool {
        self.times = if self.place == place { self.times + 1 } else { 1 };
        self.place = place;
        self.times <= IN_ONE_PLACE
    }
}

/// Connects again after `lost`, within the retry budget. The run then begins anew from the ledger: with its lock taken
/// again, as another applier may have come in between, and with a new epoch.
///
/// # Errors
/// `lost`, with what came of trying; an interruption.
pub(super) async fn reconnect(context: &mut Context<'_>, losses: &mut Losses, step: u32, lost: ApplyError) -> Result<(), Halt> {
    let ApplyError::Lost { doing, cause, command } = lost else { return Err(lost.into()) };
    let give_up =
        |more: String| Halt::Failed(ApplyError::Lost { doing: doing.clone(), cause: format!("{cause}{more}"), command: command.clone() });
    if !context.options.ledger {
        // Nothing tells which statements were committed.
        return Err(give_up(String::new()));
    }
    if !losses.count((step, context.batches)) {
        return Err(give_up(format!("\nThat is the {}. time in the same place, so it is not tried again.", losses.times)));
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
    Ok((connect(context.target).await?, connect(context.target).await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_bounded_where_nothing_moves() {
        let mut losses = Losses::default();
        assert!((0..IN_ONE_PLACE).all(|_| losses.count((4, 0))));
        assert!(!losses.count((4, 0)));
        // A batch more, and it starts again.
        assert!(losses.count((4, 1)));
    }
}
