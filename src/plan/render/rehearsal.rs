//! What a rehearsal measured, for people.

use std::fmt::Write;

use super::Style;
use super::words::{counted, number, wrap};
use crate::plan::op::{Cost, LockMode};
use crate::plan::plan::Plan;
use crate::plan::rehearsal::{Finding, Measured, Rehearsal, Seen, UndoResult};

/// What one step did to others, one phrase a relation; what every reader does is left out.
pub(super) fn measured(measured: &Measured) -> Vec<String> {
    measured.seen.iter().map(phrase).collect()
}

fn phrase(seen: &Seen) -> String {
    let mut text = match seen.mode {
        Some(mode) if mode > LockMode::AccessShare => format!("{} on {}", mode.name(), seen.relation),
        _ => seen.relation.clone(),
    };
    for (cost, under) in seen.works() {
        let does = match cost {
            Cost::Instant => continue,
            Cost::Scan => "read",
            Cost::Build => "index built",
            Cost::Rewrite => "rewritten",
        };
        let under = if Some(under) == seen.mode { String::new() } else { format!(" under {}", under.name()) };
        let _ = write!(text, ", {does}{under}");
    }
    text
}

/// Where, and with which rows.
pub(super) fn place(rehearsal: &Rehearsal) -> String {
    let (least, most) = (rehearsal.tables.iter().map(|(_, rows)| *rows).min(), rehearsal.tables.iter().map(|(_, rows)| *rows).max());
    let rows = match (least, most) {
        (Some(least), Some(most)) if least == most => format!("{} {} rows in {}", number(most), rehearsal.rows.name(), tables(rehearsal)),
        (Some(least), Some(most)) => {
            format!("{} to {} {} rows in {}", number(least), number(most), rehearsal.rows.name(), tables(rehearsal))
        }
        _ => "no table of the start".to_owned(),
    };
    format!("on {}, with {rows}", rehearsal.server)
}

fn tables(rehearsal: &Rehearsal) -> String {
    match rehearsal.tables.as_slice() {
        [(name, _)] => name.clone(),
        tables => format!("each of {}", counted(tables.len(), "table")),
    }
}

/// What came of undoing it, in one sentence; nothing where nothing was undone.
pub(super) fn undone(rehearsal: &Rehearsal) -> Option<String> {
    let exact = |result: &UndoResult| matches!(result, UndoResult::Exact | UndoResult::Filled(_));
    let stages: Vec<&str> = rehearsal.undone.iter().filter(|one| exact(&one.result)).map(|one| one.stage.name()).collect();
    let mut text =
        if stages.is_empty() { String::new() } else { format!("Undone from the end of {}: it gives the start again.", stages.join(", ")) };
    let mut filled: Vec<&String> = Vec::new();
    for one in &rehearsal.undone {
        match &one.result {
            UndoResult::Filled(columns) => filled.extend(columns),
            UndoResult::Impossible(step) => {
                let _ = write!(text, " From the end of {} on it cannot be undone: step {step}.", one.stage.name());
            }
            UndoResult::Exact | UndoResult::Wrong(_) => {}
        }
    }
    filled.sort();
    filled.dedup();
    if !filled.is_empty() {
        let list = filled.into_iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let _ = write!(text, " Where {list} held NULL it keeps what it was filled with.");
    }
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// The last word.
pub(super) fn verdict(rehearsal: &Rehearsal) -> String {
    match rehearsal.findings.iter().filter(|finding| finding.wrong).count() {
        0 => "The plan does what it says.".to_owned(),
        wrong => format!("The plan does not do what it says: {}.", counted(wrong, "finding")),
    }
}

fn finding(finding: &Finding) -> String {
    let step = if finding.step > 0 { format!("step {}: ", finding.step) } else { String::new() };
    let note = if finding.wrong { "" } else { "note: " };
    format!("{note}{step}{}", finding.text)
}

/// A rehearsal as people read it; notes only when `style` is verbose.
#[must_use]
pub fn rehearsal(plan: &Plan, rehearsal: &Rehearsal, style: &Style) -> String {
    let mut out = String::new();
    // What goes on in a new line stands under the text behind a number of four columns.
    let mut lines = |indent: usize, text: &str| {
        let hang = if indent == 1 { 5 } else { indent };
        for line in text.lines() {
            for (index, line) in wrap(line, style.width.saturating_sub(hang)).iter().enumerate() {
                let indent = if index == 0 { indent } else { hang };
                let _ = writeln!(out, "{}", format!("{:indent$}{line}", "").trim_end());
            }
        }
    };
    lines(0, &format!("Rehearsal of {} {}", plan.name, place(rehearsal)));
    let mut at = None;
    for ((stage, step), measured) in plan.steps().zip(&rehearsal.steps) {
        if at.replace(stage) != Some(stage) {
            lines(0, "\n");
            lines(0, &stage.name().to_uppercase());
        }
        let written = if measured.rows > 0 { format!(", {} rows written", number(measured.rows)) } else { String::new() };
        lines(1, &format!("{:>2}  {}", step.number, step.title));
        for phrase in self::measured(measured) {
            lines(7, &phrase);
        }
        lines(7, &format!("{} ms{written}", number(measured.millis)));
    }
    lines(0, "\n");
    if let Some(text) = undone(rehearsal) {
        lines(0, &text);
    }
    if rehearsal.queries > 0 {
        lines(
            0,
            &format!(
                "{} of clients were tried behind every step that they live through.",
                counted(usize::try_from(rehearsal.queries).unwrap_or(usize::MAX), "statement")
            ),
        );
    }
    for one in rehearsal.findings.iter().filter(|finding| finding.wrong || style.verbose) {
        lines(2, &finding(one));
    }
    lines(0, &verdict(rehearsal));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::sample;

    #[test]
    fn for_people() {
        let style = Style { verbose: true, ..Style::default() };
        let text = rehearsal(&sample::severity_level(), &sample::rehearsal(), &style);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        insta::assert_snapshot!(text);
    }
}
