//! A plan for people at a terminal: 80 columns, top-down, what happens next at the end.

use std::fmt::Write;

use super::words::{self, bytes, counted, number, wrap};
use super::{Context, Style};
use crate::plan::plan::{Gate, Plan, Proof, Stage, StageName, Step, Summary, Undo, Work};
use crate::plan::policy::{Standing, judge};
use crate::plan::rehearsal::Rehearsal;

/// Where the facts of a step start when its title leaves room on the line.
const FACTS_COLUMN: usize = 34;
/// How wide the last column is: `undo: not needed`.
const UNDO_WIDTH: usize = 16;

/// The plan as people read it.
#[must_use]
pub fn text(plan: &Plan, context: &Context, style: &Style) -> String {
    let page = Page { style };
    let mut out = String::new();
    page.title(&mut out, plan, context);
    for summary in &plan.summary {
        page.summary(&mut out, summary);
    }
    if !plan.summary.is_empty() {
        out.push('\n');
    }
    for (index, stage) in plan.stages.iter().enumerate() {
        if stage.name == StageName::Contract && index > 0 {
            page.release(&mut out);
        }
        let gate = plan.gate.as_ref().filter(|_| stage.name == StageName::Contract);
        page.stage(&mut out, stage, gate, context.rehearsal.as_ref());
    }
    out.push('\n');
    page.hazards(&mut out, plan, context);
    let proof = words::proof(&plan.proof);
    let colour = if matches!(plan.proof, Proof::Proven(_)) { GREEN } else { YELLOW };
    for line in wrap(&proof, style.width) {
        let _ = writeln!(out, "{}", page.paint(colour, &line));
    }
    if let Some(rehearsal) = &context.rehearsal {
        let text = format!("Rehearsed {}. {}", super::rehearsal::place(rehearsal), super::rehearsal::verdict(rehearsal));
        let colour = if rehearsal.holds() { GREEN } else { RED };
        for line in wrap(&text, style.width) {
            let _ = writeln!(out, "{}", page.paint(colour, &line));
        }
    }
    out
}

const BOLD: &str = "1";
const DIM: &str = "2";
const RED: &str = "31";
const GREEN: &str = "32";
const YELLOW: &str = "33";

struct Page<'s> {
    style: &'s Style,
}

// `writeln!` into a String cannot fail, so its results are dropped throughout.
impl Page<'_> {
    fn paint(&self, code: &str, text: &str) -> String {
        if self.style.color && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// `left` and `right` at the two ends of a line, or below each other.
    fn ends(&self, out: &mut String, (left, left_code): (&str, &str), right: &str) {
        let used = left.chars().count() + right.chars().count();
        let painted = self.paint(left_code, left);
        if right.is_empty() {
            let _ = writeln!(out, "{painted}");
        } else if used + 2 <= self.style.width {
            let _ = writeln!(out, "{painted}{:gap$}{}", "", self.paint(DIM, right), gap = self.style.width - used);
        } else {
            let _ = writeln!(out, "{painted}");
            for line in wrap(right, self.style.width.saturating_sub(4)) {
                let _ = writeln!(out, "    {}", self.paint(DIM, &line));
            }
        }
    }

    fn title(&self, out: &mut String, plan: &Plan, context: &Context) {
        self.ends(out, (&format!("Plan {}", plan.name), BOLD), context.target.as_deref().unwrap_or_default());
        out.push('\n');
    }

    fn summary(&self, out: &mut String, summary: &Summary) {
        let size = match (summary.rows, summary.bytes) {
            (Some(rows), Some(size)) => format!("{} rows, {}", number(rows), bytes(size)),
            (Some(rows), None) => format!("{} rows", number(rows)),
            (None, Some(size)) => bytes(size),
            (None, None) => String::new(),
        };
        let (sign, code) = sign(summary.sign);
        self.ends(out, (&format!("{sign} {}", summary.subject), code), &size);
        for (part_sign, line) in &summary.lines {
            let (sign, code) = self::sign(*part_sign);
            for (index, text) in wrap(line, self.style.width.saturating_sub(6)).iter().enumerate() {
                let lead = if index == 0 { self.paint(code, sign) } else { "   ".to_owned() };
                let _ = writeln!(out, "    {lead} {text}");
            }
        }
    }

    fn release(&self, out: &mut String) {
        let words = " deploy the new release: old and new clients now work side by side ";
        let dashes = self.style.width.saturating_sub(words.len());
        let line = format!("{}{words}{}", "-".repeat(dashes / 2), "-".repeat(dashes - dashes / 2));
        let _ = writeln!(out, "{}", self.paint(DIM, &line));
    }

    fn stage(&self, out: &mut String, stage: &Stage, gate: Option<&Gate>, rehearsal: Option<&Rehearsal>) {
        let name = stage.name.name().to_uppercase();
        let indent = 11;
        let lines = wrap(&sentence_start_lowered(&stage.note), self.style.width.saturating_sub(indent));
        for (index, line) in lines.iter().enumerate() {
            let lead = if index == 0 { name.as_str() } else { "" };
            let gap = indent.saturating_sub(lead.len());
            let text = format!("{}{:gap$}{}", self.paint(BOLD, lead), "", self.paint(DIM, line));
            let _ = writeln!(out, "{}", text.trim_end());
        }
        for line in gate.iter().flat_map(|gate| wrap(&words::gate(gate), self.style.width.saturating_sub(indent))) {
            let _ = writeln!(out, "{:indent$}{}", "", self.paint(DIM, &line));
        }
        for step in &stage.steps {
            self.step(out, step);
            let measured = rehearsal.and_then(|rehearsal| rehearsal.steps.iter().find(|measured| measured.step == step.number));
            if let Some(measured) = measured.filter(|_| self.style.verbose) {
                let list = super::rehearsal::measured(measured);
                let text = format!("rehearsed: {}", [list, vec![format!("{} ms", number(measured.millis))]].concat().join("; "));
                for line in wrap(&text, self.style.width.saturating_sub(7)) {
                    let _ = writeln!(out, "       {}", self.paint(DIM, &line));
                }
            }
        }
    }

    fn step(&self, out: &mut String, step: &Step) {
        let width = self.style.width;
        let undo = words::undo(step);
        let loses: Vec<String> = step.loses.iter().map(|what| format!("! loses {what}")).collect();
        let mut facts = words::facts(step);
        let undo_column = width.saturating_sub(UNDO_WIDTH);
        let title = wrap(&step.title, width.saturating_sub(5));
        let lead = |index: usize| if index == 0 { format!("{:>3}  ", step.number) } else { "     ".to_owned() };

        let all = loses.iter().chain(&facts).cloned().collect::<Vec<_>>().join("; ");
        let columns = |text: &str| text.chars().count();
        if title.len() == 1 && 5 + columns(&title[0]) + 2 <= FACTS_COLUMN && FACTS_COLUMN + columns(&all) < undo_column {
            let gap = FACTS_COLUMN - 5 - columns(&title[0]);
            let rest = undo_column - FACTS_COLUMN - columns(&all);
            let code = if loses.is_empty() { "0" } else { RED };
            let _ = writeln!(out, "{}{}{:gap$}{}{:rest$}{}", lead(0), title[0], "", self.paint(code, &all), "", self.paint(DIM, undo));
        } else {
            for (index, line) in title.iter().enumerate() {
                let _ = writeln!(out, "{}{line}", lead(index));
            }
            for what in &loses {
                for line in wrap(what, width.saturating_sub(7)) {
                    let _ = writeln!(out, "       {}", self.paint(RED, &line));
                }
            }
            let mut last = facts.pop().map(|fact| wrap(&fact, width.saturating_sub(7))).unwrap_or_default();
            for line in facts.iter().flat_map(|fact| wrap(fact, width.saturating_sub(7))) {
                let _ = writeln!(out, "       {line}");
            }
            let tail = last.pop().unwrap_or_default();
            for line in last {
                let _ = writeln!(out, "       {line}");
            }
            let used = 7 + columns(&tail);
            if used < undo_column {
                let _ = writeln!(out, "       {tail}{:gap$}{}", "", self.paint(DIM, undo), gap = undo_column - used);
            } else {
                let _ = writeln!(out, "       {tail}\n{:undo_column$}{}", "", self.paint(DIM, undo));
            }
        }
        if self.style.verbose {
            self.statements(out, step);
        }
    }

    fn statements(&self, out: &mut String, step: &Step) {
        let mut block = |text: &str| {
            for line in text.lines() {
                let line = if line.is_empty() { String::new() } else { format!("       | {line}") };
                let _ = writeln!(out, "{}", self.paint(DIM, &line));
            }
        };
        for preflight in &step.preflight {
            block(&format!("-- {}: {}", words::preflight_moment(preflight), preflight.title));
            block(&format!("{}; -- must find none", preflight.rows));
        }
        match &step.work {
            Work::Sql(statements) => statements.iter().for_each(|statement| block(&format!("{statement};"))),
            Work::Backfill(backfill) => {
                block(&format!("{}; -- batch by batch", words::batch(backfill)));
            }
        }
        for verify in &step.verify {
            block(&format!("{}; -- must give {}", verify.sql, verify.expect));
        }
        if let Undo::Sql(statements) = &step.undo {
            block("-- undo:");
            for statement in statements {
                block(&format!("{statement};"));
            }
        }
    }

    fn hazards(&self, out: &mut String, plan: &Plan, context: &Context) {
        let judged = judge(plan, &context.policy);
        if judged.is_empty() {
            return;
        }
        let _ = writeln!(out, "{}", self.paint(BOLD, &format!("{}:", counted(judged.len(), "hazard"))));
        for hazard in &judged {
            let code = match hazard.standing {
                Standing::Missing | Standing::Forbidden => RED,
                Standing::Allowed(_) => GREEN,
                Standing::Permitted => YELLOW,
            };
            let line = format!("{}: {}", hazard.hazard, hazard.subjects.join(", "));
            for (index, line) in wrap(&line, self.style.width.saturating_sub(4)).iter().enumerate() {
                let lead = if index == 0 { "  " } else { "    " };
                let _ = writeln!(out, "{lead}{}", self.paint(code, line));
            }
            for line in wrap(&words::standing(hazard), self.style.width.saturating_sub(6)) {
                let _ = writeln!(out, "      {line}");
            }
        }
    }
}

fn sign(sign: char) -> (&'static str, &'static str) {
    match sign {
        '+' => ("+", GREEN),
        '-' => ("-", RED),
        _ => ("~", YELLOW),
    }
}

/// Notes are sentences; behind the name of a stage they go on in lower case.
fn sentence_start_lowered(note: &str) -> String {
    let mut chars = note.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::sample;

    fn context() -> Context {
        Context { target: Some("digital_twin at db1:5432, PostgreSQL 15.18".into()), ..Context::default() }
    }

    #[test]
    fn for_people() {
        let text = text(&sample::severity_level(), &context(), &Style::default());
        assert!(text.lines().all(|line| line.chars().count() <= 80 && !line.ends_with(' ')), "{text}");
        insta::assert_snapshot!(text);
    }

    #[test]
    fn with_sql() {
        let style = Style { verbose: true, ..Style::default() };
        insta::assert_snapshot!(text(&sample::severity_level(), &context(), &style));
    }

    #[test]
    fn with_its_rehearsal() {
        let style = Style { verbose: true, ..Style::default() };
        let context = Context { rehearsal: Some(sample::rehearsal()), ..context() };
        let rehearsed = text(&sample::severity_level(), &context, &style);
        let lines: Vec<&str> = rehearsed.lines().filter(|line| line.contains("ehearsed")).collect();
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn colours_change_nothing_else() {
        let style = Style { color: true, ..Style::default() };
        let coloured = text(&sample::severity_level(), &context(), &style);
        assert!(coloured.contains("\x1b[1mEXPAND\x1b[0m"));
        let mut plain = String::new();
        let mut chars = coloured.chars();
        while let Some(c) = chars.next() {
            if c == '\x1b' {
                chars.by_ref().find(|c| *c == 'm');
            } else {
                plain.push(c);
            }
        }
        assert_eq!(plain, text(&sample::severity_level(), &context(), &Style::default()));
    }
}
