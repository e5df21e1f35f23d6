//! The two streams, and what may be written to them.

use std::io::{BufRead, ErrorKind, IsTerminal, Write};

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme};

use super::global::Global;
use crate::error::{CliError, Code};
use crate::plan::render::{Style, wrap};

/// Columns of all that is written for people.
pub const WIDTH: usize = 80;

/// Where a command writes.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts about two streams")]
pub struct Out {
    /// Whether to say nothing but results and errors.
    pub quiet: bool,
    /// Whether to say more.
    pub verbose: bool,
    /// Colours on stdout.
    color: bool,
    /// Colours on stderr.
    color_err: bool,
    /// Whether stderr is a terminal, so that bars can be drawn.
    terminal: bool,
}

impl Out {
    /// What the options and the streams allow.
    #[must_use]
    pub fn new(global: &Global) -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let plain = global.no_color || set("NO_COLOR") || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let terminal = std::io::stderr().is_terminal();
        Self {
            quiet: global.quiet,
            verbose: global.verbose,
            color: !plain && std::io::stdout().is_terminal(),
            color_err: !plain && terminal,
            terminal,
        }
    }

    /// How results for people are laid out.
    #[must_use]
    pub const fn style(&self) -> Style {
        Style { color: self.color, width: WIDTH, verbose: self.verbose }
    }

    /// Whether only results and errors are wanted.
    #[must_use]
    pub const fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Whether moving bars may be drawn on stderr.
    #[must_use]
    pub const fn bars(&self) -> bool {
        self.terminal && !self.quiet
    }

    /// Whether somebody can be asked.
    #[must_use]
    pub fn can_ask(&self) -> bool {
        self.terminal && std::io::stdin().is_terminal()
    }

    /// Writes a result to stdout.
    ///
    /// # Errors
    /// A stream that cannot be written to. A reader that has gone away is a silent success: it has
    /// what it wanted.
    pub fn result(&self, text: &str) -> Result<(), CliError> {
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|error| match error.kind() {
            ErrorKind::BrokenPipe => CliError::silent(Code::Done),
            _ => CliError::message(Code::Error, format!("cannot write the result: {error}")),
        })
    }

    /// Tells people something on stderr, unless quiet; wrapped.
    pub fn notice(&self, text: &str) {
        if !self.quiet {
            self.tell(text);
        }
    }

    /// Tells people what they must see even if quiet; wrapped.
    pub fn tell(&self, text: &str) {
        for line in text.lines() {
            // Indented lines are laid out already.
            let lines = if line.starts_with(' ') { vec![line.to_owned()] } else { wrap(line, WIDTH) };
            for line in lines {
                stderr(&format!("{line}\n"));
            }
        }
    }

    /// Shows an error and gives its exit code.
    #[must_use]
    pub fn error(&self, error: &CliError) -> Code {
        if let Some(report) = error.report() {
            let theme = if self.color_err { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
            stderr(&rendered(report.as_ref(), theme));
        }
        error.code()
    }

    /// Asks on the terminal and gives the answer; nothing at the end of the input.
    #[must_use]
    pub fn ask(&self, question: &str) -> Option<String> {
        stderr(question);
        let mut answer = String::new();
        match std::io::stdin().lock().read_line(&mut answer) {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(answer.trim().to_owned()),
        }
    }
}

/// A diagnostic as people see it, without colours.
#[must_use]
pub fn plain(diagnostic: &dyn Diagnostic) -> String {
    rendered(diagnostic, GraphicalTheme::unicode_nocolor())
}

fn rendered(diagnostic: &dyn Diagnostic, theme: GraphicalTheme) -> String {
    let mut text = String::new();
    let handler = GraphicalReportHandler::new_themed(theme)
        .with_width(WIDTH)
        .with_links(false)
        .with_word_splitter(textwrap::WordSplitter::NoHyphenation);
    match handler.render_report(&mut text, diagnostic) {
        Ok(()) => text,
        Err(_) => format!("{diagnostic}\n"),
    }
}

/// Nothing can be said about a stderr that cannot be written to.
fn stderr(text: &str) {
    let mut stderr = std::io::stderr().lock();
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}
