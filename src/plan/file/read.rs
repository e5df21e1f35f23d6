//! From a plan's file to the [`Plan`]: everything that is wrong at once, each at its place.

use std::path::Path;

use crate::catalog::{Fingerprint, Id, Ident};
use crate::kdl::{Diagnostics, Document, Finding, Findings, Node, Sources, Text, one_of};
use crate::plan::op::{Cost, Hazard, Lock, LockMode, Probe, Transaction, Verify};
use crate::plan::plan::{
    Allowance, Assumption, Backfill, Copying, HazardNote, Plan, Preflight, Proof, Reliance, RowsBound, Stage, StageName, Step, Summary,
    Undo, Work,
};

/// Reads the text of the plan's file at `path`.
///
/// # Errors
/// Everything that is wrong in it.
pub fn read(path: &Path, text: &str) -> Result<Plan, Diagnostics> {
    let mut sources = Sources::new();
    let file = sources.add(path, text);
    let document = Document::parse_in(&sources, file).map_err(|findings| findings.into_report(&sources))?;
    let f = &mut Findings::new();
    let mut plan = None;
    for node in document.nodes() {
        if node.name() != "plan" {
            node.unknown("a plan's file", &["plan"], f);
        } else if plan.is_some() {
            f.push(Finding::at(node.span(), "a file holds one plan").label("a second one"));
        } else {
            plan = Some(plan_node(node, f));
        }
    }
    if plan.is_none() && f.is_empty() {
        f.push(Finding::general(format!("{} holds no plan", path.display())).help("a plan starts with: plan \"0001-name\" format=1 {"));
    }
    std::mem::take(f).or_report(&sources, plan.unwrap_or_default())
}

/// The inverse of an id's `Display`: `table public.orders`.
#[must_use]
pub fn parse_id(text: &str) -> Option<Id> {
    text.parse().ok()
}

fn plan_node(mut node: Node<'_>, f: &mut Findings) -> Plan {
    let mut plan = Plan { name: arg(&mut node, "a name", f), ..Plan::default() };
    match node.value("format", f) {
        Some(format) if format.integer() == Some(i64::from(super::FORMAT)) => {}
        Some(format) => {
            let message = format!("plans of format {} are not known to this version", format.value);
            f.push(
                Finding::at(format.span, message).help(format!("it reads format {}: use the version that made the plan", super::FORMAT)),
            );
            // Whatever else stands there would only be misunderstood.
            return plan;
        }
        None => f.push(Finding::at(node.span(), "the plan does not say its format").help(format!("add `format={}`", super::FORMAT))),
    }
    if let Some(mut made_by) = node.child("made-by", f) {
        plan.made_by = arg(&mut made_by, "the program and its version", f);
        plan.elaborated_on = made_by.value("elaborated-on", f).map(|text| text.value).unwrap_or_default();
        made_by.finish(f);
    }
    plan.from = Fingerprint(node.value("from", f).map(|text| text.value).unwrap_or_default());
    plan.to = Fingerprint(node.value("to", f).map(|text| text.value).unwrap_or_default());
    let (proof, of) = node.child("proof", f).map(|proof| proof_node(proof, f)).unwrap_or_default();
    plan.relies_on = all(&mut node, "relies-on", f, reliance);
    plan.assumes = all(&mut node, "assumes", f, assumption);
    plan.hazards = all(&mut node, "hazard", f, |node, f| {
        let hazard = hazard(node, f);
        let subject = node.value("subject", f).map(|text| text.value).unwrap_or_default();
        Some(HazardNote { hazard: hazard?, subject })
    });
    plan.allowances = all(&mut node, "allow", f, |node, f| {
        let hazard = hazard(node, f);
        let reason = node.value("reason", f).map(|text| text.value);
        Some(Allowance { hazard: hazard?, reason })
    });
    plan.summary = all(&mut node, "summary", f, summary);
    let mut last_step = 0;
    let mut last_stage = None;
    for mut child in node.children("stage") {
        let Some(name) =
            word(&mut child, "stage", &StageName::ALL.map(StageName::name), f).and_then(|text| StageName::from_name(&text.value))
        else {
            continue;
        };
        if last_stage >= Some(name) {
            f.push(
                Finding::at(child.span(), format!("stage {} stands too late", name.name()))
                    .help("stages are expand, backfill, switch, contract, each once"),
            );
        }
        last_stage = Some(name);
        if let Some(gate) = child.child("gate", f) {
            if name != StageName::Contract {
                f.push(Finding::at(gate.span(), "a gate stands before contract").help("put it into `stage contract`"));
            }
            plan.gate = super::read_gate(gate, f);
        }
        let remark = child.opt_arg().map(|text| text.value).unwrap_or_default();
        let steps = all(&mut child, "step", f, |node, f| step(node, &mut last_step, f));
        plan.stages.push(Stage { name, note: remark, steps });
        child.finish(f);
    }
    plan.proof = match proof {
        Proof::Proven(server) if of != super::proven(&plan).0 => Proof::Edited(server),
        proof => proof,
    };
    node.finish(f);
    plan
}

/// The text of a required argument; empty after a finding.
pub(super) fn arg(node: &mut Node<'_>, what: &str, f: &mut Findings) -> String {
    node.arg(what, f).map(|text| text.value).unwrap_or_default()
}

/// Reads every child of this name.
pub(super) fn all<T>(
    node: &mut Node<'_>,
    name: &'static str,
    f: &mut Findings,
    mut read: impl FnMut(&mut Node<'_>, &mut Findings) -> Option<T>,
) -> Vec<T> {
    let mut list = Vec::new();
    for mut child in node.children(name) {
        list.extend(read(&mut child, f));
        child.finish(f);
    }
    list
}

fn word(node: &mut Node<'_>, what: &str, allowed: &[&str], f: &mut Findings) -> Option<Text> {
    node.arg(&format!("a {what}"), f).filter(|text| one_of(text, what, allowed, f))
}

fn hazard(node: &mut Node<'_>, f: &mut Findings) -> Option<Hazard> {
    word(node, "hazard", &Hazard::ALL.map(Hazard::name), f).and_then(|text| Hazard::from_name(&text.value))
}

fn id(node: &mut Node<'_>, f: &mut Findings) -> Option<Id> {
    let text = node.arg("an object", f)?;
    let id = parse_id(&text.value);
    if id.is_none() {
        f.push(
            Finding::at(text.span, format!("`{}` is no object", text.value)).help("write its kind and its name: \"table public.orders\""),
        );
    }
    id
}

fn count(text: &Text, f: &mut Findings) -> Option<u64> {
    let count = text.value.parse().ok();
    if count.is_none() {
        f.push(Finding::at(text.span, format!("`{}` is no number of rows or bytes", text.value)).label("not a whole number"));
    }
    count
}

fn opt_count(node: &mut Node<'_>, name: &'static str, f: &mut Findings) -> Option<u64> {
    node.value(name, f).and_then(|text| count(&text, f))
}

fn statement(node: &mut Node<'_>, f: &mut Findings) -> Option<String> {
    node.arg("a statement", f).map(|text| opened(text.value))
}

/// A statement without the semicolon that closes it in the file.
fn opened(mut statement: String) -> String {
    if statement.ends_with(';') {
        statement.pop();
    }
    statement
}

/// A proof, and what it is of.
fn proof_node(mut node: Node<'_>, f: &mut Findings) -> (Proof, String) {
    let state = word(&mut node, "state of a proof", &["proven", "edited", "skipped", "impossible"], f);
    let mut detail = |name: &'static str| node.value(name, f).map(|text| text.value).unwrap_or_default();
    let proof = match state.as_ref().map(Text::as_str) {
        Some("proven") => Proof::Proven(detail("on")),
        Some("edited") => Proof::Edited(detail("on")),
        Some("impossible") => Proof::Impossible(detail("because")),
        _ => Proof::Skipped,
    };
    let of = detail("of");
    node.finish(f);
    (proof, of)
}

fn reliance(node: &mut Node<'_>, f: &mut Findings) -> Option<Reliance> {
    let id = id(node, f);
    let fingerprint = Fingerprint(arg(node, "a fingerprint", f));
    let parts = all(node, "part", f, |node, f| {
        let id = self::id(node, f);
        let fingerprint = Fingerprint(arg(node, "a fingerprint", f));
        Some((id?, fingerprint))
    });
    Some(Reliance { id: id?, fingerprint, parts })
}

fn assumption(node: &mut Node<'_>, f: &mut Findings) -> Option<Assumption> {
    let table = id(node, f);
    let at_most = opt_count(node, "rows-at-most", f).map(RowsBound::AtMost);
    let over = opt_count(node, "rows-over", f).map(RowsBound::Over);
    let rows = match (at_most, over) {
        (Some(rows), None) | (None, Some(rows)) => Some(rows),
        _ => {
            f.push(Finding::at(node.span(), "an assumption has one bound").help("write `rows-at-most=` or `rows-over=` and a number"));
            None
        }
    };
    Some(Assumption { table: table?, rows: rows? })
}

fn sign(node: &mut Node<'_>, f: &mut Findings) -> Option<char> {
    let text = node.arg("a sign", f)?;
    let mut chars = text.value.chars();
    if let (Some(sign), None) = (chars.next(), chars.next()) {
        return Some(sign);
    }
    f.push(Finding::at(text.span, format!("`{}` is no sign", text.value)).help("signs are + - ~"));
    None
}

fn summary(node: &mut Node<'_>, f: &mut Findings) -> Option<Summary> {
    let sign = sign(node, f);
    let subject = arg(node, "a subject", f);
    let rows = opt_count(node, "rows", f);
    let bytes = opt_count(node, "bytes", f);
    let lines = all(node, "part", f, |node, f| {
        let sign = self::sign(node, f);
        let line = arg(node, "a text", f);
        Some((sign?, line))
    });
    Some(Summary { subject, sign: sign?, rows, bytes, lines })
}

fn step(node: &mut Node<'_>, last: &mut u32, f: &mut Findings) -> Option<Step> {
    let number = node.arg("a number", f)?;
    let parsed = number.integer().and_then(|number| u32::try_from(number).ok()).filter(|number| number > last);
    if let Some(parsed) = parsed {
        *last = parsed;
    } else {
        f.push(
            Finding::at(number.span, "steps are numbered upwards through the whole plan")
                .help(format!("the next one is at least {}", *last + 1)),
        );
    }
    let title = arg(node, "a title", f);
    let transaction = match node.word("transaction", &["inside", "outside", "commit-after"], f).as_ref().map(Text::as_str) {
        Some("outside") => Transaction::Outside,
        Some("commit-after") => Transaction::CommitAfter,
        _ => Transaction::Inside,
    };
    let recipe = node.value("recipe", f).map(|text| text.value).unwrap_or_default();
    let locks = all(node, "lock", f, lock);
    let statements = all(node, "sql", f, statement);
    let work = match node.child("backfill", f) {
        None => Work::Sql(statements),
        Some(child) => {
            if !statements.is_empty() {
                f.push(Finding::at(child.span(), "a step is either a backfill or SQL").help("make two steps of it"));
            }
            Work::Backfill(backfill(child, f)?)
        }
    };
    let probe = node.child("probe", f).and_then(|mut node| {
        let sql = statement(&mut node, f);
        let cleanup = all(&mut node, "cleanup", f, statement);
        node.finish(f);
        Some(Probe { sql: sql?, cleanup })
    });
    let verify = all(node, "verify", f, |node, f| {
        let sql = statement(node, f);
        let expect = node.value("expect", f);
        if expect.is_none() {
            f.push(Finding::at(node.span(), "`verify` does not say what it expects").help("add `expect=` and the value"));
        }
        Some(Verify { sql: sql?, expect: expect?.value })
    });
    let preflight = all(node, "preflight", f, preflight);
    let undo = undo(node, f);
    let loses = all(node, "loses", f, |node, f| node.arg("what is lost", f).map(|text| text.value));
    let makes = all(node, "makes", f, id);
    let takes = all(node, "takes", f, id);
    Some(Step { number: parsed?, title, recipe, work, transaction, locks, undo, loses, makes, takes, probe, verify, preflight })
}

fn preflight(node: &mut Node<'_>, f: &mut Findings) -> Option<Preflight> {
    let title = arg(node, "a title", f);
    let after = opt_count(node, "after", f).and_then(|after| u32::try_from(after).ok());
    let setup = all(node, "setup", f, statement);
    let rows = all(node, "rows", f, statement).into_iter().next();
    if rows.is_none() {
        f.push(Finding::at(node.span(), "`preflight` does not say which rows it looks for").help("add `rows` and a query"));
    }
    let help = all(node, "help", f, |node, f| node.arg("a text", f).map(|text| text.value)).into_iter().next().unwrap_or_default();
    Some(Preflight { title, rows: rows?, help, setup, after })
}

fn lock(node: &mut Node<'_>, f: &mut Findings) -> Option<Lock> {
    let relation = arg(node, "a relation", f);
    let mode = node.word("mode", &LockMode::ALL.map(LockMode::name), f).and_then(|text| LockMode::from_name(&text.value));
    let cost = node.word("cost", &Cost::ALL.map(Cost::name), f).and_then(|text| Cost::from_name(&text.value));
    if (mode.is_none() || cost.is_none()) && f.is_empty() {
        f.push(Finding::at(node.span(), "`lock` needs a mode and a cost").help("write mode=\"ACCESS EXCLUSIVE\" cost=instant"));
    }
    Some(Lock { relation, mode: mode?, cost: cost? })
}

fn undo(node: &mut Node<'_>, f: &mut Findings) -> Undo {
    let mut undo = Undo::Nothing;
    for mut child in node.children("undo") {
        let impossible = child.flag("impossible", f);
        let statement = child.opt_arg().map(|text| opened(text.value));
        if impossible {
            if statement.is_some() || undo != Undo::Nothing {
                f.push(Finding::at(child.span(), "a step that cannot be undone has no statements that undo it"));
            }
            undo = Undo::Impossible;
        } else if let Undo::Sql(statements) = &mut undo {
            statements.extend(statement);
        } else {
            undo = Undo::Sql(statement.into_iter().collect());
        }
        child.finish(f);
    }
    undo
}

fn backfill(mut node: Node<'_>, f: &mut Findings) -> Option<Backfill> {
    let table = id(&mut node, f);
    let rows = opt_count(&mut node, "rows", f);
    let key = node.values("key", f).unwrap_or_default().into_iter().map(|text| Ident::from(text.value)).collect();
    let copy = node.child("into", f).map(|child| copying(child, f));
    let mut required = |name: &'static str| {
        let text = node.value(name, f);
        if text.is_none() {
            f.push(Finding::at(node.span(), format!("`backfill` needs `{name}`")));
        }
        text.map(|text| text.value)
    };
    let set = if copy.is_some() { Some(String::new()) } else { required("set") };
    let filter = required("where");
    let settings = all(&mut node, "setting", f, |node, f| {
        let name = arg(node, "a name", f);
        Some((name, arg(node, "a value", f)))
    });
    node.finish(f);
    let copy = match copy {
        Some(copy) => Some(Box::new(copy?)),
        None => None,
    };
    Some(Backfill { table: table?, key, set: set?, filter: filter?, settings, rows, copy })
}

fn copying(mut node: Node<'_>, f: &mut Findings) -> Option<Copying> {
    let into = id(&mut node, f);
    let mut names = |name| node.values(name, f).unwrap_or_default().into_iter().map(|text| Ident::from(text.value)).collect();
    let (columns, from, unique) = (names("columns"), names("from"), names("unique"));
    node.finish(f);
    Some(Copying { into: into?, columns, from, unique })
}
