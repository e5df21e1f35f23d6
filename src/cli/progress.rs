//! What happens during `apply`, as it happens: bars on a terminal, lines elsewhere, nothing when
//! quiet.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::out::WIDTH;
use super::{Out, time};
use crate::apply::{Blocker, Event};
use crate::plan::render::{number, wrap};

/// How often a backfill speaks where no bar can be drawn.
const SPEAK_EVERY: Duration = Duration::from_secs(10);

/// A step that is done: its title, wrapped, and how long it took at the right.
fn step_line(number: u32, title: &str, took: &str) -> String {
    step_line_of(&number.to_string(), title, took)
}

/// A line with something short before it.
fn step_line_of(lead: &str, title: &str, took: &str) -> String {
    let mut lines = wrap(title, WIDTH - 5);
    let fits = lines.last().is_some_and(|last| last.chars().count() + took.chars().count() + 7 <= WIDTH);
    if !fits {
        lines.push(String::new());
    }
    let last = lines.last_mut().expect("there is a line, if only the empty one");
    let gap = (WIDTH - 5).saturating_sub(last.chars().count() + took.chars().count());
    last.push_str(&" ".repeat(gap));
    last.push_str(took);
    format!("{lead:>3}  {}", lines.join("\n     "))
}

/// Renders the events of one run.
pub struct Progress<'o> {
    out: &'o Out,
    bar: ProgressBar,
    spoke: Option<Instant>,
    /// What was said last of a wait, but for its numbers.
    waits: String,
    step: String,
}

impl<'o> Progress<'o> {
    /// Nothing has happened yet.
    #[must_use]
    pub fn new(out: &'o Out) -> Self {
        let bar = ProgressBar::new_spinner();
        bar.set_draw_target(if out.bars() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() });
        Self { out, bar, spoke: None, waits: String::new(), step: String::new() }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// Shows one event.
    pub fn event(&mut self, event: Event) {
        match event {
            Event::Notice(text) => self.line(&text),
            Event::StageStarted { stage, .. } => self.line(&stage.name().to_uppercase()),
            Event::PreflightLook { what, number, of } => {
                self.spoke = None;
                let text = format!("looking for {what} ({number} of {of})");
                self.step = text;
                self.spin(&self.step);
            }
            Event::PreflightDone { looks: looks @ 1.., found: 0, elapsed } => {
                let looks = if looks == 1 { "one look".to_owned() } else { format!("{looks} looks") };
                self.line(&step_line_of("ok", &format!("no row would make a step fail ({looks})"), &time::span(elapsed)));
            }
            Event::StepStarted { number, title, attempt, .. } => {
                let again = if attempt > 1 { format!(" (attempt {attempt})") } else { String::new() };
                self.step = format!("{number:>3}  {title}{again}");
                self.waits.clear();
                self.spoke = None;
                self.spin(&self.step);
            }
            Event::StepSkipped { number, title } if self.out.verbose => self.line(&format!("{number:>3}  {title}: done before")),
            Event::LockWait { failed, blockers, next_try, .. } => self.lock_wait(failed, &blockers, next_try),
            Event::BackfillProgress { rows_seen, rows_total, rate, eta, .. } => self.backfill(rows_seen, rows_total, rate, eta),
            Event::ConnectionLost { doing, cause, next_try } => {
                let again = if next_try.is_zero() { "now".to_owned() } else { format!("in {}", time::span(next_try)) };
                self.line(&format!("     the connection was lost while {doing}: {cause}; connecting again {again}"));
            }
            Event::Reconnected { after } => {
                self.line(&format!("     connected again after {}: going on from the ledger", time::span(after)));
            }
            Event::BackfillHeld { reason, .. } => {
                self.speak_of_wait(&format!("     waits: {reason}"));
                self.bar.set_message(format!("{}, waits: {reason}", self.step.trim_start()));
            }
            Event::StepDone { number, title, elapsed, waited } => {
                let waited =
                    if waited > Duration::from_millis(50) { format!(", {} of it for locks", time::span(waited)) } else { String::new() };
                self.line(&step_line(number, &title, &format!("{}{waited}", time::span(elapsed))));
                self.bar.set_length(0);
            }
            // The stages that are done show in what comes next; events to come say nothing yet.
            _ => {}
        }
    }

    fn lock_wait(&mut self, failed: u32, blockers: &[Blocker], next_try: Option<Duration>) {
        let holder = blockers.first().map(|blocker| {
            let application = if blocker.application.is_empty() { String::new() } else { format!(" ({})", blocker.application) };
            let pid = blocker.pid.map(|pid| format!("session {pid} of ")).unwrap_or_default();
            format!(" held by {pid}{}{application}", blocker.user)
        });
        let next = next_try.map(|next| format!(", try {} in {}", failed + 1, time::span(next))).unwrap_or_default();
        let text = format!("waits for a lock{}{next}", holder.unwrap_or_default());
        self.speak_of_wait(&format!("     {text}"));
        self.bar.set_message(format!("{}, {text}", self.step.trim_start()));
    }

    /// Says it when it is another wait than before, else from time to time.
    fn speak_of_wait(&mut self, text: &str) {
        let same = text.replace(|c: char| c.is_ascii_digit(), "");
        if same != self.waits || self.spoke.is_none_or(|spoke| spoke.elapsed() >= SPEAK_EVERY) {
            self.waits = same;
            self.spoke = Some(Instant::now());
            self.speak(text);
        }
    }

    fn backfill(&mut self, seen: u64, total: Option<u64>, rate: f64, eta: Option<Duration>) {
        // The estimate of the table's rows may be old: the bar never goes past its end.
        let total = total.filter(|total| *total > 0).map(|total| total.max(seen));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate is positive and below 2^53")]
        let rate = rate.max(0.0) as u64;
        let left = eta.map(|eta| format!(", about {} left", time::span(eta))).unwrap_or_default();
        let of = total.map(|total| format!(" of {}", number(total))).unwrap_or_default();
        let text = format!("{}{of} rows, {} rows/s{left}", number(seen), number(rate));
        if let Some(total) = total {
            if self.bar.length() != Some(total) {
                self.bar.set_length(total);
                if let Ok(style) = ProgressStyle::with_template("{wide_bar} {percent:>3}%  {msg}") {
                    self.bar.set_style(style);
                }
            }
            self.bar.set_position(seen);
        }
        self.bar.set_message(text.clone());
        if self.spoke.is_none_or(|spoke| spoke.elapsed() >= SPEAK_EVERY) {
            self.spoke = Some(Instant::now());
            self.speak(&format!("     {text}"));
        }
    }

    fn spin(&self, text: &str) {
        self.bar.set_style(ProgressStyle::default_spinner());
        self.bar.set_message(text.trim_start().to_owned());
        if self.out.bars() {
            self.bar.enable_steady_tick(Duration::from_millis(120));
        } else if self.out.verbose {
            self.out.notice(text);
        }
    }

    /// A line that stays.
    fn line(&self, text: &str) {
        self.bar.suspend(|| self.out.notice(text));
    }

    /// A line where there is no bar that shows it.
    fn speak(&self, text: &str) {
        if !self.out.bars() {
            self.out.notice(text);
        }
    }
}
