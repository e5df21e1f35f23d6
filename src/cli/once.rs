//! What runs once and is in no ledger: a change straight from the source, cleaning, bringing back, purging.

use super::Out;
use super::apply::{patience, stopped, who};
use super::progress::Progress;
use super::signals::Signals;
use crate::apply::{Event, Options, Outcome, apply};
use crate::error::CliError;
use crate::pg::{Session, Target};
use crate::plan::Plan;
use crate::project::Project;

/// Runs plans without the ledger, under the applier's lock.
pub(super) struct Once<'o> {
    pub(super) target: Target,
    pub(super) project: &'o Project,
    /// The command that goes on.
    pub(super) command: String,
    pub(super) signals: &'o Signals,
    /// What is asked for beyond [`Options::direct`] and the project's patience.
    pub(super) options: Options,
}

impl Once<'_> {
    /// Runs one, and shows its progress.
    pub(super) async fn show(&self, session: Session, plan: &Plan, out: &Out) -> Result<(), CliError> {
        let mut progress = Progress::new(out);
        let result = self.run(session, plan, &mut |event| progress.event(event)).await;
        progress.finish();
        result
    }

    /// Runs one.
    pub(super) async fn run(&self, session: Session, plan: &Plan, tell: &mut dyn FnMut(Event)) -> Result<(), CliError> {
        let options = Options {
            stop: self.signals.begin(&self.command),
            who: who(),
            command: self.command.clone(),
            env: self.project.env_flag(),
            ..self.options.clone()
        };
        let options = patience(options, &self.project.config);
        match Box::pin(apply(session, &self.target, plan, "", "", &options, tell)).await? {
            Outcome::Interrupted { reason, .. } => Err(stopped(&reason, &self.command)),
            Outcome::Done | Outcome::Waiting { .. } => Ok(()),
        }
    }
}
