//! A plan for a pull request: tables, hazards, and the SQL folded away.

use std::fmt::Write;

use super::Context;
use super::words::{self, bytes, counted, number};
use crate::plan::plan::{Plan, StageName, Step, Undo, Work};
use crate::plan::policy::{Standing, judge};
use crate::plan::rehearsal::Rehearsal;

/// The plan as Markdown (GitHub's and GitLab's).
#[must_use]
pub fn markdown(plan: &Plan, context: &Context) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "## Plan `{}`\n", plan.name);
    let steps = plan.steps().count();
    let target = context.target.as_ref().map(|target| format!(" for {}", escape(target))).unwrap_or_default();
    let _ = writeln!(out, "{} in {}{target}. {}\n", counted(steps, "step"), counted(plan.stages.len(), "stage"), words::proof(&plan.proof));
    summary(&mut out, plan);
    hazards(&mut out, plan, context);
    for (index, stage) in plan.stages.iter().enumerate() {
        if stage.name == StageName::Contract && index > 0 {
            out.push_str("> **Deploy the new release here.** Old and new clients now work side by side.\n\n");
        }
        let _ = writeln!(out, "### {}: {}\n", capitalized(stage.name.name()), escape(&stage.note));
        if let Some(gate) = plan.gate.as_ref().filter(|_| stage.name == StageName::Contract) {
            let _ = writeln!(out, "Gate: {}.\n", escape(&words::gate(gate)));
        }
        out.push_str("| step | does | locks and time | undo |\n|--:|---|---|---|\n");
        for step in &stage.steps {
            row(&mut out, step);
        }
        out.push('\n');
        statements(&mut out, &stage.steps);
    }
    if let Some(rehearsal) = &context.rehearsal {
        rehearsed(&mut out, plan, rehearsal);
    }
    let _ = writeln!(out, "<sub>{}, {}</sub>", escape(&plan.made_by), crate::plan::file::hash(plan));
    out
}

fn summary(out: &mut String, plan: &Plan) {
    if plan.summary.is_empty() {
        return;
    }
    out.push_str("| | object | rows | size |\n|---|---|--:|--:|\n");
    for summary in &plan.summary {
        let rows = summary.rows.map(number).unwrap_or_default();
        let size = summary.bytes.map(bytes).unwrap_or_default();
        let _ = writeln!(out, "| `{}` | **{}** | {rows} | {size} |", summary.sign, escape(&summary.subject));
        for (sign, line) in &summary.lines {
            let _ = writeln!(out, "| `{sign}` | {} | | |", escape(line));
        }
    }
    out.push('\n');
}

fn hazards(out: &mut String, plan: &Plan, context: &Context) {
    let judged = judge(plan, &context.policy);
    if judged.is_empty() {
        return;
    }
    out.push_str("| hazard | of | |\n|---|---|---|\n");
    for hazard in &judged {
        let mark = match hazard.standing {
            Standing::Missing | Standing::Forbidden => "**stop**: ",
            Standing::Permitted | Standing::Allowed(_) => "",
        };
        let subjects = hazard.subjects.iter().map(|subject| escape(subject)).collect::<Vec<_>>().join("<br>");
        let _ = writeln!(out, "| `{}` | {subjects} | {mark}{} |", hazard.hazard, escape(&words::standing(hazard)));
    }
    out.push('\n');
}

fn row(out: &mut String, step: &Step) {
    let loses = step.loses.iter().map(|what| format!("**loses {}**", escape(what)));
    let facts = loses.chain(words::facts(step).iter().map(|fact| escape(fact))).collect::<Vec<_>>().join("<br>");
    let undo = match step.undo {
        Undo::Nothing => "not needed",
        Undo::Sql(_) => "yes",
        Undo::Impossible => "**no**",
    };
    let _ = writeln!(out, "| {} | {} | {facts} | {undo} |", step.number, escape(&step.title));
}

fn statements(out: &mut String, steps: &[Step]) {
    let mut block = String::new();
    for step in steps {
        let _ = writeln!(block, "-- {}", step.number);
        for preflight in &step.preflight {
            let _ = writeln!(block, "-- {}: {}", words::preflight_moment(preflight), preflight.title.replace(['\n', '\r'], " "));
            preflight.rows.lines().for_each(|line| {
                let _ = writeln!(block, "--   {line}");
            });
        }
        match &step.work {
            Work::Sql(statements) => statements.iter().for_each(|statement| {
                let _ = writeln!(block, "{statement};");
            }),
            Work::Backfill(backfill) => {
                let _ = writeln!(block, "{}; -- batch by batch", words::batch(backfill));
            }
        }
    }
    // A fence longer than any run of backticks inside.
    let longest = block.split(|c| c != '`').map(str::len).max().unwrap_or_default();
    let fence = "`".repeat(longest.max(2) + 1);
    let _ = writeln!(out, "<details><summary>SQL</summary>\n\n{fence}sql\n{block}{fence}\n\n</details>\n");
}

fn rehearsed(out: &mut String, plan: &Plan, rehearsal: &Rehearsal) {
    let _ = writeln!(out, "### Rehearsed {}\n", escape(&super::rehearsal::place(rehearsal)));
    out.push_str("| step | measured | ms |\n|--:|---|--:|\n");
    for ((_, step), measured) in plan.steps().zip(&rehearsal.steps) {
        let phrases = super::rehearsal::measured(measured).iter().map(|phrase| escape(phrase)).collect::<Vec<_>>().join("<br>");
        let _ = writeln!(out, "| {} | {phrases} | {} |", step.number, number(measured.millis));
    }
    let undone = super::rehearsal::undone(rehearsal).map(|text| escape(&text) + " ").unwrap_or_default();
    let _ = writeln!(out, "\n{undone}{}\n", escape(&super::rehearsal::verdict(rehearsal)));
}

fn capitalized(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// Text as it is: nothing in it is taken for Markdown, HTML or the end of a table's cell.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '\n' | '\r' => out.push(' '),
            '|' | '*' | '_' | '`' | '[' | ']' | '\\' | '~' | '#' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::sample;

    #[test]
    fn for_a_pull_request() {
        let context = Context { target: Some("digital_twin at db1:5432".into()), ..Context::default() };
        insta::assert_snapshot!(markdown(&sample::severity_level(), &context));
    }

    #[test]
    fn with_its_rehearsal() {
        let context = Context { rehearsal: Some(sample::rehearsal()), ..Context::default() };
        let text = markdown(&sample::severity_level(), &context);
        insta::assert_snapshot!(&text[text.find("### Rehearsed").expect("it is shown")..]);
    }

    #[test]
    fn nothing_breaks_out_of_its_cell() {
        assert_eq!(escape("a|b<c>`d`\ne"), "a\\|b&lt;c&gt;\\`d\\` e");
    }
}
