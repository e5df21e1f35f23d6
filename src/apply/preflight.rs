//! Looking for rows that would make a later step fail, before anything is changed: outside locks, in read-only
//! transactions of a session of its own.

use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, Instant};

use tokio_postgres::SimpleQueryMessage;
use tokio_postgres::error::SqlState;

use super::context::Context;
use super::error::ApplyError;
use super::event::Event;
use super::halt::Halt;
use super::ledger::{self, PlanState};
use super::lock::{self, first_value};
use crate::config::duration::span;
use crate::pg::{Session, Target, connect, explain, is_connection_lost};
use crate::plan::Plan;
use crate::plan::plan::{Preflight, StageName, Step};

/// How many of the rows are shown.
const SAMPLES: usize = 5;
/// How long one look may take.
const LIMIT: Duration = Duration::from_hours(1);

/// Rows that would make a step fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The step's number.
    pub step: u32,
    /// What the step does.
    pub title: String,
    /// What is wrong with the rows, behind their number.
    pub what: String,
    /// How many there are; `None` where reading them failed.
    pub count: Option<u64>,
    /// A few of them: `id 7`; or why reading them failed.
    pub samples: Vec<String>,
    /// The query that gives all of them, behind what it stands on.
    pub rows: String,
    /// What to do about them.
    pub help: String,
}

/// Why a plan does not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The plan's name.
    pub plan: String,
    /// Whether a step of it was done before.
    pub begun: bool,
    /// Every look that found something.
    pub found: Vec<Found>,
    /// The command that goes on once they are corrected.
    pub command: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { plan, begun, found, command } = self;
        let kept = if *begun { "the steps before it stay, no further one was begun" } else { "nothing was done" };
        writeln!(f, "rows that are there would make {plan} fail; {kept}.")?;
        for Found { step, title, what, count, samples, rows, help } in found {
            match count {
                Some(count) => writeln!(f, "\n  step {step} ({title}): {what}: {} found", crate::plan::render::number(*count))?,
                None => writeln!(f, "\n  step {step} ({title}): {what}")?,
            }
            if let (None, Some(why)) = (count, samples.first()) {
                writeln!(f, "    looking for them failed as the step would: {why}")?;
            } else if !samples.is_empty() {
                writeln!(f, "    for example: {}", samples.join("; "))?;
            }
            writeln!(f, "    all of them: {}", rows.replace('\n', "\n      "))?;
            writeln!(f, "    {help}")?;
        }
        write!(f, "\nThen go on with: {command}")
    }
}

/// What a look gave.
enum Look {
    Passed,
    Found(Box<Found>),
    /// It could not be made, as was told.
    Unknown,
}

/// The looks of one run: each is done once, also where the connection is lost or the run is resumed: a look may take as long
/// as the step. What changes meanwhile the step itself refuses.
pub(super) struct Looks<'t> {
    target: &'t Target,
    session: Option<Session>,
    /// Step and place in it of those that passed.
    done: BTreeSet<(u32, usize)>,
    /// Whether the ledger was asked what passed in an earlier run.
    recalled: bool,
}

impl<'t> Looks<'t> {
    pub(super) fn new(target: &'t Target) -> Self {
        Self { target, session: None, done: BTreeSet::new(), recalled: false }
    }

    /// What can be known now, of all that comes before the next barrier: called before `next` runs, when the steps in
    /// `done` and all before `next` are done.
    pub(super) async fn before(
        &mut self,
        context: &mut Context<'_>,
        stage: StageName,
        next: &Step,
        done: &BTreeSet<u32>,
    ) -> Result<(), Halt> {
        if !context.options.preflight {
            return Ok(());
        }
        let mut due = self.due(context.plan, stage, next, done);
        if !due.is_empty() && !std::mem::replace(&mut self.recalled, true) {
            let passed = ledger::looks(context).await?;
            let before = due.len();
            due.retain(|(step, place)| !passed.contains(&(step.number, *place)));
            if due.len() < before {
                let how_many = match before - due.len() {
                    1 => "one look".to_owned(),
                    more => format!("{more} looks"),
                };
                context.emit(Event::Notice(format!(
                    "{how_many} for rows that would make a step fail passed in an earlier run, less than a day ago"
                )));
            }
            self.done.extend(passed);
        }
        if due.is_empty() {
            return Ok(());
        }
        let begun = Instant::now();
        let mut found = Vec::new();
        let mut unknown = 0;
        for (at, (step, place)) in due.iter().enumerate() {
            let preflight = &step.preflight[*place];
            context.check_stop()?;
            context.emit(Event::PreflightLook { what: preflight.title.clone(), number: at + 1, of: due.len() });
            match self.look(context, step, preflight).await? {
                Look::Found(rows) => found.push(*rows),
                Look::Passed => ledger::looked(context, Some((step.number, *place))).await?,
                Look::Unknown => unknown += 1,
            }
            self.done.insert((step.number, *place));
        }
        context.emit(Event::PreflightDone { looks: due.len() - unknown, found: found.len(), elapsed: begun.elapsed() });
        if found.is_empty() {
            return Ok(());
        }
        // Whoever corrects rows may make others wrong.
        ledger::looked(context, None).await?;
        ledger::set_state(context, PlanState::Waiting).await?;
        let first = context.plan.steps().next().map(|(_, step)| step.number);
        let refusal = Refusal { plan: context.plan.name.clone(), begun: first != Some(next.number), found, command: context.command() };
        Err(ApplyError::Preflight(Box::new(refusal)).into())
    }

    /// Ends the session of the looks; what passed is not looked for again.
    pub(super) async fn close(&mut self) {
        if let Some(session) = self.session.take() {
            session.close().await;
        }
    }

    /// Steps, with the places of their looks.
    fn due<'p>(&self, plan: &'p Plan, stage: StageName, next: &Step, done: &BTreeSet<u32>) -> Vec<(&'p Step, usize)> {
        // Behind the barrier clients of the old release no longer write: that is known when it is passed.
        let together = |other: StageName| (other == StageName::Contract) == (stage == StageName::Contract);
        let known = |preflight: &Preflight| preflight.after.is_none_or(|after| after < next.number || done.contains(&after));
        let mut due = Vec::new();
        for (_, step) in plan.steps().filter(|(other, step)| together(*other) && step.number >= next.number && !done.contains(&step.number))
        {
            for (at, preflight) in step.preflight.iter().enumerate() {
                if known(preflight) && !self.done.contains(&(step.number, at)) {
                    due.push((step, at));
                }
            }
        }
        due
    }

    async fn session(&mut self, context: &Context<'_>) -> Result<&Session, Halt> {
        if self.session.is_none() {
            let session = match connect(self.target).await {
                Ok(session) => session,
                Err(error) => {
                    // The server may have gone down since the run began: then it is as if the run's own connection had ended. Where
                    // that is alive, there is no room for another one.
                    let doing = "a session looked for rows that would make a step fail";
                    let alive = context.ddl().simple_query("SELECT 1").await.is_ok();
                    if !alive && (error.is_unreachable() || error.is_connection_lost()) {
                        let (doing, cause) = (doing.to_owned(), error.to_string());
                        return Err(ApplyError::Lost { doing, cause, command: context.command() }.into());
                    }
                    return Err(ApplyError::from(error).into());
                }
            };
            // Its locks are ACCESS SHARE only.
            let limit = format!("SET statement_timeout = {}", LIMIT.as_millis());
            let sql = format!("{}; {limit}; {}", lock::settings(session.server_version), lock::guest_sql());
            session.client().batch_execute(&sql).await.map_err(|error| context.query_error("setting up a session", &error))?;
            self.session = Some(session);
        }
        Ok(self.session.as_ref().expect("it was made just now"))
    }

    async fn look(&mut self, context: &mut Context<'_>, step: &Step, preflight: &Preflight) -> Result<Look, Halt> {
        let session = self.session(context).await?;
        let answer = ask(session, context, preflight).await;
        // What stands in the way of the next look, or costs disk, goes.
        let _ = session.client().batch_execute(if preflight.setup.is_empty() { "ROLLBACK" } else { "ROLLBACK; DISCARD TEMP" }).await;
        let found = |count, samples| {
            let (title, what, help) = (step.title.clone(), preflight.title.clone(), preflight.help.clone());
            // Whoever asks for all of them needs what the query stands on, too.
            let rows = preflight.setup.iter().chain([&preflight.rows]).cloned().collect::<Vec<_>>().join(";\n");
            Look::Found(Box::new(Found { step: step.number, title, what, count, samples, rows, help }))
        };
        let error = match answer {
            Ok((0, _)) => return Ok(Look::Passed),
            Ok((count, samples)) => return Ok(found(Some(count), samples)),
            Err(error) => error,
        };
        context.check_stop()?;
        if is_connection_lost(&error) {
            return Err(context.query_error("looking for rows that would make a step fail", &error).into());
        }
        if error.code() == Some(&SqlState::QUERY_CANCELED) {
            let text = format!("{} could not be looked for within {}: the step itself will tell", preflight.title, span(LIMIT));
            context.emit(Event::Notice(text));
            return Ok(Look::Unknown);
        }
        if error.code().is_some_and(is_about_a_value) {
            return Ok(found(None, vec![explain(&error)]));
        }
        context.emit(Event::Notice(format!("it could not be looked for {}: {}", preflight.title, explain(&error))));
        Ok(Look::Unknown)
    }
}

/// Class 22, data exception: a row makes the expression fail, as it will make the step.
fn is_about_a_value(code: &SqlState) -> bool {
    code.code().starts_with("22")
}

/// The number of rows, and a few of them. Cancelled when the run is asked to stop.
async fn ask(session: &Session, context: &Context<'_>, preflight: &Preflight) -> Result<(u64, Vec<String>), tokio_postgres::Error> {
    let asked = async {
        for statement in &preflight.setup {
            session.client().batch_execute(statement).await?;
        }
        session.client().batch_execute("BEGIN READ ONLY").await?;
        let count = session.client().simple_query(&format!("SELECT count(*) FROM ({}) found", preflight.rows)).await?;
        let count = first_value(&count).and_then(|count| count.parse().ok()).unwrap_or_default();
        if count == 0 {
            return Ok((0, Vec::new()));
        }
        let rows = session.client().simple_query(&format!("SELECT * FROM ({}) found LIMIT {SAMPLES}", preflight.rows)).await?;
        Ok((count, rows.iter().filter_map(sample).collect()))
    };
    tokio::pin!(asked);
    tokio::select! {
        answer = &mut asked => return answer,
        () = context.stopping() => {}
    }
    loop {
        let _ = session.cancel_handle().cancel().await;
        // Between two statements there is nothing to cancel.
        tokio::select! {
            answer = &mut asked => return answer,
            () = tokio::time::sleep(Duration::from_millis(200)) => {}
        }
    }
}

/// `id 7, note NULL`.
fn sample(message: &SimpleQueryMessage) -> Option<String> {
    let SimpleQueryMessage::Row(row) = message else { return None };
    let value = |at: usize| {
        let text = row.get(at).unwrap_or("NULL");
        let cut: String = text.chars().take(60).collect();
        if cut.len() < text.len() { format!("{cut}…") } else { cut }
    };
    Some(row.columns().iter().enumerate().map(|(at, column)| format!("{} {}", column.name(), value(at))).collect::<Vec<_>>().join(", "))
}
