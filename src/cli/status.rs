//! `schema status`

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

use super::{Format, Global, Out, time};
use crate::apply::PlanState;
use crate::apply::gate::{Evidence, Sighting, look};
use crate::apply::kept::{Kept, kept};
use crate::apply::lock::find_holder;
use crate::apply::status::{PlanStatus, StepStatus, plan_text, plans as ledger_plans};
use crate::error::{CliError, Code};
use crate::plan::plan::{Gate, StageName};
use crate::plan::render::number;
use crate::project::plans::{self, PlanFile};
use crate::project::{described, session};

/// Arguments of `schema status`.
#[derive(clap::Args, Debug)]
#[command(
    about = "Show where each plan stands on a database",
    long_about = "Shows where each plan stands on a database: what is done, what waits and for\nwhat, and who is at work. It reads the ledger and the folder of plans.",
    after_help = "Examples:
  schema status --env production
  schema status --format json"
)]
pub struct Args {}

/// A plan of the folder or of the ledger, as `status` and its JSON show it.
#[derive(Serialize)]
struct Row {
    name: String,
    state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hash: Option<String>,
    /// In order.
    stages: Vec<Steps>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    /// What its gate before contract waits for, and who was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    gate: Option<Gated>,
}

/// How the gate of a waiting plan stands.
#[derive(Serialize)]
struct Gated {
    met: bool,
    unmet: Vec<String>,
    looks: i64,
    watched_seconds: Option<u64>,
    seen: Vec<Seen>,
}

/// A client, or a statement, of the old release.
#[derive(Serialize)]
struct Seen {
    application: String,
    user: String,
    client: String,
    pid: Option<i32>,
    seconds_ago: u64,
}

impl Gated {
    fn of(evidence: &Evidence) -> Self {
        let seen = |one: &Sighting| Seen {
            application: one.application.clone(),
            user: one.user.clone(),
            client: one.client.clone(),
            pid: one.pid,
            seconds_ago: one.ago.as_secs(),
        };
        Self {
            met: evidence.unmet.is_empty(),
            unmet: evidence.unmet.clone(),
            looks: evidence.looks,
            watched_seconds: evidence.watched.map(|watched| watched.as_secs()),
            seen: evidence.seen.iter().map(seen).collect(),
        }
    }

    fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.unmet.iter().map(|one| format!("- {one}")).collect();
        if let Some(watched) = self.watched_seconds {
            let looks = if self.looks == 1 { "once".to_owned() } else { format!("{} times", self.looks) };
            lines.push(format!("looked {looks}, first {} ago", time::span(Duration::from_secs(watched))));
        }
        lines
    }
}

/// How many steps of a stage are done.
#[derive(Serialize)]
struct Steps {
    stage: StageName,
    done: usize,
    all: usize,
}

impl Steps {
    fn of(stages: BTreeMap<StageName, (usize, usize)>) -> Vec<Self> {
        stages.into_iter().map(|(stage, (done, all))| Self { stage, done, all }).collect()
    }
}

/// Prints where each plan stands.
///
/// # Errors
/// No database, plans that cannot be read.
pub async fn run(args: &Args, global: &Global, out: &Out) -> Result<Code, CliError> {
    let Args {} = args;
    let format = global.format(&[Format::Text, Format::Json])?;
    let project = global.project()?;
    let place = project.place()?;
    let files = plans::all(&project.config.plans)?;
    let session = session(&place).await?;
    let ledger = ledger_plans(session.client()).await?;
    let holder = find_holder(session.client()).await?;
    let kept = kept(session.client()).await?;
    let gate = place.environment.and_then(|environment| environment.gate.as_ref());
    let mut gates = BTreeMap::new();
    for status in ledger.iter().filter(|status| next_stage(status) == Some(StageName::Contract)) {
        let Some(text) = plan_text(session.client(), &status.name).await? else { continue };
        let plan = crate::plan::file::read(std::path::Path::new(&status.name), &text)?;
        let asked: Vec<Gate> = plan.gate.iter().chain(gate).cloned().collect();
        if !asked.is_empty() {
            gates.insert(status.name.clone(), look(session.client(), &plan, &asked).await?);
        }
    }
    let rows = rows(&files, &ledger, holder.is_some(), &gates, &project.env_flag());
    let target = described(&session);
    let environment = place.environment.map(|environment| environment.name.clone());
    let text = if format == Format::Json {
        let kept: Vec<_> = kept.iter().map(|one| serde_json::json!({ "what": one.what, "until": time::rfc3339(one.until) })).collect();
        let value = serde_json::json!({
            "format": 1,
            "database": target,
            "environment": environment,
            "applier": holder.as_ref().map(|holder| holder.pid),
            "plans": rows,
            "kept": kept,
        });
        format!("{value:#}\n")
    } else {
        let holder = holder.as_ref().map(|holder| {
            let orphan = if holder.orphan { "; its applier is gone, the server still works on its last statement" } else { "" };
            format!("session {} of {}, since {}{orphan}", holder.pid, holder.user, holder.since)
        });
        text(&rows, &target, environment.as_deref(), holder) + &set_aside(&kept)
    };
    out.result(&text)?;
    Ok(Code::Done)
}

/// The stage of the first step that is not done, of a plan that waits.
fn next_stage(status: &PlanStatus) -> Option<StageName> {
    (status.state == PlanState::Waiting).then(|| status.steps.iter().find(|step| step.state != "done").map(|step| step.stage)).flatten()
}

/// With a gate, that decides when the contract stage may begin; else a person says so.
fn rows(files: &[PlanFile], ledger: &[PlanStatus], at_work: bool, gates: &BTreeMap<String, Evidence>, env: &str) -> Vec<Row> {
    let mut rows: Vec<Row> = ledger
        .iter()
        .map(|status| {
            let file = files.iter().find(|file| file.plan.name == status.name);
            let edited = file.is_some_and(|file| file.hash.0 != status.hash);
            let note = if edited {
                Some("the file is not what was applied".to_owned())
            } else {
                note(status, at_work, gates.get(&status.name), env)
            };
            let mut stages: BTreeMap<StageName, (usize, usize)> = BTreeMap::new();
            for step in &status.steps {
                let (done, all) = stages.entry(step.stage).or_default();
                *done += usize::from(step.state == "done");
                *all += 1;
            }
            Row {
                name: status.name.clone(),
                state: status.state.name().to_owned(),
                hash: Some(status.hash.clone()),
                stages: Steps::of(stages),
                note,
                gate: gates.get(&status.name).map(Gated::of),
            }
        })
        .collect();
    let pending = files.iter().filter(|file| ledger.iter().all(|status| status.name != file.plan.name));
    rows.extend(pending.map(|file| Row {
        name: file.plan.name.clone(),
        state: "pending".to_owned(),
        hash: Some(file.hash.to_string()),
        stages: Steps::of(file.plan.stages.iter().map(|stage| (stage.name, (0, stage.steps.len()))).collect()),
        note: Some(format!("next: schema apply{env}")),
        gate: None,
    }));
    rows
}

/// What is to be said of a plan that is in the ledger.
fn note(status: &PlanStatus, at_work: bool, gate: Option<&Evidence>, env: &str) -> Option<String> {
    match status.state {
        PlanState::Done => None,
        PlanState::RolledBack => Some(format!("once more: schema apply{env} {} --again", status.name)),
        PlanState::RollingBack => Some(if at_work {
            "being rolled back".to_owned()
        } else {
            let goes = |step: &&StepStatus| step.state == "done" && status.back_to.is_none_or(|to| step.stage > to);
            let left = status.steps.iter().filter(goes).count();
            let to = status.back_to.map(|stage| format!(" to the end of {}", stage.name())).unwrap_or_default();
            format!("rolled back in part{to}, {left} steps are left; go on with: schema rollback{env} {}", status.name)
        }),
        PlanState::Running if at_work => {
            Some(status.steps.iter().find(|step| step.state == "running").map_or_else(|| "at work".into(), running))
        }
        PlanState::Running => {
            let paused = status
                .steps
                .iter()
                .any(|step| step.state == "running" && step.backfill.as_ref().is_some_and(|backfill| backfill.control == "pause"));
            let paused = if paused {
                format!(", and its backfill is paused: schema backfill resume{env}, then")
            } else {
                "; go on with:".to_owned()
            };
            Some(format!("its applier is gone{paused} schema apply{env}"))
        }
        PlanState::Failed => Some(status.steps.iter().find(|step| step.state == "failed").map_or_else(
            || format!("failed; go on with: schema apply{env}"),
            |step| format!("step {} failed: {}", step.number, step.error.as_deref().unwrap_or_default().lines().next().unwrap_or_default()),
        )),
        PlanState::Waiting => {
            let next = status.steps.iter().find(|step| step.state != "done")?.stage;
            Some(if next == StageName::Contract && gate.is_some_and(|gate| !gate.unmet.is_empty()) {
                "waits for its gate:".to_owned()
            } else if next == StageName::Contract && gate.is_some() {
                format!("its gate is met: schema apply{env} {} --through contract", status.name)
            } else if next == StageName::Contract {
                format!(
                    "when no client of the old release is left: schema apply{env} {} --through contract --confirm old-clients-gone",
                    status.name
                )
            } else {
                format!("next: schema apply{env} {} --through {}", status.name, next.name())
            })
        }
    }
}

/// What is kept although it was dropped.
fn set_aside(kept: &[Kept]) -> String {
    let mut out = String::new();
    if !kept.is_empty() {
        out.push_str("\nKept after their drop (schema undrop NAME, schema purge):\n");
    }
    for one in kept {
        if one.is_back {
            let _ = writeln!(out, "  {} is back, but not all that stood on it: once more schema undrop", one.what);
            continue;
        }
        if !one.is_there {
            let _ = writeln!(out, "  {} is not there any more: it, or its table, was dropped; schema purge NAME forgets it", one.what);
            continue;
        }
        let until = if one.over { "its time is over".to_owned() } else { format!("until {}", time::minute(one.until)) };
        let _ = writeln!(out, "  {}, {until}; since {}", one.described(), time::minute(one.since));
    }
    out
}

fn running(step: &StepStatus) -> String {
    let progress = step.backfill.as_ref().map(|backfill| {
        let rows = |n: i64| number(n.max(0).unsigned_abs());
        let of = backfill.rows_total.map(|total| format!(" of {}", rows(total))).unwrap_or_default();
        let control = if backfill.control == "run" { String::new() } else { format!(" ({})", backfill.control) };
        format!(": {}{of} rows{control}", rows(backfill.rows_seen))
    });
    format!("step {}, {}{}", step.number, step.title, progress.unwrap_or_default())
}

fn text(rows: &[Row], target: &str, environment: Option<&str>, holder: Option<String>) -> String {
    let mut out = String::new();
    let environment = environment.map(|name| format!(", environment {name}")).unwrap_or_default();
    let _ = writeln!(out, "{target}{environment}\n");
    if rows.is_empty() {
        out.push_str("No plans, and nothing was applied.\n");
    }
    let width = rows.iter().map(|row| row.name.chars().count()).max().unwrap_or_default();
    for row in rows {
        let begun = row.stages.iter().any(|stage| stage.done > 0);
        let next = row.stages.iter().find(|stage| begun && stage.done < stage.all);
        let stages = next.map(|next| format!("{} {}/{}", next.stage.name(), next.done, next.all)).unwrap_or_default();
        let _ = writeln!(out, "{}", format!("  {:width$}  {:11} {stages}", row.name, row.state).trim_end());
        if let Some(note) = &row.note {
            for line in crate::plan::render::wrap(note, super::out::WIDTH - 6) {
                let _ = writeln!(out, "      {line}");
            }
        }
        for line in row.gate.iter().flat_map(Gated::lines) {
            for (index, line) in crate::plan::render::wrap(&line, super::out::WIDTH - 10).iter().enumerate() {
                let _ = writeln!(out, "        {}{line}", if index == 0 { "" } else { "  " });
            }
        }
    }
    if let Some(holder) = holder {
        let _ = writeln!(out, "\nAt work: {holder}");
    }
    out
}

/// How long a plan took, or when it began.
pub(super) fn when(status: &PlanStatus) -> String {
    let began = time::minute(status.started);
    match status.ended.and_then(|ended| ended.duration_since(status.started).ok()) {
        Some(took) => format!("{began}, took {}", time::span(took)),
        None => began,
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::catalog::Fingerprint;
    use crate::plan::{Plan, sample};

    fn status(name: &str, state: PlanState, done: usize) -> PlanStatus {
        let plan = sample::severity_level();
        let step = |index: usize, stage, step: &crate::plan::plan::Step| StepStatus {
            number: step.number,
            stage,
            title: step.title.clone(),
            transaction: "inside".into(),
            state: if index < done { "done" } else { "pending" }.into(),
            attempt: 1,
            started: None,
            ended: None,
            waited_ms: 0,
            error: None,
            backfill: None,
        };
        PlanStatus {
            back_to: None,
            name: name.into(),
            hash: "b3:1".into(),
            from: String::new(),
            to: String::new(),
            state,
            who: "ann".into(),
            started: UNIX_EPOCH,
            ended: Some(UNIX_EPOCH + Duration::from_mins(20)),
            steps: plan.steps().enumerate().map(|(index, (stage, one))| step(index, stage, one)).collect(),
        }
    }

    #[test]
    fn for_people() {
        let file = |name: &str, hash: &str| PlanFile {
            path: format!("plans/{name}.kdl").into(),
            text: String::new(),
            plan: Plan { name: name.into(), ..sample::severity_level() },
            hash: Fingerprint(hash.into()),
        };
        let ledger = [
            status("0005-orders", PlanState::Done, 6),
            status("0006-edited", PlanState::Done, 6),
            status("0007-severity-level", PlanState::Waiting, 5),
            status("0008-half", PlanState::Running, 2),
        ];
        let files = [file("0006-edited", "b3:2"), file("0007-severity-level", "b3:1"), file("0009-new", "b3:3")];
        let evidence = Evidence {
            unmet: vec!["app/1.4 (user app, from 10.0.0.7, session 4711) is connected".into()],
            seen: Vec::new(),
            looks: 3,
            watched: Some(Duration::from_hours(3)),
        };
        let gates = BTreeMap::from([("0007-severity-level".to_owned(), evidence)]);
        let rows = rows(&files, &ledger, false, &gates, "");
        insta::assert_snapshot!(text(&rows, "shop at db1:5432, PostgreSQL 15.18", Some("production"), None));
        let mut paused = status("0008-half", PlanState::Running, 2);
        let backfill = crate::apply::status::BackfillStatus {
            rows_seen: 5,
            rows_done: 5,
            rows_total: None,
            rate: None,
            control: "pause".into(),
            updated: UNIX_EPOCH,
        };
        paused.steps[2].state = "running".into();
        paused.steps[2].backfill = Some(backfill);
        let told = "its applier is gone, and its backfill is paused: schema backfill resume, then schema apply";
        assert_eq!(note(&paused, false, None, "").as_deref(), Some(told));
        assert_eq!(when(&ledger[0]), "1970-01-01 00:00 UTC, took 20 min");
    }
}
