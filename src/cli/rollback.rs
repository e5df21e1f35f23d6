//! `schema rollback`

use std::fmt::Write;
use std::time::Duration;

use super::apply::consent::Consent;
use super::apply::{patience, who};
use super::progress::Progress;
use super::signals::Signals;
use super::{Format, Global, Out};
use crate::apply::rollback::{Way, rollback, way};
use crate::apply::status::{PlanStatus, plan_text, plans as ledger_plans};
use crate::apply::{Options, Outcome, PlanState};
use crate::config::duration;
use crate::error::{CliError, Code};
use crate::pg::Session;
use crate::plan::plan::StageName;
use crate::plan::{Plan, file};
use crate::project::{described, plans, session, target};

/// Arguments of `schema rollback`.
#[derive(clap::Args, Debug)]
#[command(
    about = "Undo what was applied of a plan",
    long_about = "Undoes what was applied of a plan, the last step first, from the ledger of the\ndatabase alone: at any point before contract the database is as it was before\n\
        the plan, and what new clients wrote meanwhile stays. What cannot come back is\nsaid before. Whatever was interrupted goes on where it stopped.",
    after_help = "Examples:
  schema rollback --env production         the plan that was begun last
  schema rollback 7 --to expand            back to the end of that stage
  schema apply 7 --again                   and forward once more"
)]
pub struct Args {
    /// The plan: its name or number; without it, the one that was begun last
    #[arg(value_name = "PLAN")]
    pub plan: Option<String>,
    /// Stop at the end of this stage: expand, backfill or switch
    #[arg(long, value_name = "STAGE", value_parser = stage)]
    pub to: Option<StageName>,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Stop cleanly after this time, with exit code 5
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub max_time: Option<Duration>,
}

fn stage(word: &str) -> Result<StageName, String> {
    let found = StageName::from_name(word).filter(|stage| *stage != StageName::Contract);
    found.ok_or_else(|| "stages to go back to are expand, backfill and switch".to_owned())
}

/// Undoes a plan.
///
/// # Errors
/// Whatever is refused, fails or is interrupted; each says how to go on.
pub async fn run(args: Args, global: &Global, out: &Out) -> Result<Code, CliError> {
    let signals = Signals::listen(out);
    global.format(&[Format::Text])?;
    let project = global.project()?;
    let place = project.place()?;
    let session = session(&place).await?;
    let seen_epoch = Some(crate::apply::ledger::epoch(session.client()).await?);
    let ledger = ledger_plans(session.client()).await?;
    let Some(status) = chosen(&ledger, args.plan.as_deref())? else {
        out.notice(&format!("Nothing to roll back on {}.", described(&session)));
        return Ok(Code::Done);
    };
    let plan = from_ledger(&session, &status.name).await?;
    let env = project.env_flag();
    let to = goal(status, args.to, &env)?;
    let way = way(&plan, to, |number| state_of(status, number));
    // Where everything is undone and only that is not recorded yet, it is gone on with.
    if way.undo.is_empty() && status.state != PlanState::RollingBack && (to.is_some() || !status.begun()) {
        out.notice(&format!("Nothing to undo: {} has no step beyond that on {}.", plan.name, described(&session)));
        return Ok(Code::Done);
    }
    refuse_shared(&session, &ledger, status, &plan, &env).await?;
    refuse_impossible(&plan, status, &way, &env)?;
    let consent = Consent {
        target: described(&session),
        environment: place.environment.map(|environment| environment.name.as_str()),
        by_name: place.environment.is_some_and(|environment| environment.approvals > 0),
    };
    let text = text(&consent.place(), &plan, &way, to);
    if args.yes {
        out.notice(text.trim_end());
    } else if !consent.show_and_ask(out, &text)? {
        return Err(CliError::message(Code::Refused, "nothing was undone"));
    }
    let flag = to.map(|stage| format!(" --to {}", stage.name())).unwrap_or_default();
    let command = format!("schema rollback{env}{flag}");
    let options = Options {
        max_time: args.max_time,
        stop: signals.begin(&format!("{command} {}", plan.name)),
        who: who(),
        command,
        env: env.clone(),
        seen_epoch,
        ..Options::default()
    };
    let options = patience(options, &project.config);
    let target = target(&place)?;
    let mut progress = Progress::new(out);
    let result = rollback(session, &target, &plan, to, &options, &mut |event| progress.event(event)).await;
    progress.finish();
    if let Outcome::Interrupted { step, reason, command, .. } = result? {
        return Err(CliError::with_help(
            Code::Interrupted,
            format!("the rollback of {} stopped before step {step} was undone: {reason}", plan.name),
            format!("what is undone stays so; go on with: {command}"),
        ));
    }
    let (where_, next) = match to {
        Some(stage) => (format!("back at the end of {}", stage.name()), format!("schema apply{env} {}", plan.name)),
        None => ("rolled back".to_owned(), format!("schema apply{env} {} --again", plan.name)),
    };
    out.notice(&format!("{} is {where_}. Forward once more: {next}", plan.name));
    Ok(Code::Done)
}

/// How far back: one that was interrupted goes on to where it was to go, or further.
fn goal(status: &PlanStatus, asked: Option<StageName>, env: &str) -> Result<Option<StageName>, CliError> {
    if status.state != PlanState::RollingBack {
        return Ok(asked);
    }
    let begun = status.back_to;
    match asked {
        None => Ok(begun),
        // `None` is before every stage.
        Some(stage) if Some(stage) <= begun => Ok(asked),
        Some(stage) => Err(CliError::refused(
            format!(
                "{} is being rolled back {}: it cannot stop at the end of {}, for part of that is undone",
                status.name,
                words(begun),
                stage.name()
            ),
            format!("go on with: schema rollback{env} {}", status.name),
        )),
    }
}

fn words(to: Option<StageName>) -> String {
    to.map_or_else(|| "to where it began".to_owned(), |stage| format!("to the end of {}", stage.name()))
}

fn state_of(status: &PlanStatus, number: u32) -> String {
    status.steps.iter().find(|step| step.number == number).map_or_else(|| "pending".to_owned(), |step| step.state.clone())
}

/// The plan that is meant, as the ledger has it.
fn chosen<'l>(ledger: &'l [PlanStatus], meant: Option<&str>) -> Result<Option<&'l PlanStatus>, CliError> {
    let Some(meant) = meant else { return Ok(ledger.iter().rev().find(|status| status.begun())) };
    let exact = ledger.iter().find(|status| status.name == meant);
    let found: Vec<&PlanStatus> = match exact {
        Some(status) => vec![status],
        None => ledger.iter().filter(|status| plans::fits(&status.name, meant)).collect(),
    };
    match found.as_slice() {
        [status] => Ok(Some(status)),
        [] => Err(CliError::failed(format!("no plan `{meant}` was applied to this database"), "`schema history` lists those that were")),
        several => {
            let names: Vec<&str> = several.iter().map(|status| status.name.as_str()).collect();
            Err(CliError::failed(format!("`{meant}` may be several plans"), format!("say which: {}", names.join(", "))))
        }
    }
}

/// A plan as it was entered.
pub(super) async fn from_ledger(session: &Session, name: &str) -> Result<Plan, CliError> {
    let text = plan_text(session.client(), name).await?;
    let text = text.ok_or_else(|| CliError::message(Code::Error, format!("the ledger holds no text of {name}")))?;
    Ok(file::read(std::path::Path::new(&format!("{name}.kdl")), &text)?)
}

/// Refuses while a later plan that was begun stands on what this one made.
async fn refuse_shared(session: &Session, ledger: &[PlanStatus], status: &PlanStatus, plan: &Plan, env: &str) -> Result<(), CliError> {
    let later = ledger.iter().skip_while(|other| other.name != status.name).skip(1).filter(|other| other.has_effect());
    for other in later.collect::<Vec<_>>().into_iter().rev() {
        let after = from_ledger(session, &other.name).await?;
        if let Some(id) = plans::shared(plan, &after) {
            return Err(CliError::refused(
                format!("{} stays: {}, which came later, shares {id}", plan.name, other.name),
                format!("roll that one back first: schema rollback{env} {}", other.name),
            ));
        }
    }
    Ok(())
}

/// Refuses when a step that was done cannot be undone; says how far back one can go.
fn refuse_impossible(plan: &Plan, status: &PlanStatus, found: &Way<'_>, env: &str) -> Result<(), CliError> {
    if found.impossible.is_empty() {
        return Ok(());
    }
    let list = |step: &&crate::plan::plan::Step| {
        let loses = if step.loses.is_empty() { String::new() } else { format!(" (it lost {})", step.loses.join(", ")) };
        format!("  step {}, {}{loses}", step.number, step.title)
    };
    let steps = found.impossible.iter().map(list).collect::<Vec<_>>().join("\n");
    let reachable = StageName::ALL.into_iter().filter(|stage| *stage < StageName::Contract).find(|stage| {
        let way = way(plan, Some(*stage), |number| state_of(status, number));
        way.impossible.is_empty() && !way.undo.is_empty()
    });
    let help = reachable.map_or_else(
        || "the way on is forward: put the source as it should be, then schema plan".to_owned(),
        |stage| format!("back to the end of {0} it can go: schema rollback{env} {1} --to {0}", stage.name(), plan.name),
    );
    Err(CliError::refused(format!("{} cannot be rolled back, nothing was touched. These cannot be undone:\n{steps}", plan.name), help))
}

fn text(place: &str, plan: &Plan, way: &Way<'_>, to: Option<StageName>) -> String {
    let goal = words(to);
    let mut text = format!("To be rolled back on {place}:\n  {}, {goal}:\n", plan.name);
    for (_, step) in &way.undo {
        let _ = writeln!(text, "  {:>3}  {}", step.number, step.title);
    }
    if way.undo.is_empty() {
        text.push_str("       no step of it is left in the database\n");
    }
    for what in &way.loses {
        let _ = writeln!(text, "    ! does not come back: {what}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::sample;

    #[test]
    fn it_says_where_what_and_what_not() {
        let plan = sample::severity_level();
        let state = |number: u32| if number <= 5 { "done" } else { "pending" }.to_owned();
        let way = way(&plan, None, state);
        insta::assert_snapshot!(text("shop at db1:5432, PostgreSQL 15.18  (environment production)", &plan, &way, None));
    }

    #[test]
    fn contract_cannot_be_undone() {
        let plan = sample::severity_level();
        let way = way(&plan, None, |_| "done".to_owned());
        assert_eq!(way.impossible.iter().map(|step| step.number).collect::<Vec<_>>(), [6]);
        let status = PlanStatus {
            name: plan.name.clone(),
            hash: String::new(),
            from: String::new(),
            to: String::new(),
            state: PlanState::Done,
            back_to: None,
            who: String::new(),
            started: std::time::UNIX_EPOCH,
            ended: None,
            steps: Vec::new(),
        };
        let error = refuse_impossible(&plan, &status, &way, "").expect_err("a column is gone");
        assert_eq!(error.code(), Code::Refused);
        assert!(error.to_string().contains("it lost column public.model_states.severity"), "{error}");
    }
}
