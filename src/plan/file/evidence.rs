//! What a rehearsal measured, kept beside the plan: plans/NNNN-slug.rehearsal.kdl.

use std::path::Path;

use super::read::{all, arg};
use crate::catalog::Fingerprint;
use crate::kdl::{Diagnostics, Document, Finding as Slip, Findings, Node, NodeOut, Sources, ValueOut, render};
use crate::plan::op::LockMode;
use crate::plan::plan::StageName;
use crate::plan::rehearsal::{Finding, Measured, Rehearsal, Rows, Seen, UndoResult, Undone};

/// The text of the file.
#[must_use]
pub fn write_rehearsal(rehearsal: &Rehearsal) -> String {
    let Rehearsal { plan, server, rows, tables, steps, undone, queries, findings } = rehearsal;
    let mut node = NodeOut::new("rehearsal")
        .prop("format", number(super::FORMAT))
        .prop("plan", plan.0.as_str())
        .prop("server", server.as_str())
        .prop("rows", rows.name())
        .prop("queries", number(*queries));
    node.children.extend(tables.iter().map(|(name, rows)| NodeOut::new("table").arg(name.as_str()).prop("rows", number(*rows))));
    node.children.extend(steps.iter().map(step_node));
    node.children.extend(undone.iter().map(|Undone { stage, result }| {
        let node = NodeOut::new("undone").arg(stage.name());
        match result {
            UndoResult::Exact => node.prop("result", "exact"),
            UndoResult::Filled(columns) => node.prop("result", "filled").args(columns.iter().map(String::as_str)),
            UndoResult::Impossible(step) => node.prop("result", "impossible").prop("step", number(*step)),
            UndoResult::Wrong(text) => node.prop("result", "wrong").arg(text.as_str()),
        }
    }));
    node.children.extend(findings.iter().map(|Finding { step, wrong, text }| {
        let node = NodeOut::new("finding").arg(text.as_str()).prop("step", number(*step));
        if *wrong { node.prop("wrong", true) } else { node }
    }));
    render(&[node])
}

fn number(n: impl Into<u64>) -> ValueOut {
    ValueOut::Number(n.into().to_string())
}

fn step_node(measured: &Measured) -> NodeOut {
    let Measured { step, millis, rows, seen } = measured;
    let mut node = NodeOut::new("step").arg(number(*step)).prop("ms", number(*millis));
    if *rows > 0 {
        node = node.prop("rows", number(*rows));
    }
    node.children.extend(seen.iter().map(|Seen { relation, also: _, mode, scan, rewrite, build, indexes }| {
        let name = |mode: &Option<LockMode>| mode.map(LockMode::name);
        let mut node = NodeOut::new("relation")
            .arg(relation.as_str())
            .opt_prop("lock", name(mode))
            .opt_prop("scan", name(scan))
            .opt_prop("build", name(build))
            .opt_prop("rewrite", name(rewrite));
        node.children.extend(indexes.iter().map(|index| NodeOut::new("index").arg(index.as_str())));
        node
    }));
    node
}

/// Reads the text of the file at `path`.
///
/// # Errors
/// Everything that is wrong in it.
pub fn read_rehearsal(path: &Path, text: &str) -> Result<Rehearsal, Diagnostics> {
    let mut sources = Sources::new();
    let file = sources.add(path, text);
    let document = Document::parse_in(&sources, file).map_err(|findings| findings.into_report(&sources))?;
    let f = &mut Findings::new();
    let mut rehearsal = None;
    for node in document.nodes() {
        if node.name() == "rehearsal" {
            rehearsal = Some(rehearsal_node(node, f));
        } else {
            node.unknown("a file of a rehearsal", &["rehearsal"], f);
        }
    }
    if rehearsal.is_none() && f.is_empty() {
        f.push(Slip::general(format!("{} holds no rehearsal", path.display())).help("`schema rehearse PLAN --evidence` writes one"));
    }
    std::mem::take(f).or_report(&sources, rehearsal.unwrap_or_default())
}

fn rehearsal_node(mut node: Node<'_>, f: &mut Findings) -> Rehearsal {
    if node.number("format", f) != Some(i64::from(super::FORMAT)) {
        f.push(Slip::at(node.span(), "it is in a format that is not known to this version").help("rehearse the plan again"));
        return Rehearsal::default();
    }
    let mut text = |name: &'static str| node.value(name, f).map(|text| text.value).unwrap_or_default();
    let (plan, server, rows) = (Fingerprint(text("plan")), text("server"), Rows::from_name(&text("rows")).unwrap_or_default());
    let rehearsal = Rehearsal {
        plan,
        server,
        rows,
        queries: count(&mut node, "queries", f),
        tables: all(&mut node, "table", f, |node, f| Some((arg(node, "a table", f), count(node, "rows", f)))),
        steps: all(&mut node, "step", f, step),
        undone: all(&mut node, "undone", f, undone),
        findings: all(&mut node, "finding", f, |node, f| {
            let text = arg(node, "a text", f);
            let step = u32::try_from(count(node, "step", f)).unwrap_or_default();
            Some(Finding { step, wrong: node.flag("wrong", f), text })
        }),
    };
    node.finish(f);
    rehearsal
}

fn count(node: &mut Node<'_>, name: &'static str, f: &mut Findings) -> u64 {
    node.number(name, f).and_then(|number| u64::try_from(number).ok()).unwrap_or_default()
}

fn step(node: &mut Node<'_>, f: &mut Findings) -> Option<Measured> {
    let number = node.arg("a number", f)?.integer().and_then(|number| u32::try_from(number).ok())?;
    Some(Measured {
        step: number,
        millis: count(node, "ms", f),
        rows: count(node, "rows", f),
        seen: all(node, "relation", f, |node, f| {
            let relation = arg(node, "a relation", f);
            let mut mode = |name: &'static str| {
                node.word(name, &LockMode::ALL.map(LockMode::name), f).and_then(|text| LockMode::from_name(&text.value))
            };
            let (mode, scan, build, rewrite) = (mode("lock"), mode("scan"), mode("build"), mode("rewrite"));
            let indexes = all(node, "index", f, |node, f| Some(arg(node, "an index", f)));
            Some(Seen { relation, also: Vec::new(), mode, scan, rewrite, build, indexes })
        }),
    })
}

fn undone(node: &mut Node<'_>, f: &mut Findings) -> Option<Undone> {
    let stage = StageName::from_name(&node.arg("a stage", f)?.value)?;
    let result = node.word("result", &["exact", "filled", "impossible", "wrong"], f)?;
    let step = u32::try_from(count(node, "step", f)).unwrap_or_default();
    let texts = node.args().into_iter().map(|text| text.value);
    let result = match result.as_str() {
        "filled" => UndoResult::Filled(texts.collect()),
        "impossible" => UndoResult::Impossible(step),
        "wrong" => UndoResult::Wrong(texts.collect()),
        _ => UndoResult::Exact,
    };
    Some(Undone { stage, result })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::sample;

    #[test]
    fn it_reads_back() {
        let mut rehearsal = sample::rehearsal();
        let text = write_rehearsal(&rehearsal);
        insta::assert_snapshot!(text);
        for seen in rehearsal.steps.iter_mut().flat_map(|step| &mut step.seen) {
            seen.also.clear();
        }
        let again = read_rehearsal(Path::new("plans/x.rehearsal.kdl"), &text)
            .unwrap_or_else(|error| panic!("{:?}\n{text}", miette::Report::new(error)));
        assert_eq!(again, rehearsal);
        assert!(read_rehearsal(Path::new("x"), "other\n").is_err());
    }
}
