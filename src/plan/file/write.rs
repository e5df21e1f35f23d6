//! From a [`Plan`] to its file.

use crate::catalog::Id;
use crate::kdl::{NodeOut, ValueOut, render};
use crate::plan::op::Transaction;
use crate::plan::plan::{Backfill, Copying, Gate, Plan, Preflight, Proof, RowsBound, Stage, StageName, Step, Summary, Undo, Work};

/// The text of the plan's file.
#[must_use]
pub fn write(plan: &Plan) -> String {
    let Plan { name, made_by, elaborated_on, from, to, relies_on, assumes, hazards, allowances, summary, stages, proof, gate } = plan;
    let mut node = NodeOut::new("plan").arg(name.as_str()).prop("format", number(super::FORMAT));
    let elaborated_on = Some(elaborated_on.as_str()).filter(|on| !on.is_empty());
    node.children.push(NodeOut::new("made-by").arg(made_by.as_str()).opt_prop("elaborated-on", elaborated_on));
    node.children.push(NodeOut::new("from").arg(from.0.as_str()));
    node.children.push(NodeOut::new("to").arg(to.0.as_str()));
    node.children.push(match proof {
        Proof::Proven(server) => NodeOut::new("proof").arg("proven").prop("on", server.as_str()).prop("of", super::proven(plan).0.as_str()),
        Proof::Edited(server) => NodeOut::new("proof").arg("edited").prop("on", server.as_str()),
        Proof::Skipped => NodeOut::new("proof").arg("skipped"),
        Proof::Impossible(why) => NodeOut::new("proof").arg("impossible").prop("because", why.as_str()),
    });
    node.children.extend(relies_on.iter().map(|reliance| {
        let mut node = NodeOut::new("relies-on").arg(id(&reliance.id)).arg(reliance.fingerprint.0.as_str());
        let part = |(part, print): &(Id, crate::catalog::Fingerprint)| NodeOut::new("part").arg(id(part)).arg(print.0.as_str());
        node.children.extend(reliance.parts.iter().map(part));
        node
    }));
    node.children.extend(assumes.iter().map(|assumption| {
        let node = NodeOut::new("assumes").arg(id(&assumption.table));
        match assumption.rows {
            RowsBound::AtMost(rows) => node.prop("rows-at-most", number(rows)),
            RowsBound::Over(rows) => node.prop("rows-over", number(rows)),
        }
    }));
    node.children.extend(hazards.iter().map(|note| NodeOut::new("hazard").arg(note.hazard.name()).prop("subject", note.subject.as_str())));
    node.children.extend(
        allowances
            .iter()
            .map(|allowance| NodeOut::new("allow").arg(allowance.hazard.name()).opt_prop("reason", allowance.reason.as_deref())),
    );
    node.children.extend(summary.iter().map(summary_node));
    node.children.extend(stages.iter().map(|stage| stage_node(stage, gate.as_ref().filter(|_| stage.name == StageName::Contract))));
    render(&[node])
}

fn number(n: impl Into<u64>) -> ValueOut {
    ValueOut::Number(n.into().to_string())
}

fn id(id: &Id) -> String {
    id.to_string()
}

/// A statement as the file shows it: closed.
fn closed(statement: &str) -> String {
    format!("{statement};")
}

fn summary_node(summary: &Summary) -> NodeOut {
    let Summary { subject, sign, rows, bytes, lines } = summary;
    let mut node = NodeOut::new("summary")
        .arg(sign.to_string())
        .arg(subject.as_str())
        .opt_prop("rows", rows.map(number))
        .opt_prop("bytes", bytes.map(number));
    node.children.extend(lines.iter().map(|(sign, line)| NodeOut::new("part").arg(sign.to_string()).arg(line.as_str())));
    node
}

fn stage_node(stage: &Stage, gate: Option<&Gate>) -> NodeOut {
    let Stage { name, note, steps } = stage;
    let mut node = NodeOut::new("stage").arg(name.name()).arg(note.as_str());
    node.children.extend(gate.map(super::gate_node));
    node.children.extend(steps.iter().map(step_node));
    node
}

fn step_node(step: &Step) -> NodeOut {
    let Step { number: step_number, title, recipe, work, transaction, locks, undo, loses, makes, takes, probe, verify, preflight } = step;
    let transaction = match transaction {
        Transaction::Inside => None,
        Transaction::Outside => Some("outside"),
        Transaction::CommitAfter => Some("commit-after"),
    };
    let mut node = NodeOut::new("step").arg(number(*step_number)).arg(title.as_str()).opt_prop("transaction", transaction);
    let out = &mut node.children;
    out.push(NodeOut::new("recipe").arg(recipe.as_str()));
    out.extend(
        locks
            .iter()
            .map(|lock| NodeOut::new("lock").arg(lock.relation.as_str()).prop("mode", lock.mode.name()).prop("cost", lock.cost.name())),
    );
    out.extend(preflight.iter().map(preflight_node));
    match work {
        Work::Sql(statements) => out.extend(statements.iter().map(|statement| NodeOut::new("sql").arg(closed(statement)))),
        Work::Backfill(backfill) => out.push(backfill_node(backfill)),
    }
    out.extend(probe.iter().map(|probe| {
        let mut node = NodeOut::new("probe").arg(closed(&probe.sql));
        node.children.extend(probe.cleanup.iter().map(|statement| NodeOut::new("cleanup").arg(closed(statement))));
        node
    }));
    out.extend(verify.iter().map(|verify| NodeOut::new("verify").arg(closed(&verify.sql)).prop("expect", verify.expect.as_str())));
    match undo {
        Undo::Nothing => {}
        Undo::Impossible => out.push(NodeOut::new("undo").prop("impossible", true)),
        Undo::Sql(statements) if statements.is_empty() => out.push(NodeOut::new("undo")),
        Undo::Sql(statements) => out.extend(statements.iter().map(|statement| NodeOut::new("undo").arg(closed(statement)))),
    }
    out.extend(loses.iter().map(|what| NodeOut::new("loses").arg(what.as_str())));
    out.extend(makes.iter().map(|what| NodeOut::new("makes").arg(id(what))));
    out.extend(takes.iter().map(|what| NodeOut::new("takes").arg(id(what))));
    node
}

fn preflight_node(preflight: &Preflight) -> NodeOut {
    let Preflight { title, rows, help, setup, after } = preflight;
    let mut node = NodeOut::new("preflight").arg(title.as_str()).opt_prop("after", after.map(number));
    node.children.extend(setup.iter().map(|statement| NodeOut::new("setup").arg(closed(statement))));
    node.children.push(NodeOut::new("rows").arg(closed(rows)));
    node.children.push(NodeOut::new("help").arg(help.as_str()));
    node
}

fn backfill_node(backfill: &Backfill) -> NodeOut {
    let Backfill { table, key, set, filter, settings, rows, copy } = backfill;
    let mut node = NodeOut::new("backfill").arg(id(table)).opt_prop("rows", rows.map(number));
    if !key.is_empty() {
        node.children.push(NodeOut::new("key").args(key.iter().map(smol_str::SmolStr::as_str)));
    }
    match copy.as_deref() {
        None => node.children.push(NodeOut::new("set").arg(set.as_str())),
        Some(Copying { into, columns, from, unique }) => {
            let names = |name: &str, list: &[crate::catalog::Ident]| NodeOut::new(name).args(list.iter().map(smol_str::SmolStr::as_str));
            let mut child = NodeOut::new("into").arg(id(into));
            child.children.push(names("columns", columns));
            if !from.is_empty() {
                child.children.push(names("from", from));
            }
            child.children.push(names("unique", unique));
            node.children.push(child);
        }
    }
    node.children.push(NodeOut::new("where").arg(filter.as_str()));
    node.children.extend(settings.iter().map(|(name, value)| NodeOut::new("setting").arg(name.as_str()).arg(value.as_str())));
    node
}
